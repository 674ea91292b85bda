"""The commands `seqlight cells` and `seqlight tasks`."""

import argparse
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import torch

from seqlight import cells, tasks
from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.cli.flag_errors import UsageError
from seqlight.common.description import class_path, subclasses
from seqlight.common.text import show
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
    parser.add_argument("--import", action="append", metavar="MODULE", help="your own module to import and list too")
    try:
        _, others = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(f"{command}: {error}") from error
    if others:
        raise UsageError(f"{command} takes only --import MODULE, got {' '.join(others)}")
    show(LISTINGS[command]())


def cell_table() -> str:
    """A header and one line per imported cell: seqlight's cells first, then the user's."""
    sizes = f"input_size {INPUT_SIZE} and hidden_size {HIDDEN_SIZE}"
    return _table(RecurrentCell, ("cell", "parameters", "states", "gates", f"(parameters at {sizes})"), _describe_cell)


def task_table() -> str:
    """A header and one line per imported task: seqlight's tasks first, then the user's.

    If baselines were measured with other arguments than the defaults too, the task has a line for each. Chance is the
    accuracy of random guesses; majority, last and bag are the task's `Baselines`.
    """
    note = "(with default arguments, or with those listed)"
    columns = ("task", "target", "outputs", "chance", "majority", "last", "bag", note)
    return _table(SequenceTask, columns, _describe_task)


LISTINGS = {"cells": cell_table, "tasks": task_table}


def _table(base: type[object], header: tuple[str, ...], describe: Callable[[Any], dict[str, tuple[str, ...]]]) -> str:
    """The header, and for each class the rows of `describe`, a dict from flags to values.

    A row starts with the class's path. It ends with the flags, or with the docstring's first line if there are none.
    """
    for package in (cells, tasks):
        for file in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(file.name)
    paths = {class_path(cls) for cls in subclasses(base) if _can_be_named(cls)}
    rows = [header]
    for path in sorted(paths, key=lambda path: (not path.startswith("seqlight."), path.lower())):
        module, _, name = path.rpartition(".")
        cls = getattr(sys.modules[module], name)
        summary = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        if not summary or summary.startswith(f"{cls.__name__}("):  # Python's docstring for a dataclass without one
            summary = "no description"
        try:
            described = describe(cls)
        except Exception as error:  # a user's class may need arguments, or raise anything
            described = {"": ("-",) * (len(header) - 2)}
            summary = f"can't be created with default arguments: {error}".partition("\n")[0]
        rows += [(path.removeprefix("seqlight."), *values, flags or summary) for flags, values in described.items()]
    first, *middle = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return "\n".join(
        "  ".join(
            [row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:-1], middle, strict=True)), row[-1]]
        ).rstrip()
        for row in rows
    )


def _can_be_named(cls: type[object]) -> bool:
    """Whether the command line can name and create the class."""
    found = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None)
    return found is cls and not inspect.isabstract(cls)


def _describe_cell(cell_type: type[RecurrentCell]) -> dict[str, tuple[str, ...]]:
    """The numbers of parameters, states and gates ("step" for a cell that is no `GatedCell`)."""
    arguments = {"input_size": INPUT_SIZE, "hidden_size": HIDDEN_SIZE}
    accepted = inspect.signature(cell_type).parameters
    cell = cell_type(**{name: size for name, size in arguments.items() if name in accepted})
    state = cell.initial_state(1, device=torch.device("cpu"), dtype=torch.float32)
    num_parameters = sum(parameter.numel() for parameter in cell.parameters())
    gates = str(cell.num_gates) if isinstance(cell, GatedCell) else "step"
    return {"": (str(num_parameters), str(len(state)), gates)}


def _describe_task(task_type: type[SequenceTask]) -> dict[str, tuple[str, ...]]:
    """Target, number of outputs, chance level and baselines, for all arguments that baselines were measured with."""
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
