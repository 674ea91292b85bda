"""Tables with a row for each sequence and lists of steps, compared with the same table in long form."""

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from pyarrow import parquet

from seqlight import DataError, SequenceFiles, SequenceFrames
from seqlight.data.reading import lists
from seqlight.data.reading.frame import read_frame
from seqlight.data.reading.raw import Columns
from seqlight.data.reading.read import read_sequences


def frame_of(num=12, seed=0, shortest=1):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, 8, num)
    return pd.DataFrame(
        {
            "id": [f"s{row}" for row in range(num)],
            "x": [rng.standard_normal(length) for length in lengths],
            "z": [rng.standard_normal(length) for length in lengths],
            "label": [f"{'uv'[row % 2]}" for row in range(num)],
        }
    )


def assert_same(one, other):
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.lengths, other.lengths)
    assert (list(one.ids), one.labels, one.tokens) == (list(other.ids), other.labels, other.tokens)


def write(frame, path, **types):
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name, kind in types.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].cast(kind))
    parquet.write_table(table, path, row_group_size=5)
    return path


@pytest.mark.parametrize("steps", [1 << 16, 4])
@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float64())])
def test_sequences_equal_those_in_long_form(tmp_path, monkeypatch, kind, steps):
    monkeypatch.setattr(lists, "_STEPS", steps)
    frame = frame_of()
    if kind.value_type == pa.float32():
        frame[["x", "z"]] = frame[["x", "z"]].map(lambda values: values.astype(np.float32))
    raw = read_sequences(write(frame, tmp_path / "a.parquet", x=kind, z=kind))
    frame.explode(["x", "z"]).astype({"x": float, "z": float}).to_parquet(tmp_path / "b.parquet", index=False)
    assert_same(raw, read_sequences(tmp_path / "b.parquet"))
    assert raw.columns == Columns("id", "", "label", ("x", "z"))
    assert (
        raw.guesses[0]
        == f"{tmp_path}/a.parquet: each row is a sequence, with lists of steps, sequence id in column 'id'"
    )
    assert raw.remarks == ()


@pytest.mark.parametrize("library", [pd.DataFrame, polars.DataFrame, pa.Table.from_pydict])
def test_frames(library):
    frame = frame_of()
    data = {name: list(frame[name]) for name in frame}
    raw = read_frame(library(data), "frame", Columns())
    exploded = frame.explode(["x", "z"]).astype({"x": float, "z": float})
    assert_same(raw, read_frame(exploded, "frame", Columns()))


def test_frame_without_ids_and_with_one_value_for_each_sequence():
    frame = frame_of().drop(columns="id").assign(age=3, comment="none", subject=list("abcabcabcabc"))
    raw = read_frame(frame, "frame", Columns(group="subject"))
    assert (raw.ids, raw.groups) == (list(range(12)), list("abcabcabcabc"))
    assert raw.columns.features == ("x", "z")
    assert raw.remarks == ("frame: with one value for each sequence, and so not read: 'age', 'comment'",)
    data = SequenceFrames(frame, predict=frame[["x", "z"]], val_fraction=0.25)
    assert data.split("predict").values.shape == (sum(map(len, frame.x)), 2)
    assert data.sample_ids("predict") == list(range(12))


def test_tokens_and_steps_and_lists_of_labels(tmp_path):
    frame = pd.DataFrame({"words": [["a", "b"], ["c"]], "label": [["x", "y"], []]})
    raw = read_sequences(write(frame, tmp_path / "a.parquet"))
    assert [raw.tokens[code] for code in raw.values] == ["a", "b", "c"]
    assert raw.labels == [("x", "y"), ()]
    frame = pd.DataFrame({"x": [[1.0, 2.0], [3.0]], "t": [[2, 1], [5]], "label": [0, 1]})
    raw = read_sequences(write(frame, tmp_path / "a.parquet"))
    assert (raw.values.tolist(), raw.columns.step, raw.times.tolist()) == ([[2], [1], [3]], "t", [[1, 2], [5, 5]])


@pytest.mark.parametrize("fixed", [False, True])
def test_lists_of_vectors(tmp_path, fixed):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((length, 3)) for length in (2, 4, 1)]
    frame = pd.DataFrame({"inputs": [array.tolist() for array in arrays], "label": [0, 1, 1]})
    types = {"inputs": pa.list_(pa.list_(pa.float64(), 3))} if fixed else {}
    raw = read_sequences(write(frame, tmp_path / "a.parquet", **types))
    np.testing.assert_array_equal(raw.values, np.concatenate(arrays))
    assert raw.columns.features == ("inputs_0", "inputs_1", "inputs_2")


def test_empty_lists(tmp_path):
    frame = frame_of(4)
    frame.at[1, "x"], frame.at[1, "z"] = [], None
    path = write(frame, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet: row 2: expected at least one time step"):
        read_sequences(path)
    raw = read_sequences(path, empty="skip")
    assert (raw.ids, raw.labels) == (["s0", "s2", "s3"], ["u", "u", "v"])
    assert raw.remarks == (f"{path}: 1 of 4 sequences has no time steps and is left out",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z": [[1.0], [2.0, 3.0]]}, r"row 2, column 'z': expected a list of 1 steps, as in column 'x', got 2"),
        ({"id": ["s", "s"]}, r"row 2, column 'id': expected one row for each sequence, got 's' again"),
        ({"id": ["s", None]}, r"row 2, column 'id': expected the sequence that the row belongs to, got an empty cell"),
        ({"label": ["s", None]}, r"row 2, column 'label': expected a label, got an empty cell"),
        ({"x": [[1.0], [np.nan]]}, r"row 2, column 'x': expected a number, got an empty"),
        ({"x": [["a"], ["b"]]}, r"row 1, column 'x': expected a number, got 'a'"),
        (
            {"x": [[[1.0]], [[1.0, 2.0]]]},
            r"row 2, column 'x': expected 1 numbers in each step, as in the first row, got 2",
        ),
        ({"x": [[[]], [[]]]}, r"column 'x': expected vectors, got none with numbers"),
        ({"x": [[], []], "z": [[], []]}, r"expected at least one time step"),
    ],
)
def test_rows_that_can_not_be_used(tmp_path, changes, message):
    frame = pd.DataFrame({"id": ["s", "u"], "x": [[1.0], [2.0]], "z": [[1.0], [2.0]], "label": [0, 1], **changes})
    with pytest.raises(DataError, match=r"a\.parquet: .*" + message):
        read_sequences(write(frame, tmp_path / "a.parquet"))


def test_a_model_of_lists_classifies_a_file_in_long_form(tmp_path):
    frame = frame_of(30)
    long = frame.explode(["x", "z"]).drop(columns="label")
    long.to_csv(tmp_path / "b.csv", index=False)
    data = SequenceFiles(write(frame, tmp_path / "a.parquet"), test=tmp_path / "a.parquet", predict=tmp_path / "b.csv")
    np.testing.assert_allclose(data.split("predict").values, data.split("test").values, atol=1e-6)
    assert data.sample_ids("predict") == data.sample_ids("test")


def test_a_stream_that_can_be_read_only_once():
    frame = frame_of()
    table = pa.Table.from_pandas(
        frame.assign(x=[[[value] for value in values] for values in frame.x])[["id", "x", "label"]]
    )
    raw = read_frame(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()), "frame", Columns())
    np.testing.assert_array_equal(raw.values[:, 0], np.concatenate(frame.x))
