"""Safe loading of YAML from untrusted sources: sizes are checked before any object is built."""

import os
import re
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from seqlight.cli.flag_errors import UsageError
from seqlight.cli.flag_names import GROUPS
from seqlight.common.description import public_class

_MAX_BYTES = 1_000_000
_MAX_VALUES = 100_000
_MAX_LEVELS = 50
# Classes that are not public, and that an earlier version named in configuration files and help texts.
_RENAMED = {
    "seqlight.lean.NoProfiler": "seqlight.callbacks.profiler.NoProfiler",
    "seqlight.lean.BestCheckpoint": "seqlight.callbacks.best_checkpoint.BestCheckpoint",
    "seqlight.lean.TimedProgressBar": "seqlight.callbacks.progress_bar.TimedProgressBar",
    "seqlight.loggers.CurvesLogger": "seqlight.callbacks.logger.CurvesLogger",
}
_SHORT = 50  # characters; a text as short as this can't expand into a large value


class TooLargeError(yaml.YAMLError):
    """Text that would load as a very large or deep value."""


def load_yaml(text: str) -> Any:
    """Load YAML as jsonargparse does.

    Raises:
        TooLargeError: if the value would be very large or deep.
        yaml.YAMLError: if the text is not YAML of plain values.
    """
    try:
        _check_size(text)
        value = jsonargparse.get_loader("yaml")(text)
    except UnicodeEncodeError as error:  # a lone surrogate: Python has it for an undecodable name of a file
        raise yaml.YAMLError(str(error)) from error
    check_texts(value)
    _rename_class_paths(value)
    return value


def current_class_path(text: str) -> str:
    """The path of a class of seqlight, for one in which its module has an earlier name. Other texts stay."""
    if not re.fullmatch(r"seqlight(\.\w+){2,}", text):
        return text
    name = text.rpartition(".")[2]
    return _RENAMED.get(text, f"seqlight.{name}" if public_class(name) else text)


def _rename_class_paths(value: Any) -> None:
    """Update class paths in place, from versions in which seqlight's modules had other names."""
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        value["class_path"] = current_class_path(value["class_path"])
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _rename_class_paths(part)


def check_texts(value: Any) -> None:
    """Check the texts in a value: jsonargparse loads them as YAML too, for example if it expects a number.

    Raises:
        TooLargeError: as `load_yaml`.
    """
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for part in value:
            check_texts(part)
    elif isinstance(value, str) and len(value) > _SHORT:
        try:
            _check_size(value)
        except TooLargeError:
            raise
        except yaml.YAMLError:
            return  # not YAML: the text stays a text


def _check_size(text: str) -> None:
    if len(text) > _MAX_BYTES:
        raise TooLargeError(f"expected at most {_MAX_BYTES} characters, got {len(text)}")
    sizes: dict[str | None, int] = {}  # number of values of each anchor, with its aliases expanded
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the number of values before it
    values = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _ in open_nodes):
                raise TooLargeError(f"alias {event.anchor!r} is inside the value it refers to")
            values += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, yaml.NodeEvent):
            values += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, values - 1))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
        if values > _MAX_VALUES or len(open_nodes) > _MAX_LEVELS:
            raise TooLargeError(f"expected at most {_MAX_VALUES} values in {_MAX_LEVELS} levels")


jsonargparse.set_loader("seqlight", load_yaml, exceptions=(yaml.YAMLError,))


def check_files(paths: list[str]) -> None:
    """Raise UsageError if a configuration is not a regular file, is very large, or is not YAML of options.

    Args:
        paths: the values of `--config`: files, or texts of YAML.
    """
    for path in paths:
        if os.path.exists(path):  # otherwise it is missing, or is YAML text itself
            if not os.path.isfile(path):
                raise UsageError(f"--config {path}: expected a file")
            if (size := os.path.getsize(path)) > _MAX_BYTES:
                raise UsageError(f"--config {path}: expected at most {_MAX_BYTES} bytes, got {size}")
            _check_text(path, Path(path).read_text(encoding="utf-8"))


def _check_text(path: str, text: str) -> None:
    try:
        value = load_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = 0 if error.problem_mark is None else min(error.problem_mark.line, max(text.count("\n") - 1, 0))
        indents = [re.match(r"\s*", each)[0] for each in text.splitlines()[: line + 1]]  # type: ignore[index]
        problem = "there is a tab in its indentation; use spaces" if "\t" in indents[-1] else error.problem
        raise UsageError(f"{path}, line {line + 1}: {problem}") from error
    except yaml.YAMLError:
        return  # the parser reports it
    if not isinstance(value, dict):
        written = "as `seqlight fit --print_config` writes it"
        raise UsageError(f"--config {path}: expected a YAML file of options, {written}")
    for name, example in GROUPS.items():
        if isinstance(value.get(name), bool | int | float | list):
            raise UsageError(f"{path}: {name}: expected keys below it, such as {example}; got {value[name]}")
