"""Values keep their differences, however far they are from 0."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler

import seqlight
from seqlight import SequenceFiles
from seqlight.data.learn import learn_encoding
from seqlight.data.reading.raw import RawSequences
from seqlight.data.scale import lost_in_float32, moments, standardise
from seqlight.data.summary import overlaps

OFFSETS = [0.0, 5.4e6, 1.7e9, -1.7e12]  # none; metres in UTM; seconds, and milliseconds, since 1970


def write(path, offset, seed=0, spread=0.5, **changes):
    """Write 40 sequences of 5 steps, and return the frame."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"id": np.repeat(np.arange(40), 5), "t": np.tile(np.arange(5), 40)})
    frame["x"] = offset + rng.normal(0, spread, 200).round(3)
    frame["y"] = rng.normal(0, 1, 200)
    frame["label"] = np.where(frame.id % 2, "up", "down")
    frame = frame.assign(**changes)
    frame.to_csv(path, index=False)
    return frame


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("offset", OFFSETS)
def test_features_far_from_0_are_standardised_as_in_float64(folder, offset):
    frame = write("a.csv", offset)
    data = SequenceFiles("a.csv", val="a.csv")
    features = frame[["x", "y"]].to_numpy()
    expected = StandardScaler().fit_transform(features - features[0])
    # Two thousandths of the smallest step of x, which is 0.002 of its deviation.
    np.testing.assert_allclose(data.split("train").values, expected, rtol=1e-5, atol=4e-6 + 1e-15 * abs(offset))


@pytest.mark.parametrize("offset", OFFSETS)
def test_moments_equal_those_of_the_same_values_around_0(offset):
    """Integers, so that the reference is exact."""
    values = np.random.default_rng(0).integers(-9, 10, (300_000, 2)).astype(np.float64)
    mean, scale = moments(values + offset, slice(None))
    np.testing.assert_allclose(np.array(mean) - offset, values.mean(0), atol=4e-16 * abs(offset) + 1e-12)
    np.testing.assert_allclose(scale, values.std(0), rtol=1e-10)


def test_new_sequences_are_standardised_with_the_checkpoints_mean_in_float64(folder):
    frame = write("a.csv", 1.7e9)
    arguments = seqlight.common.description.to_plain(dict(SequenceFiles("a.csv", val="a.csv").hparams))
    data = SequenceFiles(**json.loads(json.dumps({**arguments, "predict": "a.csv"})))
    steps = [part[["x", "y"]].to_numpy() for _, part in frame.groupby("id")]
    expected = torch.as_tensor(data.split("train").values).reshape(40, 5, 2)
    assert expected[..., 0].std() == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(data.encode(steps).inputs, expected, rtol=0, atol=0)
    torch.testing.assert_close(data.split("predict").values.reshape(40, 5, 2), expected, rtol=0, atol=0)


@pytest.mark.parametrize("standardised", [True, False])
def test_sequences_are_compared_as_they_were_read(folder, standardised):
    """In float32 all values of x are equal."""
    frame = write("a.csv", 1.7e9, y=0.0)
    other = write("b.csv", 1.7e9, seed=1, y=-0.0)
    other.loc[other.id < 3, "x"] = frame.x
    other.to_csv("b.csv", index=False)
    report = SequenceFiles("a.csv", val="b.csv", standardise=standardised).report(["train", "val"])
    rows = [{tuple(part.x) for _, part in each.groupby("id")} for each in (frame, other)]
    assert f"{len(rows[0] & rows[1])} of 40 sequences in val are also in train" == report.splitlines()[-1]


def test_sequences_in_other_formats_are_compared_too(folder):
    frame = write("a.csv", 0.0)
    inputs = frame[["x", "y"]].to_numpy().reshape(40, 5, 2)
    np.savez("b.npz", inputs=inputs, targets=frame.label.to_numpy().astype(str)[::5])
    assert SequenceFiles("a.csv", val="b.npz").report(["train", "val"]).splitlines()[-1].startswith("40 of 40 ")


@pytest.mark.parametrize(
    ("offset", "spread", "share"), [(0.0, 0.5, None), (1e5, 1.0, None), (5.4e6, 0.5, "52%"), (1e5, 0.1, "4%")]
)
def test_features_that_float32_rounds_are_reported(folder, offset, spread, share):
    frame = write("a.csv", offset, spread=spread)
    error = np.abs(frame.x - frame.x.astype(np.float32)).max() / frame.x.std(ddof=0)
    assert lost_in_float32(frame[["x", "y"]].to_numpy()) == ({0: pytest.approx(error)} if error > 0.01 else {})
    assert (share is None) == (error <= 0.01)
    lines = SequenceFiles("a.csv", val="a.csv", standardise=False).report(["train"])
    text = f"float32 rounds by more than 1 % of a feature's standard deviation: 'x' {error:.0%}; `standardise=True` avo"
    assert (text in lines) == (share is not None)
    assert share is None or f"'x' {share}" in lines
    assert "float32" not in SequenceFiles("a.csv", val="a.csv").report(["train"])


def test_rounded_features_of_files_without_columns_have_numbers(folder):
    values = np.random.default_rng(0).normal(0, 0.1, (20, 3, 2))
    values[..., 1] += 1e6
    np.savez("a.npz", inputs=values, targets=np.arange(20) % 2)
    assert "deviation: number 2 " in SequenceFiles("a.npz", standardise=False).report(["train"])


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_constant_far_from_0_is_not_scaled_up(jitter):
    """Neither is a constant whose last digit is rounded in different ways."""
    values = np.full((9, 1), 1.7e9)
    values[3] += jitter * np.spacing(1.7e9)
    assert moments(values, slice(None))[1] == (1.0,)


def raw_of(values):
    """Two sequences."""
    return RawSequences(values, None, np.full(2, len(values) // 2), range(2), ["a", "b"])


def test_standardising_needs_no_second_copy():
    size = 1 << 22
    tracemalloc.start()
    try:
        raw = raw_of(np.zeros((size // 4, 4)) + np.arange(4))
        place = raw.values.ctypes.data
        encoding = learn_encoding(raw, np.arange(2), "a.csv")
        values = standardise(raw, encoding.mean, encoding.scale, "a.csv")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert values.nbytes == 4 * size
    assert values.ctypes.data == place
    assert after < 4.1 * size


def test_other_views_of_the_values_stay_valid():
    """Then the memory can't be returned to the system."""
    raw = raw_of(np.random.default_rng(0).normal(3, 2, (1000, 3)))
    view = raw.values[:, 0]
    expected = StandardScaler().fit_transform(raw.values)
    encoding = learn_encoding(raw, np.arange(2), "a.csv")
    np.testing.assert_allclose(standardise(raw, encoding.mean, encoding.scale, "a.csv"), expected, atol=1e-6)
    assert len(view) == 1000
    assert view.base.size == 3000


def test_sequences_without_digests_are_not_compared():
    raw = raw_of(np.arange(4.0)[:, None])
    sequences = learn_encoding(raw, np.arange(2), "a").encode(raw, "a")
    assert len(overlaps({"train": sequences, "val": sequences})) == 1
    assert overlaps({"train": sequences, "val": sequences._replace(digests=None)}) == []
