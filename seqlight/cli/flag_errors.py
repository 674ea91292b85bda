"""Short messages for jsonargparse's errors.

For a nested argument, jsonargparse lists why each type failed at each level. The messages here name the argument, its
value and what was expected, in one to five lines.
"""

import argparse
import contextlib
import difflib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable

import torch

import seqlight
from seqlight.cli.flag_names import CLASSES, COMMANDS, flag_names, unknown_flag
from seqlight.common import private_jsonargparse, private_torch
from seqlight.common.description import full_name, public_class, subclasses, takes_memory
from seqlight.common.errors import ShownError
from seqlight.common.user_modules import finders
from seqlight.training.optimizer import UNUSABLE


class UsageError(ShownError):
    """A command that can't be run as given; the message has one to five lines."""


def values_of(flag: str, arguments: list[str]) -> list[str]:
    """All values of a flag, in order, before the command line is parsed."""
    scanner = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scanner.add_argument(flag, dest="values", action="append", default=[])
    with contextlib.suppress(argparse.ArgumentError):  # the real parser reports it
        return list(scanner.parse_known_args(arguments)[0].values)
    return []


def base_class(flag: str) -> type:
    """The base class of the classes that a flag of `CLASSES` can name."""
    name = CLASSES[flag]
    base: type = getattr(torch.optim if name == "Optimizer" else seqlight, name)
    return base


def usage_error(error: Exception, change: Callable[[str], str] = str) -> UsageError:
    """The error to report for one of jsonargparse, or of an object that it makes.

    Args:
        error: the error.
        change: changes the message from `explain`.
    """
    first, *others = change(explain(str(error))).split("\n")
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ShownError):
        cause = cause.__cause__ or cause.__context__
    # A value in a message of jsonargparse can have several lines; only seqlight's own begin at the margin.
    return UsageError(first, *(others if cause else (f"  {line}" for line in others)))


def explain(message: str) -> str:
    """A message of one to five lines for the text of a jsonargparse.ArgumentError."""
    key = private_jsonargparse.error_key(message)
    flag = "--seed" if key == "seed_everything" else f"--{key}"
    if memory := private_torch.allocation_failure(message):
        return f"not enough memory: {memory}"
    if missing := private_jsonargparse.missing_file(message):
        return f"{flag}: there is no file {missing}"
    if private_jsonargparse.is_not_a_configuration(message):
        return "--config: expected a YAML file of options, as `seqlight fit --print_config` writes it"
    if option := private_jsonargparse.unaccepted_option(message):
        files = key == "data" and option in inspect.signature(seqlight.SequenceFiles).parameters
        argument = re.sub(r"\.init_args(?=\.|$)", "", f"{key}.{option}".removeprefix("."))
        command = argument.partition(".")[0]
        if command in COMMANDS and command != "data":  # which is a key, too
            return f"--{argument}: a configuration names no command; move the keys below {command} to the top level"
        if files:
            return f"--{argument}: there is no such argument; it belongs to --data SequenceFiles"
        if key == "cell":  # of `check`
            return unknown_flag(f"model.{argument}").replace("--model.", "--")
        hint = unknown_flag(argument)
        cls = private_jsonargparse.refusing_class(message)
        elsewhere = f" --{key}." not in hint and "; use " not in hint
        if cls and key in CLASSES and (argument in flag_names() or elsewhere):
            short = cls.rpartition(".")[2]
            return f"--{argument}: {short} has no such argument; see `seqlight fit --{key}.help {short}`"
        return hint
    if private_jsonargparse.is_not_a_class_path(message) and key == "data":
        return "--data: expected a data module; for a file, use --data SequenceFiles --data.train FILE"
    if name := private_jsonargparse.unknown_class(message):
        return unknown_name(flag, name)
    if failure := private_jsonargparse.import_failure(message) or private_jsonargparse.callable_refusal(message):
        module = re.search(r"module '([^']+)'", failure)
        return f"{flag}: {failure}\n{explain_import(module[1]) if module else ''}".rstrip()
    if not key and (problem := private_jsonargparse.class_problem(message)):
        return problem
    value = private_jsonargparse.given_value(message)
    if choices := private_jsonargparse.literal_choices(message):
        return f"{flag}: expected one of {choices}; got {value}"
    if number := private_jsonargparse.expected_elements(message):
        return f"{flag}: expected a list of {number} values, got {value}"
    if types := private_jsonargparse.expected_types(message):
        types = ["a list such as [0.9, 0.99]" if name in ("tuple", "list") else name for name in types]
        return f"{flag}: expected {' or '.join(types)}, got {value}"
    return "\n".join(_name_flag(line) for line in private_jsonargparse.informative_lines(message)[:5])


def explain_import(path: str, error: BaseException | None = None) -> str:
    """A remark on an import that failed or can mislead, with a way out; empty if the folder is not the reason.

    Args:
        path: a module or a class, as `mycells.LeakyCell`.
        error: the error, if there is one.
    """
    name = path.partition(".")[0]
    for finder in finders() if name.isidentifier() else ():
        missing = (isinstance(error, ModuleNotFoundError) and error.name) or name
        if missing != name and missing not in finder.names and finder.spec_here(missing):
            return f"{missing} is in this folder too: add --import {missing} before it"
        here = finder.spec_here(name)
        used = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
        if here and here.origin and used and os.path.realpath(used.origin or "") != os.path.realpath(here.origin):
            return f"{here.origin} is hidden by another module {name}, {used.origin}: rename the file"
    return ""


def _name_flag(line: str) -> str:
    """Replace `Parser key "config": ...` by `--config: ...`."""
    return re.sub(r'^Parser key "([^"]+)"', r"--\1", line)


def check_class(flag: str, name: str) -> None:
    """Raise UsageError if a short name is none that a flag of `CLASSES` offers: the parser knows internal classes."""
    base = base_class(flag)
    found = public_class(name.removeprefix("seqlight."))
    if found and takes_memory(found):
        raise UsageError(unknown_name(f"--{flag}", name))
    if name.isidentifier() and not os.path.exists(name) and name not in {cls.__name__ for cls in offered(base)}:
        raise UsageError(*unknown_name(f"--{flag}", name).split("\n"))


def offered(base: type) -> list[type]:
    """The classes that a flag can name: seqlight's, torch's and those of the user's modules."""
    classes = [cls for cls in subclasses(base) if not inspect.isabstract(cls) and cls is not torch.optim.Optimizer]
    return [cls for cls in classes if not cls.__module__.startswith("lightning.")]


def unknown_name(flag: str, name: str) -> str:
    """The message about a name of no class, with the names that may be meant.

    Args:
        flag: the flag, as `--model.cell`.
        name: its value.
    """
    key = flag.rpartition(".")[2].removeprefix("--")
    kinds = {each.rpartition(".")[2]: each for each in CLASSES}  # `check` has --cell
    if key not in kinds:
        return f"{flag}: expected a name or an import path, got {name}"
    base = base_class(kinds[key])
    module, _, last = name.rpartition(".")
    if public_class(last) and takes_memory(public_class(last)):
        return f"{flag}: {last} is for data in memory; for a file, use --data SequenceFiles --data.train FILE"
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return f"{flag} {name}: can't import {module}: {reason}\n{explain_import(module, error)}".rstrip()
    known = sorted(cls.__name__ for cls in offered(base) if cls not in UNUSABLE)
    expected = f"expected {', '.join(known)}, or your own {base.__name__} as mymodule.MyClass"
    meant = _meant(kinds[key], name, known)
    if meant:  # first, before a long list
        return f"{flag}: there is no {base.__name__} {name}; {meant}\n{expected}\n{explain_import(module)}".rstrip()
    return f"{flag}: {expected}; got {name}\n{explain_import(module)}".rstrip()


def _meant(flag: str, name: str, known: list[str]) -> str:
    """A hint at the class that a name may mean: one of another flag, or the nearest of the known ones."""
    for other in CLASSES:
        if other != flag:
            path = full_name(name, base_class(other))
            if path in {cls.__name__ for cls in offered(base_class(other))}:
                return f"use --{other} {path}"
    short = {each.lower().removesuffix("cell"): each for each in known}
    near = difflib.get_close_matches(name.lower().removesuffix("cell"), short, n=1)
    return f"did you mean {short[near[0]]}?" if near else ""
