"""Comparison of the entries of a checkpoint with those that would be saved now."""

import math
from numbers import Real
from types import UnionType
from typing import Any

import torch
from torch import Tensor

from seqlight.common.errors import CheckpointError


class Each(tuple[Any, ...]):
    """The entries of a list of any length: all like the first one here."""


# Entries that are None or empty at the start of a training, by their last key: examples of what they hold later. "*"
# stands for every key of a dict, and a type for each of its values.
_LATER: dict[Any, Any] = {
    "best_k_models": {"*": torch.zeros(())},
    "best_model_score": torch.zeros(()),
    "combined_loader": Each([{}]),
    "current_score": torch.zeros(()),
    "events": {"*": 0},
    "follows": ("", 0),
    "initial_lr": 0.0,
    "kept": Each([(torch.zeros(()), Tensor, Tensor)]),
    "metrics": {"*": 0.0},
    "state": {"*": {"*": Tensor | Real | list | dict | None}},  # of an optimizer
    "totals": torch.zeros(3),
}


def check_entry(found: Any, expected: Any, *places: Any) -> None:
    """Check that an entry has the types of another one: numbers, tensors of the same shapes, lists of the same length.

    A key that only one of the two has is allowed, since versions differ, except in the progress of loops. An entry that
    would be None now can be anything, except a setting of an optimizer: it must be a number or None.

    Args:
        found: the entry of a checkpoint.
        expected: the entry that would be saved now; `object` if there is none of this key.
        places: the keys that lead to the entry.

    Raises:
        CheckpointError: naming the entry, and both types.
    """
    optional = expected is None or expected is object
    if (optional or (isinstance(expected, dict | list) and not expected)) and isinstance(places[-1], str):
        expected = _LATER.get(places[-1], expected)
    if expected is None and places[0] == "optimizer_states":
        expected = Real | None  # a setting that is off
    if expected is None or expected is object or (optional and found is None):
        return
    path = "".join(f"[{place!r}]" for place in places)
    if not _is_like(found, expected, places[0]):
        raise CheckpointError(
            f"training can't continue from the checkpoint: its entry {path:.300} is {_describe(found)}, "
            f"expected {_describe(expected)}"
        )
    if isinstance(expected, dict):
        # Before the first epoch, as for Lightning's finders, there is no loader.
        missing = [key for key in expected if key not in found and key not in ("*", "combined_loader")]
        if missing and places[0] == "loops":  # Lightning reads all of them
            raise CheckpointError(
                f"training can't continue from the checkpoint: {missing[0]!r} is missing in {path:.300}"
            )
        for key, value in found.items():
            check_entry(value, expected.get(key, expected.get("*", object)), *places, key)
    elif isinstance(expected, list | tuple) and expected:
        for place, value in enumerate(found):
            check_entry(value, expected[min(place, len(expected) - 1)], *places, place)


def _is_like(found: Any, expected: Any, part: Any) -> bool:
    if isinstance(expected, type | UnionType):
        return isinstance(found, expected)
    if isinstance(expected, Tensor):
        is_tensor = isinstance(found, Tensor) and found.is_floating_point() == expected.is_floating_point()
        return is_tensor and found.shape == expected.shape
    if isinstance(expected, Each) or (isinstance(expected, list) and part == "callbacks"):
        return isinstance(found, list)  # the callbacks' lists have an entry for each process
    if isinstance(expected, list | tuple):
        return isinstance(found, list | tuple) and (not expected or len(found) == len(expected))
    if isinstance(expected, bool) or isinstance(found, bool):
        return type(found) is type(expected)
    if isinstance(expected, Real):
        if isinstance(found, Tensor):  # a learning rate, for example
            return found.numel() == 1 and part in _HAVE_ANY_NUMBERS and not found.isnan().item()
        whole = isinstance(expected, int) and part not in _HAVE_ANY_NUMBERS
        return isinstance(found, int if whole else Real) and not math.isnan(found)
    return isinstance(found, type(expected))


_HAVE_ANY_NUMBERS = ("optimizer_states", "lr_schedulers")  # a weight_decay can be 0 or 0.1


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return value.__name__ if isinstance(value, type) else type(value).__name__
