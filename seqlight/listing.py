"""The command `seqlight cells`."""

import argparse
import inspect
import sys

import torch

from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.plain import class_path
from seqlight.usage import UsageError, subclasses

INPUT_SIZE, HIDDEN_SIZE = 1, 32


def list_cells(arguments: list[str]) -> None:
    """Print the table of cells.

    Args:
        arguments: `--import MODULE`, any number of times; the modules have been imported already.

    Raises:
        UsageError: for any other argument.
    """
    parser = argparse.ArgumentParser(
        prog="seqlight cells", description="List all cells, one line each.", allow_abbrev=False, exit_on_error=False
    )
    parser.add_argument("--import", action="append", metavar="MODULE", help="a module of yours: its cells come too")
    try:
        _, others = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(f"cells: {error}") from error
    if others:
        raise UsageError(f"cells takes --import MODULE and nothing else, got {' '.join(others)}")
    print(cell_table())


def cell_table() -> str:
    """A header, and a line for each cell that has been imported: seqlight's, then the user's."""
    paths = {class_path(cell) for cell in subclasses(RecurrentCell) if _has_a_path(cell)}
    sizes = f"input_size {INPUT_SIZE} and hidden_size {HIDDEN_SIZE}"
    rows = [("cell", "parameters", "states", "gates", f"(parameters at {sizes})")]
    for path in sorted(paths, key=lambda path: (not path.startswith("seqlight."), path.lower())):
        module, _, name = path.rpartition(".")
        rows.append((path.removeprefix("seqlight."), *_describe(getattr(sys.modules[module], name))))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{row[0]:{width}}  {row[1]:>10}  {row[2]:>6}  {row[3]:>5}  {row[4]}".rstrip() for row in rows)


def _has_a_path(cell: type[object]) -> bool:
    """Whether it can be made, and named on the command line."""
    found = getattr(sys.modules.get(cell.__module__), cell.__qualname__, None)
    return found is cell and not inspect.isabstract(cell)


def _describe(cell_type: type[RecurrentCell]) -> tuple[str, str, str, str]:
    """Numbers of parameters and states, number of gates or "step" for a general cell, first line of the docstring."""
    arguments = {"input_size": INPUT_SIZE, "hidden_size": HIDDEN_SIZE}
    accepted = inspect.signature(cell_type).parameters
    try:
        cell = cell_type(**{name: size for name, size in arguments.items() if name in accepted})
        state = cell.initial_state(1, device=torch.device("cpu"), dtype=torch.float32)
    except Exception as error:  # a user's cell may need other arguments, and raise anything
        return "-", "-", "-", f"can't be made with these sizes alone: {error}".partition("\n")[0]
    num_parameters = sum(parameter.numel() for parameter in cell.parameters())
    gates = str(cell.num_gates) if isinstance(cell, GatedCell) else "step"
    summary = inspect.cleandoc(cell_type.__doc__ or "").partition("\n")[0]
    return str(num_parameters), str(len(state)), gates, summary
