"""The cases on which a property is checked, and the comparison of results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqlight.cells.cell import RecurrentCell
from seqlight.cells.state import State
from seqlight.recurrent.kernel_backend import Kernels

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}  # relative to a result's largest value, or 1 if that is larger


class PropertyError(Exception):
    """A property does not hold; the message gives the evidence.

    Attributes:
        error: the size of the error; None if it has none.
    """

    def __init__(self, message: str, error: float | None = None) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True)
class Case:
    """The size and type of a batch of sequences."""

    batch_size: int = 1
    num_steps: int = 1
    dtype: torch.dtype = torch.float64

    def describe(self, hidden_size: int | None) -> str:
        """Text such as `B=2, T=1, H=16, float64`; without H if it is not known."""
        sizes = {"B": self.batch_size, "T": self.num_steps, "H": hidden_size}
        named = [f"{letter}={size}" for letter, size in sizes.items() if size is not None]
        return ", ".join([*named, str(self.dtype).removeprefix("torch.")])

    @property
    def ragged(self) -> Tensor:
        """Lengths (B,) of ragged sequences; for B > 1 one of them is T."""
        return torch.tensor([(self.num_steps + 1) // 2, self.num_steps, 1][: self.batch_size])


@dataclass(frozen=True)
class Subject:
    """The cell under test. Each property and case gets a new one, with the same weights.

    Attributes:
        make: makes a cell from its input size.
        input_size: the number of input features F.
        kernels: the kernels of these cells, so that one trace serves all cases.
    """

    make: Callable[[int], RecurrentCell]
    input_size: int
    kernels: Kernels = field(default_factory=Kernels)

    def cell(self, case: Case, seed: int = 0) -> RecurrentCell:
        """Make a cell in evaluation mode; this sets torch's seed on the CPU."""
        torch.default_generator.manual_seed(seed)
        cell = self.make(self.input_size)
        if not isinstance(cell, RecurrentCell):
            raise TypeError(f"cell must make a RecurrentCell, got {cell!r}")
        return cell.to("cpu", case.dtype).eval()

    def inputs(self, case: Case, seed: int = 1) -> Tensor:
        """Standard normal inputs (B, T, F)."""
        generator = torch.Generator().manual_seed(seed)
        shape = (case.batch_size, case.num_steps, self.input_size)
        return torch.randn(shape, generator=generator, dtype=case.dtype)


def initial_state(cell: RecurrentCell, case: Case) -> State:
    """The cell's state before the first step of a case, tensors (B, H)."""
    return cell.initial_state(case.batch_size, device=torch.device("cpu"), dtype=case.dtype)


def name_results(outputs: Tensor, state: State) -> dict[str, Tensor]:
    """Outputs and states by the names that error messages use."""
    return {"outputs": outputs} | {f"state {index}": part for index, part in enumerate(state)}


def expect_equal(where: str, got: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, exact: bool = False) -> None:
    """Raise `PropertyError` for the first tensor that differs by more than rounding; NaN equals NaN."""
    for name, value in expected.items():
        if got[name].shape != value.shape:
            shapes = f"{tuple(got[name].shape)}, expected {tuple(value.shape)}"
            raise PropertyError(f"{where}: {name} of shape {shapes}")
        difference = (got[name] - value).abs()
        difference[(got[name] == value) | (got[name].isnan() & value.isnan())] = 0  # equal infinities too
        scale = max(1.0, value.nan_to_num(0, 0, 0).abs().amax().item())
        # `not <=` instead of `>`, so that a NaN fails.
        if not (difference <= (0 if exact else TOLERANCE[value.dtype] * scale)).all():
            index = torch.unravel_index(difference.nan_to_num(torch.inf).argmax(), value.shape)
            at = ", ".join(str(int(number)) for number in index)
            found, wanted = (tensor[index].item() for tensor in (got[name], value))
            raise PropertyError(
                f"{where}: {name}[{at}] is {found:.6g}, expected {wanted:.6g}", difference[index].item()
            )
