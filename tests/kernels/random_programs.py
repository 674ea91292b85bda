"""Cells with random `update` programs, drawn from a seed."""

import random

import torch
from torch import nn
from torch.nn import functional

from seqlight import GatedCell

# Operations by their number of operands. Arguments of growing functions are bounded, so that no program overflows.
ELEMENTWISE = {
    1: {
        "abs": torch.abs,
        "abs_power": lambda a: (a.abs() + 0.5) ** 1.5,
        "cast_mask": lambda a: (a > 0.1).to(a.dtype),
        "clamp": lambda a: a.clamp(-0.7, 0.6),
        "clamp_min": lambda a: a.clamp(min=-0.2),
        "constant": lambda a: 1 - a / 3,
        "cos": torch.cos,
        "cube": lambda a: a.tanh() ** 3,
        "detach": lambda a: a.detach(),
        "elu": functional.elu,
        "erf": torch.erf,
        "exp": lambda a: torch.exp(a.tanh()),
        "expm1": lambda a: torch.expm1(a.tanh()),
        "floor": torch.floor,
        "gelu": functional.gelu,
        "gelu_tanh": lambda a: functional.gelu(a, approximate="tanh"),
        "hardsigmoid": functional.hardsigmoid,
        "hardtanh": functional.hardtanh,
        "in_place": lambda a: a.clone().mul_(0.5).add_(1),
        "leaky_relu": lambda a: functional.leaky_relu(a, 0.1),
        "log": lambda a: torch.log(a.abs() + 0.3),
        "log1p": lambda a: torch.log1p(a.square()),
        "log2": lambda a: torch.log2(a.abs() + 0.3),
        "logsigmoid": functional.logsigmoid,
        "masked_fill": lambda a: a.masked_fill(a > 0.4, -1.5),
        "mish": functional.mish,
        "neg": torch.neg,
        "nan_to_num": torch.nan_to_num,
        "reciprocal": lambda a: (1 + a.square()).reciprocal(),
        "relu": torch.relu,
        "round": torch.round,
        "rsqrt": lambda a: torch.rsqrt(a.square() + 0.5),
        "rsub": lambda a: torch.rsub(a, 1.5),
        "sigmoid": torch.sigmoid,
        "sign": torch.sign,
        "silu": functional.silu,
        "sin": torch.sin,
        "softplus": functional.softplus,
        "softsign": functional.softsign,
        "sqrt": lambda a: torch.sqrt(a.abs() + 0.1),
        "square": lambda a: a.tanh().square(),
        "tanh": torch.tanh,
        "trunc": torch.trunc,
    },
    2: {
        "add": torch.add,
        "add_alpha": lambda a, b: torch.add(a, b, alpha=0.3),
        "and": lambda a, b: ((a > 0) & ~(b > 0.2)).to(a.dtype),
        "concatenated": lambda a, b: torch.cat(torch.broadcast_tensors(a, b), -1).tanh().chunk(2, -1)[1],
        "div": lambda a, b: a / (1 + b.square()),
        "equal": lambda a, b: torch.where(a == b, a, 0.5 * b),
        "flipped_pair": lambda a, b: torch.stack(torch.broadcast_tensors(a, b)).flip(0)[0],
        "mask": lambda a, b: a * (a <= b),
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "mul": lambda a, b: a.tanh() * b,
        "or": lambda a, b: torch.where((a > 0.3) | (b < -0.3), a, b),
        "power": lambda a, b: (a.abs() + 0.5) ** b.tanh(),
        "sub": torch.sub,
        "xor": lambda a, b: ((a > 0) != (b > 0)).to(a.dtype),
    },
    3: {
        "addcdiv": lambda a, b, c: torch.addcdiv(a, b, 1 + c.square()),
        "addcmul": lambda a, b, c: torch.addcmul(a, b.tanh(), c, value=0.7),
        "clamp_between": lambda a, b, c: a.clamp(torch.minimum(b, c), torch.maximum(b, c)),
        "convex": lambda a, b, c: torch.sigmoid(a) * b + (1 - torch.sigmoid(a)) * c,
        "lerp": lambda a, b, c: torch.lerp(*torch.broadcast_tensors(a, b, torch.sigmoid(c))),
        "where": lambda a, b, c: torch.where(a > b, c, a),
    },
}
# Operations on (B, H) that mix units or sequences, depend on the batch, or are not known: a kernel must refuse them.
MIXING = {
    "column": lambda a: a[:, :1] + a,
    "cummax": lambda a: a.cummax(-1).values,
    "cumsum": lambda a: a.cumsum(-1),
    "batch_size": lambda a: a / len(a),
    "flip": lambda a: a.flip(-1),
    "half": lambda a: torch.cat((a[:, :2].sin(), a[:, 2:]), -1),
    "logsumexp": lambda a: a - a.logsumexp(-1, keepdim=True),
    "matrix": lambda a: a @ torch.ones(a.shape[1], a.shape[1], dtype=a.dtype).triu(),
    "mean": lambda a: a - a.mean(-1, keepdim=True),
    "norm": lambda a: functional.normalize(a + 1, dim=-1),
    "position": lambda a: a * torch.arange(a.shape[1]),
    "roll": lambda a: a.roll(1, -1),
    "row": lambda a: a + a[:1],
    "rows_mean": lambda a: a - a.mean(0),
    "softmax": lambda a: a.softmax(-1),
    "softmax_of_pair": lambda a: torch.stack((a, a.sin())).softmax(0)[0],
    "sort": lambda a: a.sort(-1).values,
    "value": lambda a: a if a[0, 0] > 0 else -a,
}
FUNCTIONS = {name: function for group in (*ELEMENTWISE.values(), MIXING) for name, function in group.items()}


def draw_cell(seed, *, bare=False, mixing=None):
    """A new class of cells with a random program.

    With `bare`, operations can have parameters as their only operands, and a kernel may refuse the program. `mixing`
    adds an operation of `MIXING` that the result depends on.
    """
    draw = random.Random(seed)
    gates, states = draw.randint(1, 4), draw.randint(1, 3)
    with_hidden = draw.random() < 0.8
    num_leaves = gates * (2 if with_hidden else 1) + states + 5

    def instructions():
        for number in range(num_leaves, num_leaves + draw.randint(3, 25)):
            count = draw.choice([1, 2, 2, 3])
            # Recent values more often, so that expressions are deep.
            operands = [min(draw.randrange(number) + draw.choice([0, 0, 5, 20]), number - 1) for _ in range(count)]
            yield draw.choice(sorted(ELEMENTWISE[count])), tuple(operands)

    class Drawn(GatedCell):
        num_gates = gates
        state_names = tuple(f"state{index}" for index in range(states))
        recurrent = with_hidden
        output_state = draw.randrange(states)
        program = tuple(instructions())

        def __init__(self, input_size, hidden_size):
            super().__init__(input_size, hidden_size)
            self.vector = nn.Parameter(torch.randn(hidden_size))
            self.pair = nn.Parameter(torch.randn(2 * hidden_size))
            self.scale = nn.Parameter(torch.randn(()))
            self.register_buffer("fixed", torch.rand(hidden_size) + 0.5)

        def update(self, input_gates, hidden_gates, state):
            values = [*input_gates.chunk(gates, -1), *(hidden_gates.chunk(gates, -1) if with_hidden else ())]
            own = [self.vector, *self.pair.chunk(2), self.scale, self.fixed]
            values += [*state, *(own if bare else (part * state[0].cos() + part for part in own))]
            for name, operands in self.program:
                values.append(FUNCTIONS[name](*(values[operand] for operand in operands)))
            following = [torch.tanh(values[-1 - index] + 0.5 * part) for index, part in enumerate(state)]
            return following[0] if mixing is None else FUNCTIONS[mixing](following[0]), *following[1:]

    return Drawn
