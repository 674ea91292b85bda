"""Lists of 0 and 1 as labels, compared with the columns of an array."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from seqlight import DataError, SequenceFiles
from seqlight.data.reading.read import read_sequences

VECTORS = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 1]])


def write_lines(path, labels):
    lines = [{"inputs": [[0.5], [number]], "label": label} for number, label in enumerate(labels)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_parquet(path, labels, kind=None):
    rows = np.repeat(np.arange(len(labels)), 2)
    columns = {"id": rows, "t": np.arange(len(rows)), "x": rows + 0.5}
    parquet.write_table(pa.table({**columns, "label": pa.array([labels[row] for row in rows], kind)}), path)
    return path


KINDS = {
    "integers": int,
    "bools": bool,
    "floats": float,
    "text": str,
}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_labels_by_position(tmp_path, kind, suffix):
    labels = [[KINDS[kind](value) for value in vector] for vector in VECTORS.tolist()]
    path = (write_lines if suffix == ".jsonl" else write_parquet)(tmp_path / f"a{suffix}", labels)
    raw = read_sequences(path)
    assert raw.labels == [tuple(str(position) for position in np.flatnonzero(vector)) for vector in VECTORS]
    assert (raw.label_names, raw.label_vectors) == (("0", "1", "2"), 3)
    assert raw.guesses[-1] == f"{path}: lists of 0 and 1 are read as vectors of 3 labels"


@pytest.mark.parametrize("kind", [pa.list_(pa.int8(), 3), pa.large_list(pa.float32()), pa.list_(pa.bool_())])
def test_types_of_vectors_in_parquet(tmp_path, kind):
    labels = VECTORS.astype(bool if kind.value_type == pa.bool_() else int).tolist()
    raw = read_sequences(write_parquet(tmp_path / "a.parquet", labels, kind))
    assert raw.labels == [tuple(map(str, np.flatnonzero(vector))) for vector in VECTORS]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_targets_equal_those_of_an_array(tmp_path, suffix):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (40, 4))
    path = (write_lines if suffix == ".jsonl" else write_parquet)(tmp_path / f"a{suffix}", targets.tolist())
    data = SequenceFiles(path, path)
    assert (data.target, data.class_names) == ("multilabel", ("0", "1", "2", "3"))
    np.testing.assert_array_equal(data.split("val").targets, targets)
    np.savez(tmp_path / "a.npz", inputs=rng.random((40, 3, 1)), targets=targets)
    np.testing.assert_array_equal(SequenceFiles(tmp_path / "a.npz", tmp_path / "a.npz").split("val").targets, targets)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_one_hot_vectors_can_be_classes(tmp_path, suffix):
    classes = np.arange(30) % 3
    path = (write_lines if suffix == ".jsonl" else write_parquet)(tmp_path / f"a{suffix}", np.eye(3)[classes].tolist())
    labels = SequenceFiles(path, path)
    assert labels.target == "multilabel"
    assert 'every sequence has exactly one label: if labels are classes, `target="multiclass"`' in labels.report(
        ["val", "train"]
    )
    data = SequenceFiles(path, path, target="multiclass")
    assert (data.target, data.class_names) == ("multiclass", ("0", "1", "2"))
    np.testing.assert_array_equal(data.split("val").targets, classes)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[0, 1], [1], []], [("0", "1"), ("1",), ()]),  # of unequal length
        ([[0], [1], [1]], [("0",), ("1",), ("1",)]),
        ([[0, 2], [1, 0], [2, 1]], [("0", "2"), ("1", "0"), ("2", "1")]),
        ([["a", "a"], ["b"]], [("a", "a"), ("b",)]),
    ],
)
def test_other_lists_are_names(tmp_path, labels, expected):
    raw = read_sequences(write_lines(tmp_path / "a.jsonl", labels))
    assert (raw.labels, raw.label_names, raw.label_vectors) == (expected, None, 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1, 0, 0], [0, 1, 0], [1, 1]], "line 3: expected 3 values of 0 and 1 as label, as in line 1, got 2"),
        (
            [[1, -1, -1], [-1, 1, -1]],
            r"line 1: expected a list of distinct labels, or 0 and 1 for each label, got \[1, -1, -1\]",
        ),
        ([[1, 0, 0], [0, 1, 2]], r"line 1: expected a list of distinct .*, got \[1, 0, 0\].*line 2 has other labels"),
        ([[0.5, 0.5], [1, 0]], "line 1: expected a class: text or an integer .*, got 0.5"),
        ([["a", ""], ["b"]], "line 1: expected a label, got none"),
    ],
)
def test_lists_that_are_neither_are_refused(tmp_path, labels, message):
    with pytest.raises(DataError) as caught:
        read_sequences(write_lines(tmp_path / "a.jsonl", labels))
    assert re.search(message, str(caught.value), re.DOTALL)


def test_list_of_another_length_is_named_with_its_row(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [[1, 0, 0], [0, 1, 0], [1, 1]])
    with pytest.raises(
        DataError, match=r"row 5, column 'label': expected 3 values of 0 and 1 .* row 1, column 'label', got 2"
    ):
        read_sequences(path)


def test_lists_of_a_test_file_are_read_as_those_of_the_training_file(tmp_path):
    """Each test file alone could be read in another way."""
    names = write_lines(tmp_path / "names.jsonl", [[0, 1], [1], [0]] * 8)
    test = write_lines(tmp_path / "test.jsonl", [[0, 1], [1, 0]])
    np.testing.assert_array_equal(SequenceFiles(names, test=test).split("test").targets, [[1, 1], [1, 1]])
    vectors = write_lines(tmp_path / "vectors.jsonl", [[0, 1], [1, 0], [0, 0]] * 8)
    data = SequenceFiles(vectors, test=test)
    np.testing.assert_array_equal(data.split("test").targets, [[0, 1], [1, 0]])
    again = SequenceFiles(test=test, encoding=json.loads(json.dumps(data.encoding.to_plain())))
    np.testing.assert_array_equal(again.split("test").targets, [[0, 1], [1, 0]])
    short = write_lines(tmp_path / "short.jsonl", [[0, 1, 1]])
    with pytest.raises(
        DataError, match="line 1: expected 2 values of 0 and 1 as label, as in the training data, got 3"
    ):
        SequenceFiles(vectors, test=short).split("test")
    without = write_lines(tmp_path / "without.jsonl", [[], []])
    np.testing.assert_array_equal(SequenceFiles(vectors, test=without).split("test").targets, [[0, 0], [0, 0]])


def test_labels_that_are_all_the_same_are_refused(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [[1, -1], [-1, 1], [1, -1]] * 5)
    with pytest.raises(DataError, match="all sequences have the same labels, '-1', '1'; expected labels that differ"):
        SequenceFiles(path)


def test_vectors_in_a_frame_of_arrays(tmp_path):
    """pandas writes a column of arrays in this form."""
    frame = pd.DataFrame({"id": [0, 0, 1], "x": [0.5, 1, 2], "label": list(np.array([[1, 0], [1, 0], [0, 1]]))})
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_sequences(tmp_path / "a.parquet").labels == [("0",), ("1",)]
