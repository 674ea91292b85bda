"""Limits on the plain data in a checkpoint: its types, its number of parts, and the time that its keys take."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MOST_SHARED = 100_000  # parts of lists within several lists, each counted as often as it is found
_MOST_IN_KEY = 1000  # parts of a tuple that is a key
_MOST_LEVELS = 100  # lists within lists
_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, Tensor, nn.Parameter, torch.dtype,
          torch.device, torch.layout, torch.qscheme)  # fmt: skip


class ArchiveError(ValueError):
    """A file that `torch.save` did not write, or that is damaged."""


class UnsafeError(ArchiveError):
    """A file that holds more than tensors and plain values, or that would take much more memory than its size."""


class KeyTime:
    """A limit of the time that it takes to check and insert the keys of dicts and sets.

    Numbers can be chosen so that each is compared with all others: equal hashes, as of 0 and 2**61 - 1, are only one
    way. A large tuple can be in many keys, each of which hashes it again. Honest keys take a tenth of this time. The
    hashes of text differ from process to process, so nobody can choose them.
    """

    def __init__(self) -> None:
        self._left = 0.5  # seconds of this thread's processor time

    def insert(self, keys: list[Any], insert: Callable[[slice], None]) -> None:
        """Check and insert keys, a few at a time.

        Args:
            keys: the keys.
            insert: inserts the keys in a slice of `keys`.

        Raises:
            UnsafeError: if this takes too long, or a key holds more than plain data.
        """
        for start in range(0, len(keys), 16):
            part = slice(start, start + 16)
            numbers = [key for key in keys[part] if type(key) not in (str, bytes)]
            began = time.thread_time() if numbers else 0
            for key in numbers:
                if type(key) is not int:
                    check_tree(key, _MOST_IN_KEY)  # it is hashed next
            insert(part)
            if numbers:
                self._left += 4e-6 * len(numbers) - (time.thread_time() - began)
            if self._left < 0:
                raise UnsafeError("the keys of a dict or set collide, or are too large")


def check_tree(value: Any, most: int) -> None:
    """Check for plain data with at most `most` parts: a list can be in itself, or in many lists.

    Raises:
        UnsafeError: if it is not.
    """
    waiting, seen = [(value, 0)], 0
    while waiting:
        value, level = waiting.pop()
        parts: Iterable[Any] = ()
        if isinstance(value, dict):
            parts = [*value.values(), *(key for key in value if type(key) is not str), *_attributes(value)]
        elif type(value) in (list, tuple, set, torch.Size):
            parts = value
        elif type(value) not in _PLAIN:
            raise UnsafeError("it holds more than tensors and plain values")
        elif isinstance(value, Tensor):
            parts = _attributes(value)
        for part in parts:
            seen += 1
            if seen > most or level >= _MOST_LEVELS:
                raise UnsafeError("its values are nested too deeply, or within each other too often")
            waiting.append((part, level + 1))


def _attributes(value: Any) -> Iterable[Any]:
    return getattr(value, "__dict__", {}).values()


def most_parts(size: int) -> int:
    """The largest number of parts in a pickle of `size` bytes, if each is counted as often as it is found."""
    return max(4 * size, _MOST_SHARED)
