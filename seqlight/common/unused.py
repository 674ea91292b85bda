"""Warnings about arguments that have no effect."""

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any


class UnusedArgumentWarning(UserWarning):
    """An argument that has no effect together with the others."""


_is_rebuilding: ContextVar[bool] = ContextVar("_is_rebuilding", default=False)


def warn_unused(name: str, value: Any, reason: str) -> None:
    """Warn (`UnusedArgumentWarning`) that an argument has no effect.

    Args:
        name: the argument.
        value: its value.
        reason: the reason, as "with one layer".
    """
    if not _is_rebuilding.get():
        warnings.warn(f"`{name}={value!r}` has no effect {reason}", UnusedArgumentWarning, stacklevel=3)


@contextlib.contextmanager
def rebuilding() -> Iterator[None]:
    """Do not warn while this thread builds a model again from its description."""
    before = _is_rebuilding.set(True)
    try:
        yield
    finally:
        _is_rebuilding.reset(before)
