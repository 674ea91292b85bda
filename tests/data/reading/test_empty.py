"""Sequences without time steps are counted, and left out if that is asked for."""

import json
import re

import numpy as np
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.reading.read import read_sequences

LENGTHS = [3, 0, 2, 5, 0, 0, 1, 4] * 4
LABELS = ["u", "v"] * 16
VALUES = [np.arange(2 * length).reshape(length, 2) + 100.5 * number for number, length in enumerate(LENGTHS)]
KEPT = [number for number, length in enumerate(LENGTHS) if length]
PLACES = {".jsonl": "line 2", ".npz": "lengths, sequence 1", ".ts": r"sequence 1 \(line 4\)"}


def write(path, kept=range(32)):
    rows = [(VALUES[number], LABELS[number]) for number in kept]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"inputs": v.tolist(), "label": label}) + "\n" for v, label in rows))
    elif path.suffix == ".npz":
        inputs = np.full((len(rows), 5, 2), np.nan)
        for row, (values, _) in enumerate(rows):
            inputs[row, : len(values)] = values
        np.savez(path, inputs=inputs, lengths=[len(v) for v, _ in rows], targets=[label for _, label in rows])
    else:
        lines = [":".join([*(",".join(map(str, column)) for column in v.T), label]) for v, label in rows]
        path.write_text("\n".join(["@classLabel true u v", "@data", *lines]) + "\n")
    return path


@pytest.mark.parametrize("suffix", PLACES)
def test_empty_sequences_are_counted(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")
    with pytest.raises(DataError) as caught:
        read_sequences(path)
    assert re.fullmatch(
        f"{re.escape(str(path))}: {PLACES[suffix]}: expected at least one time step, got a sequence of length 0\n"
        '12 of 32 sequences have no time steps: `empty="skip"` leaves them out',
        str(caught.value),
    )


@pytest.mark.parametrize("suffix", PLACES)
def test_empty_sequences_are_left_out(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")
    raw = read_sequences(path, empty="skip")
    np.testing.assert_array_equal(raw.values, np.concatenate([VALUES[number] for number in KEPT]).astype(np.float32))
    assert raw.lengths.tolist() == [LENGTHS[number] for number in KEPT]
    assert raw.labels == [LABELS[number] for number in KEPT]
    assert list(raw.ids) == KEPT  # their indices in the file
    assert raw.remarks == (f"{path}: 12 of 32 sequences have no time steps and are left out",)


@pytest.mark.parametrize("suffix", PLACES)
def test_first_sequence_can_be_empty(tmp_path, suffix):
    raw = read_sequences(write(tmp_path / f"a{suffix}", [1, 0]), empty="skip")
    assert (list(raw.ids), raw.lengths.tolist(), raw.labels) == ([1], [3], ["u"])
    assert "1 of 2 sequences has no time steps and is left out" in raw.remarks[0]


@pytest.mark.parametrize("suffix", PLACES)
@pytest.mark.parametrize("empty", ["skip", "refuse"])
def test_file_of_empty_sequences_is_refused(tmp_path, suffix, empty):
    with pytest.raises(DataError, match=r"sequence of length 0\n2 of 2 sequences have no time steps$"):
        read_sequences(write(tmp_path / f"a{suffix}", [1, 4]), empty=empty)


@pytest.mark.parametrize("suffix", PLACES)
def test_report_counts_them_for_each_file(tmp_path, suffix):
    """In a file for prediction too, whose ids are the indices in the file."""
    path, test = write(tmp_path / f"a{suffix}"), write(tmp_path / f"b{suffix}", [0, 1, 2])
    data = SequenceFiles(path, predict=test, empty="skip")
    lines = data.report(["train", "predict"]).splitlines()
    assert f"{path}: 12 of 32 sequences have no time steps and are left out" in lines
    assert f"{test}: 1 of 3 sequences has no time steps and is left out" in lines
    assert list(data.sample_ids("predict")) == [0, 2]
    assert data.split("predict").lengths.tolist() == [3, 2]


def test_tokens_and_ids(tmp_path):
    lines = [
        {"inputs": list(text), "label": text[:1], "id": f"n{number}"} for number, text in enumerate(["ab", "", "b"])
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    raw = read_sequences(tmp_path / "a.jsonl", empty="skip")
    assert (raw.ids, raw.labels, [raw.tokens[code] for code in raw.values]) == (["n0", "n2"], ["a", "b"], list("abb"))
