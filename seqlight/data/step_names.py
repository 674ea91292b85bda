"""Names of time steps, for predictions."""

from collections.abc import Sequence

import numpy as np

from seqlight.data.reading.names import as_text
from seqlight.data.reading.raw import RawSequences

_UNITS = ("D", "s", "ms", "us", "ns")


def names_of_steps(raw: RawSequences) -> Sequence[str]:
    """The values of the column of steps, one sequence after the other; without a column, indices from 0."""
    if raw.steps is None:
        ends = np.cumsum(raw.lengths)
        numbers = np.arange(ends[-1]) - np.repeat(ends - raw.lengths, raw.lengths)
        return [str(number) for number in numbers.tolist()]
    if raw.time_unit is None:
        return [as_text(step) for step in raw.steps.tolist()]
    times = raw.steps.astype(f"datetime64[{raw.time_unit}]")
    coarse = (times.astype(f"datetime64[{unit}]") for unit in _UNITS)
    texts: list[str] = np.datetime_as_string(next(each for each in coarse if (each == times).all())).tolist()
    return texts
