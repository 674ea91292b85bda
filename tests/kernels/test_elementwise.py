"""The functions that a kernel can compute, against torch's."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from seqlight import GatedCell, RecurrentLayer
from tests.kernels.cells import loop, results

FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": functional.softplus,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": lambda x: torch.log(x.abs() + 0.1),
    "log1p": lambda x: torch.log1p(x.abs()),
    "log2": lambda x: torch.log2(x.abs() + 0.1),
    "logsigmoid": functional.logsigmoid,
    "sqrt": lambda x: torch.sqrt(x.abs() + 0.1),
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 0.1),
    "abs": torch.abs,
    "clamp": lambda x: torch.clamp(x, -0.3, 0.4),
    "clamp-min": lambda x: x.clamp(min=0.1),
    "minimum": lambda x: torch.minimum(x, 0.5 * x.abs()),
    "maximum": lambda x: torch.maximum(x, 0.5 - x),
    "where": lambda x: torch.where(x > 0.1, x.sin(), 2 * x),
    "comparison": lambda x: (x >= 0.2).to(x.dtype) * x,
    "sum-of-comparisons": lambda x: ((x > 0.2) + (x > -0.2)) * x.tanh(),
    "comparison-times-number": lambda x: ((x > 0.1) * 2) * x.tanh() + ((x > 0) + 1) * x,
    "alpha": lambda x: (
        torch.add(x.tanh(), 2.0, alpha=0.5) + torch.sub(x, x.sin(), alpha=0.3) + torch.rsub(x, 2.0, alpha=0.5)
    ),
    "constants": lambda x: x * torch.tensor([0.5, 2.0], dtype=x.dtype)[0] + x.tanh() * x.new_tensor([0.5, 2.0])[1],
    "product-of-comparisons": lambda x: ((x < 0.2) * (x > -0.2)) * x.tanh(),
    "square": torch.square,
    "cube": lambda x: x**3,
    "power": lambda x: (x.abs() + 0.2) ** 1.7,
    "power-of-power": lambda x: torch.pow(x.abs() + 0.2, x),
    "reciprocal": lambda x: 1 / (x + 3),
    "gelu": functional.gelu,
    "gelu-tanh": partial(functional.gelu, approximate="tanh"),
    "silu": functional.silu,
    "hardtanh": functional.hardtanh,
    "round": lambda x: x + torch.round(x) + torch.round(x, decimals=1),
    "elu": functional.elu,
    "selu": functional.selu,
    "leaky-relu": functional.leaky_relu,
    "softsign": functional.softsign,
    "mish": functional.mish,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "sign": lambda x: torch.sign(x) * x,
    "floor": lambda x: x - torch.floor(x),
    "lerp": lambda x: torch.lerp(x, x.tanh(), 0.3),
    "addcmul": lambda x: torch.addcmul(x, x, x.tanh(), value=0.3),
}


class Functions(GatedCell):
    """One function for each gate and state, so that one kernel tests many functions."""

    recurrent = False

    def __init__(self, functions):
        self.num_gates = len(functions)
        self.state_names = tuple(functions)
        super().__init__(2, 5)
        self.functions = tuple(functions.values())

    def update(self, input_gates, hidden_gates, state):
        gates = input_gates.chunk(self.num_gates, -1)
        return tuple(
            0.5 * old + 0.25 * function(gate + 0.1 * old)
            for function, gate, old in zip(self.functions, gates, state, strict=True)
        )


@pytest.mark.parametrize("start", range(0, len(FUNCTIONS), 12))
def test_functions_equal_torchs(start):
    functions = dict(list(FUNCTIONS.items())[start : start + 12])
    layer = RecurrentLayer(Functions(functions), backend="kernel").double()
    inputs = 2 * torch.randn(4, 6, 2, dtype=torch.float64)
    found = results(layer, inputs)
    expected = results(layer, inputs, run=loop(layer))
    for index, name in enumerate(functions):
        torch.testing.assert_close(
            found[f"final {index}"], expected[f"final {index}"], msg=name, rtol=1e-10, atol=1e-10
        )
        rows = slice(5 * index, 5 * index + 5)
        gradients = [values["gradient of cell.weight_ih"][rows] for values in (found, expected)]
        torch.testing.assert_close(*gradients, msg=f"gradient of {name}", rtol=1e-10, atol=1e-10)


WHOLE_RANGE = {
    **{name: FUNCTIONS[name] for name in ("sigmoid", "tanh", "exp", "expm1", "softplus", "logsigmoid", "silu")},
    "log": torch.log,
    "log1p": torch.log1p,
}


def test_float32_functions_are_accurate_over_the_whole_range():
    """Errors are a few units in the last place; infinities and NaN are torch's."""

    class Plain(Functions):
        def update(self, input_gates, hidden_gates, state):
            gates = input_gates.chunk(self.num_gates, -1)
            return tuple(function(gate) for function, gate in zip(self.functions, gates, strict=True))

    cell = Plain(WHOLE_RANGE)
    nn.init.constant_(cell.weight_ih, 0.5)  # both features are x
    nn.init.zeros_(cell.bias_ih)
    sizes = torch.logspace(-30, 38, 4001)
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 88.8, -87.4, -104.0, 1e-37, -1e-37])
    near = torch.linspace(-20, 20, 4001)
    x = torch.cat((sizes, -sizes, special, near))
    with torch.no_grad():
        _, states = RecurrentLayer(cell, backend="kernel")(x[:, None, None].expand(-1, 1, 2))
    for name, state in zip(WHOLE_RANGE, states, strict=True):
        found, expected, exact = state[:, 0], WHOLE_RANGE[name](x), WHOLE_RANGE[name](x.double())
        assert torch.equal(found.isnan(), expected.isnan()), name
        assert torch.equal(found.isinf(), expected.isinf()), name
        finite = expected.isfinite()
        error, torch_error = ((values.double() - exact)[finite].abs() for values in (found, expected))
        unit = 2.0**-23 * exact[finite].abs() + 2.0**-126
        assert (error / unit).max() <= 2 * (torch_error / unit).max() + 1, name
