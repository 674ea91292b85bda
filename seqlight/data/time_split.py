"""Points in time that divide sequences into earlier and later ones."""

import math
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Bool

from seqlight.data.reading.raw import DataError, RawSequences

_NANOSECONDS = {"D": 86_400_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}


def check_time(text: str) -> None:
    """Raise ValueError unless `text` is a point in time or a number."""
    if _parsed(text) is None:
        raise ValueError(
            f"time_split must be a date such as 2025-01-01, a time such as 2025-01-01T12:00, or a number; got {text!r}"
        )


def not_before(raw: RawSequences, time: str, path: str) -> Bool[np.ndarray, "sequences 2"]:
    """Whether the first and the last step of each sequence are at a point in time or later.

    Args:
        raw: the sequences.
        time: the point in time, in UTC if it names no other zone; or a number, if the steps are numbers.
        path: the file, for messages.

    Raises:
        DataError: if the file has no times, or of another kind.
    """
    if raw.times is None:
        raise DataError(
            f'{path}: expected a column of times for `time_split="{time}"` (`step_column="NAME"`), got none'
        )
    instant = _parsed(time)
    if isinstance(instant, datetime) != (raw.time_unit is not None) or instant is None:
        expected = "a number" if raw.time_unit is None else "a date or a time"
        raise DataError(f'{path}: expected {expected}, as in the column of steps, got `time_split="{time}"`')
    if isinstance(instant, datetime):
        since = instant.replace(tzinfo=instant.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        nanoseconds = 1000 * ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)
        instant = -(-nanoseconds // _NANOSECONDS[str(raw.time_unit)])  # rounded up, as times in this unit are
    found: np.ndarray = raw.times >= instant
    return found


def last_times(raw: RawSequences) -> str:
    """When the sequences end, for messages."""
    assert raw.times is not None
    ends: np.ndarray = raw.times[:, 1]
    if raw.time_unit is not None:
        ends = ends.astype(f"datetime64[{raw.time_unit}]")
    return f"from {ends.min()} to {ends.max()}"


def _parsed(text: str) -> datetime | float | None:
    try:
        number = float(text)
        return number if math.isfinite(number) else None
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None
