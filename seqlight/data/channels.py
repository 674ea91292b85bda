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
    divided by the standard deviation of this time in the training data. All features' first channels come before all
    second ones, and the time since the step before, which is standardised, is the last channel.

    Attributes:
        fill: the mean of each feature in the training data; None if no value may be missing.
        masked: the features, from 0 on, that are masked: those with missing values in the training data.
        since: for each masked feature, the divisor of its second channel.
        delta: the mean and the divisor of the time since the step before, 0 for a first step; None if this is no
            channel. If it is one, all times are in the unit of the steps, else they are numbers of steps.
        seconds: whether this unit is a second, because the steps are points in time.

    Raises:
        ValueError: if the values contradict each other.
    """

    fill: tuple[float, ...] | None = None
    masked: tuple[int, ...] = ()
    since: tuple[float, ...] = ()
    delta: tuple[float, float] | None = None
    seconds: bool = False

    def __post_init__(self) -> None:
        known = range(len(self.fill or ()))
        if len(self.since) != len(self.masked) or not all(feature in known for feature in self.masked):
            raise ValueError(f"masked features must be some of {len(known)}, each with a divisor, got {self.masked}")
        numbers, divisors = (*(self.fill or ()), *(self.delta or ())), (*self.since, *(self.delta or ())[1:])
        if not np.isfinite((*numbers, *divisors)).all() or not min(divisors, default=1) > 0:
            raise ValueError("the fill and the divisors of channels must be finite numbers, the divisors above 0")

    @property
    def width(self) -> int:
        """The number of channels of a time step."""
        return 2 * len(self.masked) + (self.delta is not None)

    def name(self, channel: int, columns: Columns | None) -> str:
        """The name of a channel, from 0 on, given the columns of the features."""
        if channel == 2 * len(self.masked):
            return "time since the step before"
        feature = name_in(columns, self.masked[channel % len(self.masked)])
        return f"{feature} observed" if channel < len(self.masked) else f"time since {feature} was observed"

    def add(self, raw: RawSequences, path: str) -> Float32[np.ndarray, "steps channels"]:
        """The channels of sequences. Missing values in `raw` are replaced, in place.

        Raises:
            DataError: if times are expected, and the sequences have none, or others than in training.
        """
        if self.delta is not None:
            require_times(raw, path, "seconds" if self.seconds else "numbers")
        times = _times(raw, in_steps=self.delta is None)
        begins = _first_steps(raw)
        channels = np.empty((len(raw.values), self.width), np.float32)
        unknown = [] if self.fill is None else np.flatnonzero(unknown_features(raw.values)).tolist()
        for feature in sorted({*unknown, *self.masked}):
            assert self.fill is not None
            column = raw.values[:, feature]
            missing = np.isnan(column)
            last = _last_observed(missing, begins)
            if feature in self.masked:
                place = self.masked.index(feature)
                channels[:, place] = ~missing
                channels[:, len(self.masked) + place] = (times - times[last]) / self.since[place]
            column[:] = np.where(np.isnan(column[last]), self.fill[feature], column[last])
        if self.delta is not None:
            mean, scale = self.delta
            channels[:, -1] = (_differences(times, begins) - mean) / scale
        return channels


def learn_channels(
    raw: RawSequences, steps: slice | Bool[np.ndarray, " steps"], fill: tuple[float, ...] | None, *, time_delta: bool
) -> Channels:
    """Learn the channels from training data.

    Args:
        raw: the sequences.
        steps: the time steps that count.
        fill: the mean of each feature over them, if values may be missing.
        time_delta: whether the time since the step before is a channel.
    """
    masked = [] if fill is None else np.flatnonzero(unknown_features(raw.values[steps])).tolist()
    times, begins = _times(raw, in_steps=not time_delta), _first_steps(raw)
    since: list[float] = []
    for feature in masked:
        last = _last_observed(np.isnan(raw.values[:, feature]), begins)
        since += moments((times - times[last])[:, None], steps)[1]
    delta = None
    if time_delta:
        (mean,), (scale,) = moments(_differences(times, begins)[:, None], steps)
        delta = mean, scale
    return Channels(fill, tuple(masked), tuple(since), delta, delta is not None and raw.time_unit is not None)


def require_times(raw: RawSequences, path: str, expected: str | None = None) -> None:
    """Raise DataError if there are no times of steps, or others than expected.

    Args:
        raw: the sequences.
        path: the file, for messages.
        expected: "numbers", or "seconds" for points in time; None for either.
    """
    if raw.elapsed is None:
        raise DataError(
            f"{path}: expected times of the steps, for `time_delta=True`, got none.",
            'A table has them in a column: `step_column="NAME"`; arrays have them as `times`; other files have none',
        )
    found = "numbers" if raw.time_unit is None else "seconds"
    if expected not in (None, found):
        kinds = {"numbers": "numbers", "seconds": "points in time"}
        raise DataError(f"{path}: expected steps that are {kinds[str(expected)]}, as in training, got {kinds[found]}")


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


def _times(raw: RawSequences, *, in_steps: bool) -> Float64[np.ndarray, " steps"]:
    """The time of each step, from any origin that is the same within a sequence."""
    return np.arange(len(raw.values), dtype=np.float64) if in_steps or raw.elapsed is None else raw.elapsed


def _differences(
    times: Float64[np.ndarray, " steps"], begins: Bool[np.ndarray, " steps"]
) -> Float64[np.ndarray, " steps"]:
    """The time since the step before; 0 for the first step of a sequence."""
    return np.where(begins, 0.0, np.diff(times, prepend=0.0))


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
