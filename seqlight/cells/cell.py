"""The base classes of recurrent cells."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seqlight.cells.state import State, check_state
from seqlight.common.description import Describable
from seqlight.common.private_torch import has_hooks
from seqlight.common.validation import check_at_least, check_finite


class RecurrentCell(nn.Module, Describable, ABC):
    """One step of a recurrent network: anything that torch can express.

    Attributes:
        input_size: the number of input features F.
        hidden_size: the number of output features H.
    """

    described_by = "class"

    input_size: int
    hidden_size: int

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_at_least("input_size", input_size, 1)
        check_at_least("hidden_size", hidden_size, 1)
        self.input_size = input_size
        self.hidden_size = hidden_size

    @abstractmethod
    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """The state before the first step: tensors of shape (B, H)."""

    @abstractmethod
    def forward(
        self, inputs: Float[Tensor, "batch features"], state: State
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """One step: inputs (B, F) and state to output (B, H) and next state."""


class GatedCell(RecurrentCell):
    """A cell of gates: affine maps of the input and of the hidden state, and an elementwise `update`.

    A subclass sets `num_gates` (G), optionally `state_names`, and writes `update`. It can also define `activations`,
    for figures. The weights have the names, shapes and initial values of torch.nn's (uniform in +-1/sqrt(H)),
    so a state dict of torch.nn can be loaded, and the reverse.

    A cell can have further parameters of shape (H,) and use them in `update`.

    Attributes:
        num_gates: G, the number of blocks of H rows in the weights.
        gate_names: the names of the G gates, in order, for figures; empty if they have none.
        state_names: the names of the states. W_hh is applied to the first, which is also the output by default.
        recurrent: whether the cell has W_hh and b_hh; without them `hidden_gates` is empty.
        output_state: the index of the state that is the output.
        forget_bias: the initial sum of the biases of the gate named "forget"; drawn like the others if None.
            Set it before `super().__init__`, which draws the biases.
        weight_ih: (G*H, F).
        weight_hh: (G*H, H), if recurrent.
        bias_ih: (G*H,).
        bias_hh: (G*H,), if recurrent.

    Args:
        input_size: the number of input features F.
        hidden_size: the number of output features H.

    Raises:
        TypeError: if the subclass does not set `num_gates`, or does not give each gate one name in `gate_names`.
        ValueError: if `forget_bias` is not finite.
    """

    num_gates: ClassVar[int]
    gate_names: ClassVar[tuple[str, ...]] = ()
    state_names: ClassVar[tuple[str, ...]] = ("hidden",)
    recurrent: ClassVar[bool] = True
    output_state: ClassVar[int] = 0
    forget_bias: float | None = None

    def __init__(self, input_size: int, hidden_size: int = 32) -> None:
        super().__init__(input_size, hidden_size)
        if not hasattr(self, "num_gates"):
            raise TypeError(f"{type(self).__name__} must set num_gates, the number of gates that update() reads")
        if self.gate_names and not len(set(self.gate_names)) == len(self.gate_names) == self.num_gates:
            raise TypeError(
                f"{type(self).__name__}.gate_names must be a name for each of its {self.num_gates} gates, "
                f"got {self.gate_names}"
            )
        rows = self.num_gates * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        if self.recurrent:
            self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
            self.bias_hh = nn.Parameter(torch.empty(rows))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw W and b again, uniform in +-1/sqrt(H) as in torch.nn, and set the bias of the forget gate."""
        bound = self.hidden_size**-0.5
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            if hasattr(self, name):
                nn.init.uniform_(getattr(self, name), -bound, bound)
        if self.forget_bias is not None:
            biases = (self.bias_ih, self.bias_hh) if self.recurrent else (self.bias_ih,)
            set_forget_bias(biases, self.gate_names, self.forget_bias)

    @abstractmethod
    def update(
        self,
        input_gates: Float[Tensor, "batch gates"],
        hidden_gates: Float[Tensor, "batch hidden_gates"],
        state: State,
    ) -> State:
        """The next state, from elementwise operations only.

        Args:
            input_gates: W_ih x_t + b_ih, (B, G*H).
            hidden_gates: W_hh h_(t-1) + b_hh, (B, G*H); (B, 0) if the cell is not `recurrent`.
            state: the previous state, tensors (B, H) in the order of `state_names`.
        """

    def activations(
        self,
        input_gates: Float[Tensor, "batch gates"],
        hidden_gates: Float[Tensor, "batch hidden_gates"],
        state: State,
    ) -> tuple[Float[Tensor, "batch hidden"], ...]:
        """The activation of each gate, (B, H), in the order of `gate_names`. Optional.

        Figures show them. A cell that defines this method should call it in `update`, so that the two agree.
        The arguments are those of `update`.
        """
        raise NotImplementedError

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """Zeros."""
        size = (batch_size, self.hidden_size)
        return tuple(torch.zeros(size, device=device, dtype=dtype) for _ in self.state_names)

    def forward(
        self, inputs: Float[Tensor, "batch features"], state: State
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """One step: inputs (B, F) and state to output (B, H) and next state."""
        return self.step(self.project(inputs), state)

    @property
    def num_input_gates(self) -> int:
        """The number of blocks of H columns that `project` returns."""
        return self.num_gates

    def project(self, inputs: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch gates"]:
        """The input gates W_ih x + b_ih, of one time step or of all time steps."""
        return functional.linear(inputs, self.weight_ih, self.bias_ih)

    def step(
        self, input_gates: Float[Tensor, "batch gates"], state: State
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """One step from the input gates (B, G*H)."""
        if self.recurrent:
            hidden_gates = functional.linear(state[0], self.weight_hh, self.bias_hh)
        else:
            hidden_gates = input_gates[:, :0]
        next_state = self.update(input_gates, hidden_gates, state)
        if not isinstance(next_state, tuple):
            check_state(self, "update()", next_state, len(input_gates), len(self.state_names))
        return next_state[self.output_state], next_state

    def extra_repr(self) -> str:
        """The sizes, for `repr`."""
        return f"{self.input_size}, {self.hidden_size}"


def set_forget_bias(biases: tuple[Tensor, ...], gate_names: tuple[str, ...], value: float) -> None:
    """Set the biases (G*H,) of the gate named "forget" so that their sum is `value`.

    Raises:
        TypeError: if no gate has that name, or `value` is not a number.
        ValueError: if `value` is not finite.
    """
    check_finite("forget_bias", value)
    if "forget" not in gate_names:
        raise TypeError(f"forget_bias needs a gate named 'forget' in gate_names, got {gate_names}")
    gate = gate_names.index("forget")
    for bias in biases:
        bias.detach().view(len(gate_names), -1)[gate] = value / len(biases)


def has_plain_step(cell: GatedCell) -> bool:
    """Whether a step of the cell consists of `project`, W_hh and `update` only, without hooks."""
    return is_inherited(cell, "forward") and is_inherited(cell, "step") and not has_hooks(cell)


def is_inherited(cell: GatedCell, method: str) -> bool:
    """Whether a method is that of `GatedCell`: not overridden by the cell's class, nor set on the cell itself."""
    return method not in vars(cell) and getattr(type(cell), method) is getattr(GatedCell, method)


def declares_activations(cell: GatedCell) -> bool:
    """Whether the cell defines `activations` for its `update`.

    A subclass that overrides only `update` inherits activations of other equations, so it does not. The same holds for
    a cell on which only `update` was set.
    """
    owner = next(owner for owner in (cell, *type(cell).__mro__) if {"update", "activations"} & vars(owner).keys())
    return owner is not GatedCell and "activations" in vars(owner)
