"""Reading takes time in proportion to the file. Operations are counted, not seconds."""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seqlight.data import files
from seqlight.data.given_encoding import reorder_features as reorder_features_of
from seqlight.data.learn import learn_encoding
from seqlight.data.reading import csv_file, labels, memory, table, ts
from seqlight.data.reading.collect import Collector
from seqlight.data.reading.columns import resolve
from seqlight.data.reading.options import Options
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.read import read_sequences


class Counted:
    """A mixin that counts comparisons: a search in a list of n names makes n of them, in a dictionary one."""

    comparisons = 0

    def __eq__(self, other):
        Counted.comparisons += 1
        return super().__eq__(other)

    def __hash__(self):
        return super().__hash__()


class Text(Counted, str):
    pass


class Number(Counted, int):
    pass


def comparisons(function):
    Counted.comparisons = 0
    function()
    return Counted.comparisons


def resolve_columns(size, request):
    """Columns of a table with `size` features; the request names them by other objects than the table does."""

    def names(prefix):
        return [Text(f"{prefix}{number}") for number in range(size)]

    found = [Text("id"), Text("time"), Text("label"), *names("x"), *names("label_")]
    requests = {
        "guessed": Columns(),
        "features": Columns(features=tuple(names("x"))),
        "labels": Columns(label=tuple(names("label_"))),
        "index": Columns(label="label", id="id", step="time"),
    }
    if request == "labels guessed":
        found.remove("label")
        requests[request] = Columns()
    return resolve(Path("a.csv"), found, requests[request], True)


def reorder_features(size):
    values = np.arange(size, dtype=np.float64)[None]
    found = tuple(Text(f"x{number}") for number in range(size))
    raw = RawSequences(values, None, np.array([1]), ["a"], None, columns=Columns("id", "", None, found))
    reorder_features_of(raw, tuple(Text(f"x{number}") for number in reversed(range(size))), "a.csv")
    assert raw.values[0].tolist() == list(reversed(range(size)))


def add_tokens(size):
    """Integers with the same hash in Python."""
    collector = Collector(Path("a.jsonl"), 0, Options(labelled=False))
    collector.add_tokens([Number(number * sys.hash_info.modulus) for number in range(1, size + 1)])
    collector.add_tokens([Number(number * sys.hash_info.modulus) for number in range(1, size + 1)])
    assert len(collector.finish().tokens) == size


@pytest.mark.parametrize(
    "work",
    [
        *(
            pytest.param(functools.partial(resolve_columns, request=request), id=request)
            for request in ("guessed", "features", "labels", "index", "labels guessed")
        ),
        reorder_features,
        add_tokens,
    ],
)
def test_comparisons_grow_in_proportion(work):
    few, many = (comparisons(lambda size=size: work(size)) for size in (300, 600))
    assert many <= 2 * few + 100
    assert many <= 40 * 600


def test_classes_are_not_searched_in_a_list(tmp_path, monkeypatch):
    monkeypatch.setattr(ts, "class_name", Text)

    def read(size):
        path = tmp_path / "a.ts"
        lines = [f"0.5:c{number}" for number in range(size)]
        path.write_text("@classLabel true " + " ".join(f"c{number}" for number in range(size)) + "\n@data\n")
        with path.open("a") as file:
            file.write("\n".join(lines))
        assert read_sequences(path).labels == [f"c{number}" for number in range(size)]

    assert comparisons(lambda: read(120)) <= 2 * comparisons(lambda: read(60)) + 50


def write_wide(path, size):
    """A file with two sequences of three steps and `size` features."""
    values = np.arange(6 * size).reshape(6, size) % 97 / 4
    rows = [",".join(map(str, row)) for row in values.tolist()]
    if path.suffix == ".csv":
        names = ",".join(f"x{number}" for number in range(size))
        path.write_text(f"id,label,{names}\n" + "".join(f"s{i // 3},c{i // 3},{row}\n" for i, row in enumerate(rows)))
    elif path.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        columns = {"id": ["s0"] * 3 + ["s1"] * 3, "label": ["c0"] * 3 + ["c1"] * 3}
        parquet.write_table(pa.table({**columns, **{f"x{i}": column for i, column in enumerate(values.T)}}), path)
    elif path.suffix == ".npz":
        np.savez(path, inputs=values.reshape(2, 3, size), targets=["c0", "c1"])
    elif path.suffix == ".jsonl":
        others = {f"key{number}": number for number in range(size)}  # that are left out
        lines = [{"inputs": part.tolist(), "label": f"c{i}", **others} for i, part in enumerate(np.split(values, 2))]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        parts = [":".join(",".join(map(str, column)) for column in part.T) for part in np.split(values, 2)]
        path.write_text("@classLabel true c0 c1\n@data\n" + "".join(f"{part}:c{i}\n" for i, part in enumerate(parts)))
    return values


def calls(function):
    """The number of calls of functions, of Python and of C."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".jsonl", ".ts"])
def test_wide_files(tmp_path, suffix):
    """Also the encoding, its plain form, and the report."""

    def use(size):
        data = files.SequenceFiles(paths[size], val=paths[size])
        data.report(["train", "val"])
        again = files.SequenceFiles(val=paths[size], encoding=data.encoding.to_plain())
        return data, again.split("val")

    paths = {size: tmp_path / f"{size}{suffix}" for size in (10, 30, 60)}
    values = {size: write_wide(path, size) for size, path in paths.items()}
    use(10)  # imports
    few, many = (calls(lambda size=size: use(size)) for size in (30, 60))
    assert many <= 2 * few
    data, val = use(60)
    np.testing.assert_array_equal(read_sequences(paths[60]).values, values[60])
    assert torch.equal(data.split("train").values, val.values)


def test_wide_csv_is_read_in_few_batches(tmp_path, monkeypatch):
    """A batch costs time for each column, however few rows it has."""
    monkeypatch.setattr(csv_file, "_BLOCK", 1000)
    write_wide(tmp_path / "a.csv", 400)
    columns = []
    monkeypatch.setattr(table, "features", lambda column, *rest: columns.append(len(column)) or np.zeros(len(column)))
    read_sequences(tmp_path / "a.csv")
    assert sum(columns) == 6 * 400
    assert len(columns) <= 2 * 400


def test_new_labels_in_each_batch_take_linear_time(tmp_path, monkeypatch):
    """The codes of labels grow by doubling: otherwise each batch would copy those of all earlier batches."""
    monkeypatch.setattr(csv_file, "_BLOCK", 200)
    copied = []
    with_room = labels._with_room

    def note(codes, size):
        result = with_room(codes, size)
        if result is not codes:
            copied.append(len(result))
        return result

    monkeypatch.setattr(labels, "_with_room", note)
    path = tmp_path / "a.csv"
    path.write_text("id,label,x\n" + "".join(f"s{number},l{number},0.5\n" for number in range(600)))
    assert read_sequences(path).labels == [f"l{number}" for number in range(600)]
    assert 2 < len(copied) < 40
    assert sum(copied) < 20 * 600


@pytest.mark.parametrize("number", [2**61 - 1, 2**61, -(2**61) + 1, 2**63, 2**64, 10**30, 10**4000])
def test_integer_tokens_of_any_size(tmp_path, number):
    """Also those that share a hash. Integers beyond 4300 digits are refused, as by Python."""
    numbers = [0, number, 2 * number, 0, number]
    (tmp_path / "a.jsonl").write_text(json.dumps({"inputs": numbers, "label": 0}) + "\n")
    raw = read_sequences(tmp_path / "a.jsonl")
    assert [raw.tokens[code] for code in raw.values] == [str(number) for number in numbers]


def test_too_many_labels_for_the_memory_are_refused(tmp_path, monkeypatch):
    """Targets take sequences times labels, which grows with the square of a file."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"inputs": [[0.5]], "label": [f"l{n}"]}) + "\n" for n in range(120)))
    monkeypatch.setattr(memory, "available", lambda: 50_000)
    with pytest.raises(DataError, match=r"need about 57\.6 kB, and 50 kB are free"):
        learn_encoding(read_sequences(path), np.arange(120), str(path)).encode(read_sequences(path), str(path))
