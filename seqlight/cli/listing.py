"""The commands `seqlight cells` and `seqlight tasks`."""

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.cli.usage import UsageError, subclasses
from seqlight.common.description import class_path
from seqlight.tasks.task import SequenceTask

INPUT_SIZE, HIDDEN_SIZE = 1, 32


def list_classes(command: str, arguments: list[str]) -> None:
    """Print the table of cells or tasks.

    Args:
        command: "cells" or "tasks".
        arguments: `--import MODULE`, any number of times; the modules have been imported already.

    Raises:
        UsageError: for any other argument.
    """
    parser = argparse.ArgumentParser(
        prog=f"seqlight {command}",
        description=f"List all {command}, one line each.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--import", action="append", metavar="MODULE", help="a module of yours, to be listed too")
    try:
        _, others = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(f"{command}: {error}") from error
    if others:
        raise UsageError(f"{command} takes --import MODULE and nothing else, got {' '.join(others)}")
    print(LISTINGS[command]())


def cell_table() -> str:
    """A header, and a line for each cell that has been imported: seqlight's, then the user's."""
    sizes = f"input_size {INPUT_SIZE} and hidden_size {HIDDEN_SIZE}"
    return _table(RecurrentCell, ("cell", "parameters", "states", "gates", f"(parameters at {sizes})"), _describe_cell)


def task_table() -> str:
    """A header, and a line for each task that has been imported: seqlight's, then the user's.

    A task has further lines for the other arguments that its baselines were measured with. Chance is the accuracy of
    a guess at random; majority, last and bag are the task's `Baselines`.
    """
    note = "(at the default arguments, or with those named)"
    columns = ("task", "target", "outputs", "chance", "majority", "last", "bag", note)
    return _table(SequenceTask, columns, _describe_task)


LISTINGS = {"cells": cell_table, "tasks": task_table}


def _table(base: type[object], header: tuple[str, ...], describe: Callable[[Any], dict[str, tuple[str, ...]]]) -> str:
    """The header and, for each class, the rows that `describe` gives by the flags that they hold with.

    A row starts with the class's path and ends with the flags, or without any with the first line of its docstring.
    """
    paths = {class_path(cls) for cls in subclasses(base) if _has_a_path(cls)}
    rows = [header]
    for path in sorted(paths, key=lambda path: (not path.startswith("seqlight."), path.lower())):
        module, _, name = path.rpartition(".")
        cls = getattr(sys.modules[module], name)
        summary = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        if not summary or summary.startswith(f"{cls.__name__}("):  # a dataclass without a docstring has its signature
            summary = "no description"
        try:
            described = describe(cls)
        except Exception as error:  # a user's class may need arguments, and raise anything
            described = {"": ("-",) * (len(header) - 2)}
            summary = f"can't be made with defaults alone: {error}".partition("\n")[0]
        rows += [(path.removeprefix("seqlight."), *values, flags or summary) for flags, values in described.items()]
    first, *middle = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return "\n".join(
        "  ".join(
            [row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:-1], middle, strict=True)), row[-1]]
        ).rstrip()
        for row in rows
    )


def _has_a_path(cls: type[object]) -> bool:
    """Whether it can be made, and named on the command line."""
    found = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None)
    return found is cls and not inspect.isabstract(cls)


def _describe_cell(cell_type: type[RecurrentCell]) -> dict[str, tuple[str, ...]]:
    """Numbers of parameters and states, and the number of gates or "step" for a general cell."""
    arguments = {"input_size": INPUT_SIZE, "hidden_size": HIDDEN_SIZE}
    accepted = inspect.signature(cell_type).parameters
    cell = cell_type(**{name: size for name, size in arguments.items() if name in accepted})
    state = cell.initial_state(1, device=torch.device("cpu"), dtype=torch.float32)
    num_parameters = sum(parameter.numel() for parameter in cell.parameters())
    gates = str(cell.num_gates) if isinstance(cell, GatedCell) else "step"
    return {"": (str(num_parameters), str(len(state)), gates)}


def _describe_task(task_type: type[SequenceTask]) -> dict[str, tuple[str, ...]]:
    """Target, number of outputs, chance level and baselines, for all arguments that these were measured with."""
    rows = {}
    for arguments in ({}, *(arguments for arguments, _ in task_type.measured if arguments)):
        task = task_type(**arguments)
        chance = 1 / task.num_outputs if task.target == "multiclass" else 0.5
        known = task.baselines
        baselines = (known.majority, known.last_symbol, known.bag_of_symbols) if known else (None,) * 3
        accuracies = ("-" if value is None else f"{value:.2f}" for value in (chance, *baselines))
        flags = " ".join(f"--data.task.{name} {json.dumps(value)}" for name, value in arguments.items())
        rows[flags] = (task.target, str(task.num_outputs), *accuracies)
    return rows
