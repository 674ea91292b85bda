"""The commands `seqlight cells` and `seqlight tasks`."""

import argparse
import importlib
import inspect
import json
import pkgutil
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import torch

from seqlight import cells, tasks
from seqlight.cells.cell import GatedCell, RecurrentCell
from seqlight.cli.flag_errors import UsageError
from seqlight.cli.terminal import wrapped
from seqlight.common.description import class_path, subclasses
from seqlight.common.text import show
from seqlight.tasks.task import SequenceTask, TaskExample

WIDTH = 80
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
        description=f"List all {command}.",
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
    """A header and two lines per imported cell, the second a summary: seqlight's cells first, then the user's."""
    sizes = f"input_size {INPUT_SIZE}, hidden_size {HIDDEN_SIZE}"
    rows: list[tuple[str, ...]] = [("cell", "parameters", "states", "gates", f"({sizes})")]
    texts = [""]
    for path, cls, summary in _classes(RecurrentCell):
        try:
            rows.append((path, *_describe_cell(cls)))
        except Exception as error:  # a user's class may need arguments, or raise anything
            rows.append((path, "-", "-", "-"))
            summary = _why_not(error)
        texts.append(wrapped(f"  {summary}", WIDTH))
    rows = [(*row, *[""] * (5 - len(row))) for row in rows]
    lines = _aligned(rows, num_numbers=3)
    return "\n".join(text for line in zip(lines, texts, strict=True) for text in line if text)


def task_table() -> str:
    """A header and a few lines per imported task: seqlight's tasks first, then the user's.

    The first line has the baselines with default arguments, the following ones those with other arguments that they
    were measured with. Then come a summary, and the command of the task's example. Chance is the accuracy of random
    guesses; majority, last and bag are the task's `Baselines`.
    """
    rows: list[tuple[str, ...]] = [("task", "target", "outputs", "chance", "majority", "last", "bag")]
    texts: dict[int, list[str]] = {}  # by the row that they follow
    for path, cls, summary in _classes(SequenceTask):
        try:
            rows += _describe_task(path, cls)
        except Exception as error:  # as above
            rows.append((path, *6 * "-"))
            summary = _why_not(error)
        texts[len(rows) - 1] = [f"  {summary}", *(command_lines(path, cls.example) if cls.example else ())]
    lines = _aligned(rows, num_numbers=6)
    return "\n".join(text for row, line in enumerate(lines) for text in (line, *texts.get(row, ())))


LISTINGS = {"cells": cell_table, "tasks": task_table}


def command_lines(name: str, example: TaskExample) -> list[str]:
    """The command of a task's example, indented, and broken where a shell allows it."""
    arguments: dict[str, Any] = {"data.task": name}
    arguments |= {f"data.task.{key}": value for key, value in example.task.items()}
    arguments |= {f"data.{key}": value for key, value in example.data.items()}
    defaults = TaskExample()
    if example.cell != defaults.cell:
        arguments["model.cell"] = example.cell
    if example.max_epochs != defaults.max_epochs:
        arguments["trainer.max_epochs"] = example.max_epochs
    lines = ["  seqlight fit"]
    for key, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value)
        flag = f" --{key} {shlex.quote(text)}"
        if len(lines[-1] + flag) > WIDTH - len(" \\"):
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += flag
    return lines


def _classes(base: type[Any]) -> Iterator[tuple[str, type[Any], str]]:
    """The path, the class, and the docstring's first line of all imported classes that can be named."""
    for package in (cells, tasks):
        for file in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(file.name)
    paths = {class_path(cls) for cls in subclasses(base) if _can_be_named(cls)}
    for path in sorted(paths, key=lambda path: (not path.startswith("seqlight."), path.lower())):
        module, _, name = path.rpartition(".")
        cls = getattr(sys.modules[module], name)
        summary = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        if not summary or summary.startswith(f"{cls.__name__}("):  # Python's docstring for a dataclass without one
            summary = "no description"
        yield path.removeprefix("seqlight."), cls, summary


def _why_not(error: Exception) -> str:
    return f"can't be created with default arguments: {error}".partition("\n")[0]


def _aligned(rows: list[tuple[str, ...]], num_numbers: int) -> list[str]:
    """Rows with a name on the left, then numbers aligned on the right, then the rest."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1 : num_numbers + 1], strict=False)]
            + list(row[num_numbers + 1 :])
        ).rstrip()
        for row in rows
    ]


def _can_be_named(cls: type[object]) -> bool:
    """Whether the command line can name and create the class."""
    found = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None)
    return found is cls and not inspect.isabstract(cls)


def _describe_cell(cell_type: type[RecurrentCell]) -> tuple[str, str, str]:
    """The numbers of parameters, states and gates ("step" for a cell that is no `GatedCell`)."""
    arguments = {"input_size": INPUT_SIZE, "hidden_size": HIDDEN_SIZE}
    accepted = inspect.signature(cell_type).parameters
    cell = cell_type(**{name: size for name, size in arguments.items() if name in accepted})
    state = cell.initial_state(1, device=torch.device("cpu"), dtype=torch.float32)
    num_parameters = sum(parameter.numel() for parameter in cell.parameters())
    gates = str(cell.num_gates) if isinstance(cell, GatedCell) else "step"
    return str(num_parameters), str(len(state)), gates


def _describe_task(path: str, task_type: type[SequenceTask]) -> list[tuple[str, ...]]:
    """A row of target, number of outputs, chance level and baselines for all arguments that these were measured with.

    The first one has the default arguments, and begins with the path; the others begin with their flags.
    """
    rows = []
    for arguments in ({}, *(arguments for arguments, _ in task_type.measured if arguments)):
        task = task_type(**arguments)
        chance: float | None = 1 / task.num_outputs if task.target == "multiclass" else 0.5
        known = task.baselines
        baselines = (known.majority, known.last_symbol, known.bag_of_symbols) if known else (None,) * 3
        if task.target == "regression":
            chance = None
        accuracies = ("-" if value is None else f"{value:.2f}" for value in (chance, *baselines))
        flags = " ".join(f"--data.task.{name} {json.dumps(value)}" for name, value in arguments.items())
        rows.append((flags or path, task.target, str(task.num_outputs), *accuracies))
    return rows
