"""The command `seqlight check`."""

import difflib
import re
import warnings
from collections.abc import Callable

from jsonargparse import ArgumentParser, Namespace

from seqlight.cells.cell import RecurrentCell
from seqlight.checks.check_cell import CellError, check_cell
from seqlight.cli.flag_errors import UsageError
from seqlight.cli.flag_names import flag_names
from seqlight.common.description import full_name
from seqlight.common.private_jsonargparse import bound_class
from seqlight.common.text import show
from seqlight.common.validation import check_at_least

_USAGE = "seqlight check CELL [--cell.NAME VALUE ...] [--input_size 3] [--import MODULE]"


def check(arguments: list[str]) -> bool:
    """Check the cell that the arguments name, print the report, and return whether the cell is correct.

    Raises:
        UsageError, jsonargparse.ArgumentError: if no cell is named, or an argument is wrong.
    """
    arguments = _cell_as_flag(arguments)
    if not any(re.match(r"--cell(=|\.help|$)", argument) for argument in arguments):
        raise UsageError("check needs a cell", f"usage: {_USAGE}")
    _refuse_unknown(arguments)
    parser = ArgumentParser(prog="seqlight check", usage=_USAGE, add_help=False, exit_on_error=False)
    parser.add_argument("--cell", type=Callable[[int], RecurrentCell])
    parser.add_argument("--input_size", type=int, default=3)
    parser.add_argument("--import", type=str | None, default=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jsonargparse warns about values that are refused below
        config = parser.parse_args(arguments)
        cell = bound_class(parser.instantiate(config).cell)
    if not isinstance(config.cell, Namespace):
        raise UsageError(f"--cell: expected the class of a RecurrentCell, got {config.cell}")
    try:
        check_at_least("input_size", config.input_size, 1)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    try:
        show(str(check_cell(cell, input_size=config.input_size, measure=True)))
    except CellError as error:
        show(str(error.report))
        return False
    return True


def _refuse_unknown(arguments: list[str]) -> None:
    """Raise UsageError for a flag that does not exist, with the nearest one. Those of a cell are left to the parser."""
    of_cells = [name.removeprefix("model.") for name in flag_names() if name.startswith("model.cell.")]
    known = ["cell", "input_size", "import", *of_cells]
    for word in arguments:
        name = word.removeprefix("--").partition("=")[0]
        if not word.startswith("--") or name in known or name.startswith("cell."):
            continue
        near = [each for each in of_cells if each == f"cell.{name}"] or difflib.get_close_matches(name, known, n=1)
        raise UsageError(f"--{name}: there is no such argument{f'; did you mean --{near[0]}?' if near else ''}")


def _cell_as_flag(arguments: list[str]) -> list[str]:
    """Turn a cell's name without a flag into `--cell=NAME`, so that jsonargparse accepts `--cell.*`.

    Each flag has a value, in the same word or in the next.
    """
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        index += 1 if "=" in arguments[index] else 2
    if index >= len(arguments):
        return arguments
    # First, since the other words can be arguments of the cell.
    return [f"--cell={full_name(arguments[index], RecurrentCell)}", *arguments[:index], *arguments[index + 1 :]]
