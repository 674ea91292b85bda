"""YAML that may come from anywhere: looked at before anything is made of it."""

import os
from typing import Any

import jsonargparse
import yaml

from seqlight.cli.usage import UsageError
from seqlight.common.description import public_class

_MOST_BYTES = 1_000_000
_MOST_VALUES = 100_000
_MOST_LEVELS = 50
_RENAMED = {"seqlight.lean.NoProfiler": "seqlight.callbacks.profiler.NoProfiler"}
_SHORT = 50  # characters, from which nothing large can be made


class TooLargeError(yaml.YAMLError):
    """Text that would become very large or deep."""


def load_yaml(text: str) -> Any:
    """As jsonargparse loads options.

    Raises:
        TooLargeError: if it would become very large or deep.
        yaml.YAMLError: if it is no YAML of plain values.
    """
    _check_size(text)
    value = jsonargparse.get_loader("yaml")(text)
    check_texts(value)
    _rename_class_paths(value)
    return value


def _rename_class_paths(value: Any) -> None:
    """Rename class paths in place that an earlier version wrote, when modules of seqlight had other names."""
    if isinstance(value, dict):
        path = value.get("class_path")
        if isinstance(path, str) and path.startswith("seqlight."):
            name = path.rpartition(".")[2]
            value["class_path"] = _RENAMED.get(path, f"seqlight.{name}" if public_class(name) else path)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _rename_class_paths(part)


def check_texts(value: Any) -> None:
    """Whether texts within a value may be loaded in their turn, as jsonargparse does where it expects a number, say.

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
            return  # other text, which becomes nothing else


def _check_size(text: str) -> None:
    if len(text) > _MOST_BYTES:
        raise TooLargeError(f"expected at most {_MOST_BYTES} characters, got {len(text)}")
    sizes: dict[str | None, int] = {}  # of what anchors stand for, aliases in it followed
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the number of values before it
    values = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _ in open_nodes):
                raise TooLargeError(f"alias {event.anchor!r} stands for what it is in")
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
        if values > _MOST_VALUES or len(open_nodes) > _MOST_LEVELS:
            raise TooLargeError(f"expected at most {_MOST_VALUES} values in {_MOST_LEVELS} levels")


jsonargparse.set_loader("seqlight", load_yaml, exceptions=(yaml.YAMLError,))


def check_files(paths: list[str]) -> None:
    """Whether configurations that are to be read are files, and of no more bytes than anyone writes.

    Raises:
        UsageError: naming the one that is not.
    """
    for path in paths:
        if os.path.exists(path):  # else it is missing, or the configuration itself
            if not os.path.isfile(path):
                raise UsageError(f"--config {path}: expected a file")
            if (size := os.path.getsize(path)) > _MOST_BYTES:
                raise UsageError(f"--config {path}: expected at most {_MOST_BYTES} bytes, got {size}")
