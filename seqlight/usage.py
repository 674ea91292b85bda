"""jsonargparse's errors in one to five lines.

jsonargparse says of a nested argument how each type of each level failed. Here it is put as the argument,
the value and what was expected.
"""

import argparse
import contextlib
import importlib
import inspect
import re

import seqlight
from seqlight.cells.cell import RecurrentCell
from seqlight.classifier import SequenceClassifier
from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.files import SequenceFiles
from seqlight.data.task import SequenceTask

_KINDS = {"cell": RecurrentCell, "task": SequenceTask, "model": SequenceClassifier, "data": SequenceDataModule}

_NOISE = (
    "Does not validate",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Given value",
    "Problem with given class_path",
)
_IMPORT_ERROR = re.compile(
    r"No module named \S+|module '[^']+' has no attribute '[^']+'|Importing '[^']+' is not allowed"
)


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
    """The message of a parsing error, shortened."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if line.strip()]
    flag = "--" + ".".join(re.findall(r'Parser key "([^"]+)"', message))
    if wanted := re.search(r"DefaultCPUAllocator: .*?(you tried to allocate \d+ bytes)", message):
        return f"not enough memory: {wanted[1]}"
    if "Unexpected config" in message:
        return "--config: expected a YAML file of options, as `seqlight fit --print_config` writes it"
    if unknown := re.search(r"Option '([^']+)' is not accepted", message):
        argument = f"{flag}.{unknown[1]}".replace("--.", "--")
        files = flag == "--data" and unknown[1] in inspect.signature(SequenceFiles).parameters
        return f"{argument}: there is no such argument" + (", but with --data SequenceFiles" if files else "")
    if "Unexpected import path format" in message and flag == "--data":
        return "--data: expected a kind of data; a file goes to --data SequenceFiles --data.train FILE"
    if name := re.search(r"(?:Expected a dot import path string: |Expected a path but )(\S+)", message):
        return _unknown_name(flag, name[1])
    if failure := _IMPORT_ERROR.search(message):
        return f"{flag}: {failure[0]}"
    if refused := re.search(r"expects a function or a callable class: (.*?)\.* Got value", message):
        return f"{flag}: {refused[1]}"
    got = re.search(r"Got value: (\S+?)[.]?(?: Got value|$)", message, re.MULTILINE)
    # The last "Given value" is that of the argument itself.
    value = got[1] if got else (re.findall(r"Given value: (.*)", message) or [""])[-1]
    value = re.sub(r"^NestedArg\(key='\w+', val='?(.*?)'?\)$", r"\1", value)
    if choices := re.search(r"Expected a typing\.Literal\[(.*?)\]", message):
        return f"{flag}: expected one of {choices[1].replace(chr(39), '')}; got {value}"
    types = [name for name in re.findall(r"Expected a <class '([^']+)'>", message) if name != "NoneType"]
    if types:
        return f"{flag}: expected {' or '.join(dict.fromkeys(types))}, got {value}"
    telling = [line for line in lines if not line.startswith(_NOISE)]
    return "\n".join(_name_flag(line) for line in telling[:5]) or lines[0]


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
    return {each for each in found if not each.__module__.startswith("seqlight.") or each.__name__ in seqlight.__all__}
