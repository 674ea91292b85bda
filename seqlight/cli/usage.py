"""jsonargparse's errors in one to five lines.

jsonargparse says of a nested argument how each type of each level failed. Here it is put as the argument,
the value and what was expected.
"""

import argparse
import contextlib
import importlib
import inspect
import re

from seqlight.cells.cell import RecurrentCell
from seqlight.common import private_api
from seqlight.common.description import public_class
from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.files import SequenceFiles
from seqlight.tasks.task import SequenceTask
from seqlight.training.classifier import SequenceClassifier

_KINDS = {"cell": RecurrentCell, "task": SequenceTask, "model": SequenceClassifier, "data": SequenceDataModule}


class UsageError(Exception):
    """What the user asked for can't be done; the message says why, in one to five lines."""


def values_of(flag: str, arguments: list[str]) -> list[str]:
    """The values of a flag that must be known before the command line can be parsed."""
    scanner = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scanner.add_argument(flag, dest="values", action="append", default=[])
    with contextlib.suppress(argparse.ArgumentError):  # the parser proper reports it
        return list(scanner.parse_known_args(arguments)[0].values)
    return []


def explain(message: str) -> str:
    """The text of a jsonargparse.ArgumentError as one to five lines: the flag, what was expected and the value."""
    key = private_api.error_key(message)
    flag = f"--{key}"
    if memory := private_api.allocation_failure(message):
        return f"not enough memory: {memory}"
    if private_api.is_not_a_configuration(message):
        return "--config: expected a YAML file of options, as `seqlight fit --print_config` writes it"
    if option := private_api.unaccepted_option(message):
        files = key == "data" and option in inspect.signature(SequenceFiles).parameters
        argument = f"{key}.{option}".removeprefix(".")
        return f"--{argument}: there is no such argument" + (", but with --data SequenceFiles" if files else "")
    if private_api.is_not_a_class_path(message) and key == "data":
        return "--data: expected a kind of data; a file goes to --data SequenceFiles --data.train FILE"
    if name := private_api.unknown_class(message):
        return _unknown_name(flag, name)
    if failure := private_api.import_failure(message) or private_api.callable_refusal(message):
        return f"{flag}: {failure}"
    value = private_api.given_value(message)
    if choices := private_api.literal_choices(message):
        return f"{flag}: expected one of {choices}; got {value}"
    if types := private_api.expected_types(message):
        return f"{flag}: expected {' or '.join(types)}, got {value}"
    return "\n".join(_name_flag(line) for line in private_api.informative_lines(message)[:5])


def _name_flag(line: str) -> str:
    """`Parser key "config": ...` as `--config: ...`."""
    return re.sub(r'^Parser key "([^"]+)"', r"--\1", line)


def _unknown_name(flag: str, name: str) -> str:
    key = flag.rpartition(".")[2].removeprefix("--")
    if key not in _KINDS:
        return f"{flag}: expected a name or an import path, got {name}"
    module, _, _ = name.rpartition(".")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:
            return f"{flag} {name}: can't import {module}: {type(error).__name__}: {error}"
    known = sorted(cls.__name__ for cls in subclasses(_KINDS[key]) if not inspect.isabstract(cls))
    return (
        f"{flag}: expected {', '.join(known)}, or the path of a {_KINDS[key].__name__} of your own "
        f"(mymodule.MyClass); got {name}"
    )


def subclasses(cls: type[object]) -> set[type[object]]:
    """`cls` and all classes below it that have been imported."""
    below: list[type[object]] = type.__subclasses__(cls)
    found = {cls}.union(*map(subclasses, below))
    # What seqlight has for itself is nobody's to name.
    return {
        each for each in found if not each.__module__.startswith("seqlight.") or public_class(each.__name__) is each
    }
