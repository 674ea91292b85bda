"""Columns that number the rows are no features."""

import json

import numpy as np
import pandas as pd
import pytest

import seqlight
from seqlight import DataError, SequenceFiles
from seqlight.data.reading import csv_file
from seqlight.data.reading.index_columns import RowCounters, is_index_name
from seqlight.data.reading.read import read_sequences


def frame_of(num_sequences=20, num_steps=3, seed=0):
    """Noise, and classes that come one after the other."""
    size = num_sequences * num_steps
    return pd.DataFrame(
        {
            "id": np.repeat(np.arange(num_sequences), num_steps),
            "t": np.tile(np.arange(num_steps), num_sequences),
            "x": np.random.default_rng(seed).normal(0, 1, size).round(3),
            "label": np.repeat(np.arange(num_sequences) >= num_sequences // 2, num_steps).astype(int),
        }
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_with_index(frame, times):
    for _ in range(times):
        frame.to_csv("a.csv")
        frame = pd.read_csv("a.csv")


@pytest.mark.parametrize("times", [1, 2, 3])
def test_index_that_pandas_writes(folder, times):
    save_with_index(frame_of(), times)
    data = SequenceFiles("a.csv")
    assert data.encoding.columns.features == ("x",)
    assert len(data.encoding.columns.left_out) == times
    [line] = [line for line in data.report(["train"]).splitlines() if "features 'x'" in line]
    assert "without the index ''" in line
    assert ("'Unnamed: 0'" in line) == (times > 1)


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", "__index_level_0__", "level_0", "...1", "row.names"])
def test_names_of_an_index(name):
    assert is_index_name(name)


@pytest.mark.parametrize("name", ["x", "X", "Unnamed: x", "level_1", "index_of_refraction", "0", "row"])
def test_other_names(name):
    assert not is_index_name(name)


def test_names_agree_with_pandas(folder):
    frame = frame_of()
    for _ in range(3):
        frame.to_csv("a.csv")
        frame = pd.read_csv("a.csv")
        assert is_index_name(frame.columns[0])
    assert is_index_name(
        frame_of().set_index("x").set_index("t", append=True).rename_axis([None, None]).reset_index().columns[0]
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("start", [0, 1, 5000.0])
@pytest.mark.parametrize("block", [200, 1 << 20])
def test_column_that_rises_by_one_is_left_out(folder, monkeypatch, suffix, start, block):
    monkeypatch.setattr(csv_file, "_BLOCK", block)
    frame = frame_of()
    frame.insert(2, "row", start + np.arange(len(frame)))
    path = folder / f"a{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    raw = read_sequences(path)
    assert (raw.columns.features, raw.columns.left_out) == (("x",), ("row",))
    np.testing.assert_array_equal(raw.values, frame[["x"]])
    assert f"{path}: 'row' numbers the rows of the file and is left out; " in raw.guesses[1]
    named = SequenceFiles(path, feature_columns=["row", "x"])
    assert named.encoding.columns.features == ("row", "x")


@pytest.mark.parametrize("change", ["not by one", "starts again", "a gap at the end", "falls", "few rows"])
def test_other_columns_stay(folder, change):
    frame = frame_of(num_sequences=3 if change == "few rows" else 20)
    numbers = np.arange(float(len(frame)))
    if change == "not by one":
        numbers *= 2
    elif change == "starts again":
        numbers = frame.t.to_numpy()
    elif change == "a gap at the end":
        numbers[-1] += 1
    elif change == "falls":
        numbers = -numbers
    frame.assign(row=numbers).to_csv("a.csv", index=False)
    assert read_sequences(folder / "a.csv").columns.features == ("x", "row")


def test_only_feature_stays_and_is_reported(folder):
    frame_of().drop(columns="x").assign(row=np.arange(60)).to_csv("a.csv", index=False)
    raw = read_sequences(folder / "a.csv")
    assert raw.columns.features == ("row",)
    assert "'row' only numbers the rows of the file, and there is no other feature" in raw.guesses[-1]


@pytest.mark.parametrize("parts", [[1, 59], [30, 30], [59, 1], [60]])
def test_counters_are_found_over_several_batches(parts):
    values = np.random.default_rng(0).normal(0, 1, (60, 4))
    values[:, 1] = np.arange(7, 67)
    values[:, 2] = np.arange(60)
    values[-1, 2] = 61
    counters = RowCounters()
    for part in np.split(values, np.cumsum(parts)[:-1]):
        counters.add(part)
    assert counters.found() == [1]


def test_files_of_a_trained_model_are_read_by_its_columns(folder):
    """A part of the rows does not rise by one, and a new index is no new feature."""
    frame = frame_of().assign(row=np.arange(60), y=1.5)
    frame.to_csv("a.csv", index=False)
    arguments = seqlight.common.description.to_plain(dict(SequenceFiles("a.csv").hparams))
    frame[frame.id % 2 == 0].to_csv("b.csv", index=False)
    frame.drop(columns="row").to_csv("c.csv")
    frame_of(4).assign(y=np.arange(12)).to_csv("d.csv", index=False)  # here y counts rows, but it is a feature
    pd.read_csv("c.csv").to_csv("e.csv")
    for name, rows in {"b": 30, "c": 60, "d": 12, "e": 60}.items():
        data = SequenceFiles(**{**json.loads(json.dumps(arguments)), "test": f"{name}.csv"})
        assert data.split("test").values.shape == (rows, 2)
    frame.assign(z=0.5).to_csv("f.csv", index=False)
    with pytest.raises(DataError, match=r"'z' not in the training data$"):
        SequenceFiles(**{**arguments, "test": "f.csv"}).split("test")


def test_index_that_an_earlier_version_read_as_a_feature_stays_one(folder):
    frame_of().assign(**{"Unnamed: 0": 0.5}).to_csv("a.csv", index=False)
    data = SequenceFiles("a.csv", feature_columns=["x", "Unnamed: 0"])
    arguments = json.loads(json.dumps(seqlight.common.description.to_plain(dict(data.hparams))))
    arguments["feature_columns"] = None
    assert arguments["encoding"]["columns"].pop("left_out") is None
    assert SequenceFiles(**{**arguments, "test": "a.csv"}).split("test").values.shape == (60, 2)
