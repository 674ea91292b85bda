"""The time since the step before, as pandas computes it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from seqlight import SequenceArrays, SequenceFiles, SequenceFrames
from seqlight.data.reading.raw import DataError
from seqlight.data.summary import feature_name
from tests.data.test_missing import frame_of, labels_of, sequences_of

KINDS = ["integers", "even", "decimals", "seconds since 1970", "nanoseconds", "dates", "UTC"]


def with_steps(kind, seed=0):
    """A frame whose rows are in random order, and the differences of its steps in order of time."""
    frame = frame_of(seed, share=0).drop(columns="t")
    frame["x"] = frame.x.fillna(0)
    rng = np.random.default_rng(seed)
    gaps = np.ones(len(frame), int) if kind == "even" else rng.integers(1, 1000, len(frame))
    steps = np.cumsum(gaps)
    if kind == "decimals":
        steps = steps / 7
    if kind == "seconds since 1970":
        steps = steps + 1_700_000_000
    if kind == "nanoseconds":  # too large for exact differences in float64
        steps = steps + 1_700_000_000_000_000_001
    if kind == "dates":
        steps = pd.Timestamp("2024-01-01") + pd.to_timedelta(steps, unit="D")
    if kind == "UTC":
        steps = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(steps * 20, unit="ms")
    frame["t"] = steps
    if kind == "nanoseconds":  # pandas would compute in float64
        return frame, np.where(frame.id.duplicated(), gaps, 0)
    differences = frame.groupby("id", sort=False).t.diff()
    if kind in ("dates", "UTC"):
        differences = differences.dt.total_seconds()
    return frame, differences.fillna(0).to_numpy()


def shuffled(frame):
    """The rows in another order, with the first row of each sequence first."""
    first = ~frame.id.duplicated()
    return pd.concat([frame[first], frame[~first].sample(frac=1, random_state=0)])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "frame"])
@pytest.mark.parametrize("kind", KINDS)
def test_differences_of_steps_are_a_standardised_channel(tmp_path, kind, suffix):
    frame, differences = with_steps(kind)
    given = shuffled(frame)
    if suffix == "frame":
        data = SequenceFrames(given, time_delta=True, val_fraction=0)
    else:
        path = tmp_path / f"a.{suffix}"
        given.to_csv(path, index=False) if suffix == "csv" else given.to_parquet(path)
        data = SequenceFiles(path, time_delta=True, val_fraction=0)
    features = np.column_stack([frame[["x", "y"]], differences])
    np.testing.assert_allclose(data.split("train").values, StandardScaler().fit_transform(features), atol=1e-4)
    assert data.input_size == 3
    assert feature_name(2, data.encoding) == "time since the step before"
    assert "2 features, standardised, and 1 added channels" in data.report(["train"])


def times_of(frame):
    return [rows.t.to_numpy() for _, rows in frame.groupby("id", sort=False)]


@pytest.mark.parametrize("form", ["list", "padded", "tensors"])
@pytest.mark.parametrize("kind", ["integers", "decimals", "dates"])
def test_times_of_arrays(kind, form):
    frame, differences = with_steps(kind)
    times, inputs, given = times_of(frame), sequences_of(frame), {}
    if form == "tensors":
        times = times if kind == "dates" else [torch.tensor(each) for each in times]
    if form == "padded":
        given["lengths"] = [len(each) for each in times]
        times = [np.resize(each, 8) for each in times]
        inputs = [np.resize(each, (8, 2)) for each in inputs]
    data = SequenceArrays(inputs, labels_of(frame), times=times, time_delta=True, val_fraction=0, **given)
    channel = StandardScaler().fit_transform(differences[:, None])[:, 0]
    np.testing.assert_allclose(data.split("train").values[:, 2], channel, atol=1e-5)
    batch = data.encode(sequences_of(frame)[:2], times_of(frame)[:2])
    length = int(batch.lengths[0])
    np.testing.assert_allclose(batch.inputs[0, :length, 2], channel[:length], atol=1e-5)
    with pytest.raises(DataError, match="expected times of the steps, for `time_delta=True`, got none"):
        data.encode(sequences_of(frame))
    other = times_of(with_steps("integers" if kind == "dates" else "dates")[0])
    with pytest.raises(DataError, match=r"expected steps that are .*, as in training, got"):
        data.encode(sequences_of(frame), other)


@pytest.mark.parametrize("kind", ["integers", "dates"])
def test_times_of_ts_files(tmp_path, kind):
    frame, differences = with_steps(kind)
    lines = ["@timestamps true", "@classLabel true up down", "@data"]
    for (_, rows), label in zip(frame.groupby("id", sort=False), labels_of(frame), strict=True):
        rows = rows.sample(frac=1, random_state=0)
        columns = [",".join(f"({t},{v})" for t, v in zip(rows.t, rows[name], strict=True)) for name in "xy"]
        lines.append(":".join([*columns, label]))
    (tmp_path / "a.ts").write_text("\n".join(lines))
    data = SequenceFiles(tmp_path / "a.ts", time_delta=True, val_fraction=0)
    channel = StandardScaler().fit_transform(differences[:, None])[:, 0]
    np.testing.assert_allclose(data.split("train").values[:, 2], channel, atol=1e-5)


def test_mean_and_scale_are_those_of_training_and_the_unit_is_that_of_files(tmp_path):
    """A file with seconds, and one with days."""
    frame, differences = with_steps("dates")
    new, others = with_steps("dates", seed=1)
    new["t"] = new.t.dt.date
    frame.to_csv(tmp_path / "a.csv", index=False)
    new.to_parquet(tmp_path / "b.parquet")
    data = SequenceFiles(tmp_path / "a.csv", test=tmp_path / "b.parquet", time_delta=True, val_fraction=0)
    scaler = StandardScaler().fit(differences[:, None])
    channel = scaler.transform(others[:, None])[:, 0]
    np.testing.assert_allclose(data.split("test").values[:, 2], channel, atol=1e-5)


def test_time_since_observed_is_in_the_unit_of_steps():
    frame, _ = with_steps("decimals")
    rng = np.random.default_rng(0)
    frame.loc[rng.random(len(frame)) < 0.5, "x"] = np.nan
    data = SequenceFrames(frame, missing="mask", time_delta=True, val_fraction=0)
    seen = frame.t.where(frame.x.notna()).groupby(frame.id, sort=False).ffill()
    since = frame.t - seen.fillna(frame.groupby("id").t.transform("min"))
    np.testing.assert_allclose(data.split("train").values[:, 3], since / since.std(ddof=0), atol=1e-5)
    assert [feature_name(index, data.encoding) for index in range(5)] == [
        *("'x'", "'y'", "'x' observed", "time since 'x' was observed", "time since the step before"),
    ]
    plain = json.loads(json.dumps(data.hparams["encoding"]))
    again = SequenceFrames(predict=frame, missing="mask", time_delta=True, encoding=plain, val_fraction=0)
    np.testing.assert_array_equal(again.split("predict").values, data.split("train").values)


@pytest.mark.parametrize("standardise", [False, True])
def test_equal_differences_are_a_constant(standardise):
    """All but those of the first steps."""
    frame, differences = with_steps("even")
    data = SequenceFrames(frame, time_delta=True, standardise=standardise, val_fraction=0)
    channel = StandardScaler().fit_transform(differences[:, None])[:, 0]
    np.testing.assert_allclose(data.split("train").values[:, 2], channel, atol=1e-5)


@pytest.mark.parametrize("column", [None, ""])
def test_without_steps_it_is_refused(column):
    frame, _ = with_steps("integers")
    frame = frame.drop(columns="t") if column is None else frame
    with pytest.raises(DataError, match="expected times of the steps, for `time_delta=True`, got none"):
        SequenceFrames(frame, time_delta=True, step_column=column)


@pytest.mark.parametrize("suffix", ["npz", "jsonl"])
def test_formats_without_steps_are_refused(tmp_path, suffix):
    frame, _ = with_steps("integers")
    if suffix == "npz":
        np.savez(tmp_path / "a.npz", inputs=np.zeros((4, 3, 2)), targets=[0, 1, 0, 1])
    else:
        lines = [json.dumps({"inputs": [[1.0], [2.0]], "label": label}) for label in labels_of(frame)]
        (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="A table has them in a column: `step_column"):
        SequenceFiles(tmp_path / f"a.{suffix}", time_delta=True)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([[0, 1]], "times: expected 2 arrays, one for each sequence, got 1"),
        ([[0, 1], [0, 1, 2]], r"times, sequence 1: expected 2 times, one for each step, got shape \(3,\)"),
        ([[0, 1], [1, 1]], "times, sequence 1, step 2: expected a later time than before"),
        ([[0, 1], [0, np.nan]], "times, sequence 1, step 2: expected a later time than before"),
        ([[0, 1], ["a", "b"]], "times, sequence 1: expected numbers or NumPy's datetime64 of shape .*, got"),
        (
            [[0, 1], np.array(["2024-01-01", "2024-01-02"], "datetime64[D]")],
            "expected numbers or points in time for all",
        ),
    ],
)
def test_wrong_times_are_refused(times, message):
    inputs = [[1.0, 2.0], [2.0, 1.0]]
    with pytest.raises(DataError, match=message):
        SequenceArrays(inputs, ["a", "b"], times=times, time_delta=True, val_fraction=0)


def test_times_without_the_option_are_refused():
    with pytest.raises(ValueError, match="times: expected none without `time_delta=True`"):
        SequenceArrays([[1.0], [2.0]], ["a", "b"], times=[[0], [0]], val_fraction=0)
