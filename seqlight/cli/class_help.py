"""Help on the arguments of one class: `--model.cell.help GRUCell`, `--trainer.help`."""

import collections.abc
import importlib
import inspect
import json
import os
import re
import textwrap
import types
import typing
from collections.abc import Sequence
from typing import Any

import docstring_parser
import torch
from lightning.pytorch import Trainer

import seqlight
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.tensorboard_figures import TensorBoardFigures
from seqlight.checkpoints.resume import ResumeCheckpoint
from seqlight.cli.flag_errors import UsageError, base_class, explain_import, offered, unknown_name
from seqlight.cli.flag_names import CLASSES, FROM_DATA, full_flag
from seqlight.cli.help_page import WIDTH, FlagText, flag_lines
from seqlight.cli.options import CHECKPOINT_DEFAULTS, TRAINER_DEFAULTS
from seqlight.common.description import Describable, full_name
from seqlight.common.user_modules import allow
from seqlight.training.optimizer import UNUSABLE

DEFAULTS: dict[str, type] = {
    "trainer": Trainer,
    "checkpoint": BestCheckpoint,
    "resume": ResumeCheckpoint,
    "figures": TensorBoardFigures,
    "model": seqlight.SequenceClassifier,
    "model.cell": seqlight.LSTMCell,
    "model.optimizer": torch.optim.Adam,
    "data": seqlight.SyntheticSequences,
    "data.task": seqlight.SumSign,
}
# Texts for the command line, where a docstring speaks of Python.
_TEXTS = {
    "data.task": "a task of `seqlight tasks`, or mytasks.MyTask",
    "figures.every_n_epochs": "epochs between sets of figures, 0 for none; by default one set after the last "
    "validation, and in runs of more than 1000 steps one each time their number doubles",
    "figures.inside_cell": "whether to draw a layer's states and gates too",
    "model.cell": "a cell of `seqlight cells`, or mycells.MyCell",
    "model.optimizer": "a class of torch.optim, as --optimizer AdamW; its arguments are flags such as "
    "--optimizer.weight_decay 0.01",
    "trainer.gradient_clip_val": "longer gradients are scaled down to this norm; 0 for no clipping",
    "trainer.max_epochs": "number of epochs, -1 for no limit; by default 10, or none if steps or time have a limit; "
    "for SequenceFiles, 50, but so many that they have 500 to 2000 steps, and at least 10",
}
_SET = {"trainer": TRAINER_DEFAULTS, "checkpoint": CHECKPOINT_DEFAULTS, "data": {"task": seqlight.SumSign}}
_NOT_FLAGS = {"model": FROM_DATA, "model.cell": ("input_size",), "model.optimizer": ("params", "lr"),
              "data": ("encoding",)}  # fmt: skip
_KINDS = {bool: "true|false", int: "INT", float: "FLOAT", str: "TEXT", list: "LIST", dict: "MAPPING"}
_MOST_CHOICES = 6


def class_help(arguments: Sequence[str]) -> str:
    """The help on a class that a command line asks for; empty if it asks for none.

    Raises:
        UsageError: if the class does not exist.
    """
    for word, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        flag, equals, value = word.partition("=")
        name = full_flag(flag.removeprefix("--").removesuffix(".help").replace(".init_args", ""))
        if flag.endswith(".help") and name in DEFAULTS:
            given = value if equals else "" if following.startswith("-") else following
            return _page(name, _named(name, given) if given and name in CLASSES else DEFAULTS[name], listed=not given)
    return ""


def _page(name: str, cls: type, *, listed: bool) -> str:
    summary = docstring_parser.parse(inspect.getdoc(cls) or "").short_description or ""
    lines = [*textwrap.wrap(f"{cls.__name__}: {summary}".rstrip(": "), WIDTH), ""]
    lines += flag_lines(flag_texts(cls, name)) or ["  It has no arguments."]
    if listed and name in CLASSES:
        names = sorted(each.__name__ for each in offered(base_class(name)) if each not in UNUSABLE)
        example = next((each for each in names if each != cls.__name__), "mymodule.MyClass")
        lines += ["", *textwrap.wrap(f"--{name} can name: {', '.join(names)}, or mymodule.MyClass", WIDTH)]
        lines.append(f"--{name}.help {example} lists the flags of another.")
    return "\n".join(lines) + "\n"


def _named(name: str, given: str) -> type:
    path = full_name(given, base_class(name))
    module, _, last = path.rpartition(".")
    if not module:
        found = next((cls for cls in offered(base_class(name)) if cls.__name__ == last), None)
    else:
        allow(module.partition(".")[0])
        try:
            found = getattr(importlib.import_module(module), last, None)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            message = f"--{name} {given}: can't import {module}: {reason}"
            raise UsageError(message, *filter(None, [explain_import(module, error)])) from error
    if not (isinstance(found, type) and issubclass(found, base_class(name))):
        raise UsageError(*unknown_name(f"--{name}", given).split("\n"))
    return found


def flag_texts(cls: type, prefix: str) -> list[FlagText]:
    """The lines of the help about the arguments of a class.

    Args:
        cls: the class.
        prefix: the flag that names it, without dashes.
    """
    parameters: dict[str, inspect.Parameter] = {}
    texts: dict[str, str] = {}
    for each in cls.__mro__[:-1]:
        own = vars(each).get("__init__")
        for doc in (each.__doc__, getattr(own, "__doc__", None)):
            for argument in docstring_parser.parse(inspect.cleandoc(doc or "")).params:
                texts.setdefault(argument.arg_name, " ".join((argument.description or "").split()))
        if own is not None:
            accepted = inspect.signature(each).parameters
            parameters = {**accepted, **parameters}
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
                break  # otherwise it passes them to the next class
    flags = []
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or name in _NOT_FLAGS.get(prefix, ()):
            continue
        default = _SET.get(prefix, {}).get(name, parameter.default)
        # torch and Lightning repeat the default, and seqlight's can be another.
        text = re.sub(r" *(Default: ``[^`]*``\.?|\(default: ([^()]|\([^()]*\))*\))", "", texts.get(name, "")).replace(
            "``", "`"
        )
        text = _TEXTS.get(f"{prefix}.{name}", text)
        flags.append(FlagText(f"{prefix}.{name}", _kind(parameter.annotation), _shown(default), text))
    return flags


def _shown(default: Any) -> str:
    """A default as a word of the command line; empty if there is none."""
    if default is inspect.Parameter.empty or default is None:
        return ""
    if isinstance(default, type):
        return default.__name__
    return default if isinstance(default, str) else json.dumps(default, default=str).replace(" ", "")


def _kind(annotation: Any) -> str:
    """The word for values of a type in the help."""
    cls = typing.get_origin(annotation) or annotation
    if cls is typing.Literal:
        choices = typing.get_args(annotation)
        return "|".join(map(str, choices)) if len(choices) <= _MOST_CHOICES else "TEXT"
    if cls in (types.UnionType, typing.Union):
        kinds = [_kind(each) for each in typing.get_args(annotation) if each is not type(None)]
        known = [kind for kind in dict.fromkeys(kinds) if kind != "VALUE" and not (kind == "INT" and "FLOAT" in kinds)]
        return "FILE" if "FILE" in known else "|".join(known[:2]) or "VALUE"
    if cls is collections.abc.Callable or (isinstance(cls, type) and issubclass(cls, Describable)):
        return "CLASS"
    return "FILE" if cls is os.PathLike else _KINDS.get(cls, "VALUE")
