"""Which entry of a checkpoint can't be saved, and whose state it is."""

import copy
import io
from collections.abc import Callable, Iterable
from typing import Any

import torch

from seqlight.checkpoints.archive import ArchiveError, unpack
from seqlight.common.errors import CheckpointError

_OWNERS = {
    "callbacks": "callback",
    "optimizer_states": "optimizer",
    "lr_schedulers": "learning rate scheduler",
    "loops": "data loader",
    "state_dict": "model",
    "hyper_parameters": "model",
    "datamodule_hyper_parameters": "data module",
}


def pack(value: dict[str, Any]) -> bytes:
    """The bytes that `torch.save` writes, after a check that they can be restored.

    That is, `unpack` reads them, and the states of callbacks can be copied, as Lightning does before it restores them.

    Raises:
        CheckpointError: if they can't; the message names the entry.
    """
    check: Callable[[Any], Any] = _pack
    try:
        packed = _pack(value)
        check = copy.deepcopy
        check(value.get("callbacks"))
    except MemoryError:
        raise
    except Exception as error:  # pickle and deepcopy call methods of users' classes
        places, part, reason = _find(value, error, check)
    else:
        return packed
    path = "".join(f"[{place!r}]" for place in places)
    owner = _OWNERS.get(str(places[0]), f"hook or data module that wrote {places[0]!r}") if places else "checkpoint"
    named = f" {places[1]!r:.100}" if owner == "callback" and len(places) > 1 else ""
    if isinstance(reason, ArchiveError):
        remedy = f"such a checkpoint would be refused when it is read: {reason}"
    else:
        remedy = (
            f"convert it to tensors or plain values (numbers, text, lists, tuples, dicts, sets); torch says: {reason}"
        )
    raise CheckpointError(
        f"can't be saved: checkpoint{path:.300} is {_a(part)}, in the state of the {owner}{named}", remedy
    ) from reason


def _pack(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    unpack(buffer.getvalue())
    return buffer.getvalue()


def _find(value: Any, error: Exception, check: Callable[[Any], Any]) -> tuple[list[Any], Any, Exception]:
    """The keys of the innermost part that fails the check by itself, the part, and the error about it."""
    places: list[Any] = []
    outer = []  # a list can be in itself
    while True:
        outer.append(value)
        for place, part in _parts(value):
            if any(part is each for each in outer):
                continue
            try:
                check(part)
            except Exception as inner:
                places.append(place)
                value, error = part, inner
                break
        else:
            return places, value, error


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """The parts of plain data, each with its key or place. A key of a dict is in its own place."""
    if isinstance(value, dict):
        return [*value.items(), *((key, key) for key in value if not isinstance(key, str))]
    if type(value) in (list, tuple):
        return enumerate(value)
    return ((part, part) for part in value) if type(value) is set else ()


def _a(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
