"""Names of sequences in memory: ids and groups."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqlight.data.reading.missing import is_missing_value
from seqlight.data.reading.names import as_text
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError


def ids_of(ids: Any, size: int, source: str) -> Sequence[str | int]:
    """The ids of sequences, or their indices if none are given.

    Raises:
        DataError: one is missing, or twice.
    """
    if ids is None:
        return range(size)
    names = names_for(ids, size, "ids", source)
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if seen.setdefault(name, row) != row:
            raise DataError(
                f"{source}: ids: expected distinct ids, got {shown(name)} for sequences {seen[name]} and {row}"
            )
    return names


def names_for(values: Any, size: int, argument: str, source: str) -> list[str]:
    """A name for each sequence.

    Raises:
        DataError: there are more or fewer names than sequences, or one is missing.
    """
    names = np.asarray(on_host(values)).tolist()
    if not isinstance(names, list) or len(names) != size:
        got = f"{len(names)} values" if isinstance(names, list) else shown(values)
        raise DataError(f"{source}: {argument}: expected {size} values, one for each sequence, got {got}")
    for row, name in enumerate(names):
        if is_missing_value(name) or isinstance(name, list | dict):
            raise DataError(f"{source}: {argument}: expected a name for each sequence, got {shown(name)} for {row}")
    return [as_text(name) for name in names]


def on_host(values: Any) -> Any:
    """A tensor as a NumPy array; anything else as it is."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    # NumPy has no bfloat16.
    return (values.float() if values.is_floating_point() and values.element_size() < 4 else values).numpy()
