"""Frames, compared with the CSV and Parquet files that pandas writes from them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from seqlight.data.reading.frame import read_frame
from seqlight.data.reading.raw import Columns, DataError
from seqlight.data.reading.read import read_sequences


def polars(frame):
    return pytest.importorskip("polars").from_pandas(frame)


def interchange(frame):
    """An object that has nothing but the dataframe interchange."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return type("Frame", (), {"__dataframe__": lambda self, *args, **kwargs: table.__dataframe__(*args, **kwargs)})()


LIBRARIES = [lambda frame: frame, polars, pa.Table.from_pandas, interchange]


def table(**changes):
    """Rows of 12 sequences in long form, shuffled."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(12), rng.integers(1, 6, 12))
    frame = pd.DataFrame({"patient_id": [f"p{row}" for row in rows], "time": np.arange(len(rows)) % 7 + 10 * rows})
    frame["x"] = rng.integers(0, 99, len(rows)) / 4
    frame["n"] = rng.integers(0, 99, len(rows))
    frame["outcome"] = np.array(["ill", "well", "unsure"])[rows % 3]
    frame = frame.assign(**changes)
    return frame.sample(frac=1, random_state=0).reset_index(drop=True)


def equal(raw, other):
    np.testing.assert_array_equal(raw.values, other.values)
    np.testing.assert_array_equal(raw.lengths, other.lengths)
    for name in ("tokens", "ids", "labels", "label_names", "columns"):
        assert getattr(raw, name) == getattr(other, name), name


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("request_", [Columns(), Columns("patient_id", "", "outcome", ("n",))])
def test_frame_is_read_as_its_file(tmp_path, library, suffix, request_):
    frame = table()
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    raw = read_frame(library(frame), "frame", request_)
    other = read_sequences(tmp_path / f"a.{suffix}", columns=request_)
    equal(raw, other)
    assert raw.guesses == tuple(line.replace(str(tmp_path / f"a.{suffix}"), "frame") for line in other.guesses)


@pytest.mark.parametrize("library", LIBRARIES)
def test_tokens(tmp_path, library):
    frame = table(n=None, x=np.array(list("abc"))[np.arange(len(table())) % 3]).drop(columns="n")
    frame.to_csv(tmp_path / "a.csv", index=False)
    equal(read_frame(library(frame), "frame", Columns()), read_sequences(tmp_path / "a.csv"))


@pytest.mark.parametrize("library", LIBRARIES[:3])
def test_several_labels_and_categories(library):
    frame = table()
    frame["outcome"] = frame["outcome"].astype("category")
    bits = {f"label_{name}": (frame["outcome"] == name).astype(int) for name in ("ill", "well")}
    raw = read_frame(library(frame), "frame", Columns())
    several = read_frame(library(frame.drop(columns="outcome").assign(**bits)), "frame", Columns())
    assert several.label_names == ("label_ill", "label_well")
    assert [tuple(name.removeprefix("label_") for name in label) for label in several.labels] == [
        () if label == "unsure" else (label,) for label in raw.labels
    ]


def test_index_of_pandas():
    frame = table()
    named = read_frame(frame.set_index(["patient_id", "time"]), "frame", Columns())
    np.testing.assert_array_equal(named.values, read_frame(frame, "frame", Columns()).values)
    assert named.columns.id == "patient_id"
    chosen = frame[frame["x"] >= 0].iloc[1:]
    assert read_frame(chosen, "frame", Columns()).columns.features == ("x", "n")


def test_long_frames_are_read_in_parts():
    size = 200_000
    frame = pd.DataFrame({"id": np.arange(size) // 5, "x": np.arange(size) % 1000, "label": np.arange(size) // 5 % 2})
    raw = read_frame(frame, "frame", Columns())
    np.testing.assert_array_equal(raw.values[:, 0], frame["x"])
    assert len(raw.lengths) == size // 5


def test_frame_is_not_changed():
    frame = table()
    before = frame.copy(deep=True)
    read_frame(frame, "frame", Columns()).values[:] = -1
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("library", LIBRARIES[:3])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": [None, *table()["x"][1:]]}, "row 1, column 'x': expected a number, got an empty cell"),
        (
            {"x": [*table()["x"][:-1], np.inf]},
            "row 34, column 'x': expected a finite number within float32's range, got",
        ),
        ({"patient_id": [None, *table()["patient_id"][1:]]}, "row 1, column 'patient_id': expected the sequence that"),
        ({"time": 1}, "rows 1 and 9, column 'time': expected distinct steps in a sequence, got the same step twice"),
        ({"x": [f"{x}m" for x in table()["x"]]}, "row 1, column 'x': expected a number, got '"),
        ({"patient_id": 3, "outcome": table()["outcome"]}, "row 2, column 'outcome': expected the same label"),
    ],
)
def test_messages_name_row_and_column(tmp_path, library, changes, message):
    frame = table().assign(**changes)
    with pytest.raises(DataError) as error:
        read_frame(library(frame), "frame", Columns())
    assert str(error.value).startswith(f"frame: {message}")
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError) as other:
        read_sequences(tmp_path / "a.csv")
    assert str(other.value).replace(str(tmp_path / "a.csv"), "frame") == str(error.value)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("a.csv", "expected a frame of pandas, polars or Arrow, got 'a.csv'; for a file, use SequenceFiles"),
        ({"x": [1]}, "expected a frame of pandas, polars or Arrow, got a dict"),
        (np.zeros((3, 2)), "expected a frame of pandas, polars or Arrow, got a ndarray"),
        (pd.Series([1, 2]), "can't be read as a table: Cannot import schema"),
        (pa.chunked_array([[1, 2]]), "expected a frame of pandas, polars or Arrow, got a ChunkedArray"),
        (pd.DataFrame({"x": [1, "a"]}), "can't be read as a table: Conversion failed for column x with type object"),
        (pd.DataFrame({"x": [1.0]}), "expected a column with the sequence each row belongs to"),
        (pd.DataFrame({"id": [], "x": [], "label": []}), "expected rows, got only the names of columns"),
    ],
)
def test_what_is_no_table_is_refused(frame, message):
    with pytest.raises(DataError) as error:
        read_frame(frame, "frame", Columns())
    assert str(error.value).startswith(f"frame: {message}")


def test_lazy_frame_is_collected_first():
    frame = pytest.importorskip("polars").LazyFrame({"id": [1]})
    with pytest.raises(DataError, match=r"got a LazyFrame; `frame.collect\(\)` gives one"):
        read_frame(frame, "frame", Columns())
