"""What a property is tried on, and how it says that it does not hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from seqlight.cells.cell import RecurrentCell
from seqlight.cells.state import State

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}  # of the largest number of a result, or of 1 if that is larger


class PropertyError(Exception):
    """A property does not hold; the message says what shows it.

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
        """As `B=2, T=1, H=16, float64`; without H if it is not known."""
        sizes = {"B": self.batch_size, "T": self.num_steps, "H": hidden_size}
        named = [f"{letter}={size}" for letter, size in sizes.items() if size is not None]
        return ", ".join([*named, str(self.dtype).removeprefix("torch.")])

    @property
    def ragged(self) -> Tensor:
        """Lengths (B,) of which one fills the steps, if there is more than one."""
        return torch.tensor([(self.num_steps + 1) // 2, self.num_steps, 1][: self.batch_size])


@dataclass(frozen=True)
class Subject:
    """The cell that is checked: made anew, with the same weights, for each property and case."""

    make: Callable[[int], RecurrentCell]
    input_size: int

    def cell(self, case: Case, seed: int = 0) -> RecurrentCell:
        """A cell in evaluation mode; this sets torch's seed on the CPU."""
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
    """The cell's state before the first step of a case."""
    return cell.initial_state(case.batch_size, device=torch.device("cpu"), dtype=case.dtype)


def name_results(outputs: Tensor, state: State) -> dict[str, Tensor]:
    """Outputs and states by the names under which an error is reported."""
    return {"outputs": outputs} | {f"state {index}": part for index, part in enumerate(state)}


def expect_equal(where: str, got: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, exact: bool = False) -> None:
    """Raise `PropertyError` for the first tensor that differs by more than rounding; NaN equals NaN."""
    for name, value in expected.items():
        if got[name].shape != value.shape:
            shapes = f"{tuple(got[name].shape)}, expected {tuple(value.shape)}"
            raise PropertyError(f"{where}: {name} of shape {shapes}")
        difference = (got[name] - value).abs()
        difference[(got[name] == value) | (got[name].isnan() & value.isnan())] = 0  # infinities too
        scale = max(1.0, value.nan_to_num(0, 0, 0).abs().amax().item())
        # Not `>`, which would let a NaN pass.
        if not (difference <= (0 if exact else TOLERANCE[value.dtype] * scale)).all():
            index = torch.unravel_index(difference.nan_to_num(torch.inf).argmax(), value.shape)
            at = ", ".join(str(int(number)) for number in index)
            found, wanted = (tensor[index].item() for tensor in (got[name], value))
            raise PropertyError(
                f"{where}: {name}[{at}] is {found:.6g}, expected {wanted:.6g}", difference[index].item()
            )
