"""Missing values in features, and the channels that are added for them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.scale import chunks, moments


@dataclass(frozen=True)
class Channels:
    """Values in place of missing ones, and channels beside the features, learned from training data.

    A missing value is replaced by the last one of its sequence, or before any by the feature's mean. A masked feature
    has two channels: whether its value was observed, 0 or 1; and the time since it was, or since the sequence began,
    in steps, divided by the standard deviation of this time in the training data. All features' first channels come
    before all second ones.

    Attributes:
        fill: the mean of each feature in the training data; None if no value may be missing.
        masked: the features, from 0 on, that are masked: those with missing values in the training data.
        since: for each masked feature, the divisor of its second channel.

    Raises:
        ValueError: if the values contradict each other.
    """

    fill: tuple[float, ...] | None = None
    masked: tuple[int, ...] = ()
    since: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        known = range(len(self.fill or ()))
        if len(self.since) != len(self.masked) or not all(feature in known for feature in self.masked):
            raise ValueError(f"masked features must be some of {len(known)}, each with a divisor, got {self.masked}")
        if not np.isfinite((*(self.fill or ()), *self.since)).all() or not min(self.since, default=1) > 0:
            raise ValueError("the fill and the divisors of channels must be finite numbers, the divisors above 0")

    @property
    def width(self) -> int:
        """The number of channels of a time step."""
        return 2 * len(self.masked)

    def name(self, channel: int, columns: Columns | None) -> str:
        """The name of a channel, from 0 on, given the columns of the features."""
        feature = name_in(columns, self.masked[channel % len(self.masked)])
        return f"{feature} observed" if channel < len(self.masked) else f"time since {feature} was observed"

    def add(self, raw: RawSequences) -> Float32[np.ndarray, "steps channels"]:
        """The channels of sequences. Missing values in `raw` are replaced, in place."""
        channels = np.empty((len(raw.values), self.width), np.float32)
        if self.fill is None:
            return channels
        unknown = unknown_features(raw.values)
        begins = _first_steps(raw)
        for feature in sorted({*np.flatnonzero(unknown).tolist(), *self.masked}):
            column = raw.values[:, feature]
            missing = np.isnan(column)
            last = _last_observed(missing, begins)
            if feature in self.masked:
                place = self.masked.index(feature)
                channels[:, place] = ~missing
                channels[:, len(self.masked) + place] = (np.arange(len(last)) - last) / self.since[place]
            column[:] = np.where(np.isnan(column[last]), self.fill[feature], column[last])
        return channels


def learn_channels(raw: RawSequences, steps: slice | Bool[np.ndarray, " steps"], fill: tuple[float, ...]) -> Channels:
    """Learn the channels from training data, in which values may be missing.

    Args:
        raw: the sequences.
        steps: the time steps that count.
        fill: the mean of each feature over them.
    """
    masked = np.flatnonzero(unknown_features(raw.values[steps])).tolist()
    begins = _first_steps(raw)
    since: list[float] = []
    for feature in masked:
        last = _last_observed(np.isnan(raw.values[:, feature]), begins)
        times = np.arange(len(last), dtype=np.float64) - last
        since += moments(times[:, None], steps)[1]
    return Channels(fill, tuple(masked), tuple(since))


def require_values(raw: RawSequences, mean: tuple[float, ...], path: str) -> None:
    """Raise DataError if a feature has no value in the training data, so that its mean is NaN."""
    without = [index for index, number in enumerate(mean) if np.isnan(number)]
    if without:
        listed = ", ".join(f"feature {name_in(raw.columns, index)}" for index in without[:10])
        hint = "" if raw.columns is None else ': `feature_columns=["NAME"]` names the features to read'
        expected = "expected a value in some training sequence, got none"
        raise DataError(f"{path}: {listed}: {expected}.", f"Leave it out{hint}")


def name_in(columns: Columns | None, feature: int) -> str:
    """A feature's column, quoted, or its number from 1 on."""
    names = None if columns is None else columns.features
    return f"number {feature + 1}" if names is None else repr(names[feature])


def unknown_features(values: Float64[np.ndarray, "steps features"]) -> Int64[np.ndarray, " features"]:
    """The number of missing values of each feature."""
    counts = np.zeros(values.shape[1], np.int64)
    for chunk in chunks(values):
        counts += np.isnan(values[chunk]).sum(0)
    return counts


def _first_steps(raw: RawSequences) -> Bool[np.ndarray, " steps"]:
    """Whether a step is the first of its sequence."""
    begins = np.zeros(len(raw.values), bool)
    begins[np.cumsum(raw.lengths) - raw.lengths] = True
    return begins


def _last_observed(
    missing: Bool[np.ndarray, " steps"], begins: Bool[np.ndarray, " steps"]
) -> Int64[np.ndarray, " steps"]:
    """For each step, that of the last observation so far, or the first step of the sequence."""
    known = ~missing | begins
    last: np.ndarray = np.maximum.accumulate(np.where(known, np.arange(len(missing)), 0))
    return last
