"""Time steps in a temporary file: the same results as in memory."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from seqlight import DataError, ElmanCell, SequenceClassifier, SequenceFiles, SequenceLoader
from seqlight.data.reading import buffer, memory
from seqlight.data.reading.buffer import Buffer
from tests.data.reading.test_folder import frames
from tests.data.reading.test_folder import write as write_folder
from tests.data.reading.test_fuzz import as_arff
from tests.data.test_files import write_lines, write_table

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room on the disk is reserved by POSIX")
FORMATS = ["a.csv", "shuffled.csv", "a.parquet", "wide.csv", "a.jsonl", "tokens.jsonl", "a.npz", "a.arff", "folder"]


def write(name, folder):
    rng = np.random.default_rng(0)
    values, labels = rng.standard_normal((30, 6, 3)) * 1e3 + 1e6, np.array(["u", "v"] * 15)
    lengths = rng.integers(1, 7, 30)
    parts = [each[:length] for each, length in zip(values, lengths, strict=True)]
    if name == "a.npz":
        np.savez(folder / name, inputs=values, lengths=lengths, targets=labels)
    elif name == "a.jsonl":
        lines = [{"inputs": each.tolist(), "label": label} for each, label in zip(parts, labels, strict=True)]
        write_lines(folder / name, lines)
    elif name == "tokens.jsonl":
        lines = [
            {"inputs": [str(step) for step in range(n)], "label": row % 2} for row, n in enumerate(lengths.tolist())
        ]
        write_lines(folder / name, lines)
    elif name == "a.arff":
        (folder / name).write_text(as_arff(parts, labels, rng))
    elif name == "folder":
        write_folder(folder / name, frames(30))
    elif name == "wide.csv":
        rows = [",".join([label, *map(str, each[:, 0])]) for each, label in zip(values, labels, strict=True)]
        (folder / name).write_text("\n".join([",".join(["label", *(f"x_{step}" for step in range(6))]), *rows]))
    else:
        frame = write_table(folder / name, 30)
        if name == "shuffled.csv":
            frame.sample(frac=1, random_state=0).to_csv(folder / name, index=False)


def is_mapped(tensor):
    """Whether a tensor's numbers are in a mapped file."""
    start = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(number, 16) for number in line.split()[0].split("-"))
        if first <= start < last:
            return tempfile.gettempdir() in line
    return False


@pytest.mark.parametrize("growth", [1, 1 << 14])
@pytest.mark.parametrize("name", FORMATS)
def test_results_are_the_same(tmp_path, monkeypatch, name, growth):
    monkeypatch.setattr(buffer, "_CHUNK", growth)
    write(name, tmp_path)
    options = {"layout": "wide"} if name == "wide.csv" else {}
    path = tmp_path / name
    here, there = (SequenceFiles(path, test=path, seed=3, in_memory=each, **options) for each in (True, False))
    assert here.encoding == there.encoding
    for split in ("train", "val", "test"):
        assert not is_mapped(here.split(split).values)
        assert is_mapped(there.split(split).values)
        assert here.sample_ids(split) == there.sample_ids(split)
        loaders = [SequenceLoader(each.split(split), 4, shuffle=True, seed=1) for each in (here, there)]
        for one, other in zip(*loaders, strict=True):
            for expected, got in zip(one, other, strict=True):
                assert torch.equal(expected, got)
    assert here.report(["train", "val", "test"]) == there.report(["train", "val", "test"])


def test_training_is_the_same(tmp_path):
    import lightning.pytorch as pl

    write("a.npz", tmp_path)
    weights = []
    for in_memory in (True, False):
        torch.manual_seed(0)
        data = SequenceFiles(tmp_path / "a.npz", in_memory=in_memory)
        model = SequenceClassifier(ElmanCell, input_size=3)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        pl.Trainer(max_epochs=2, accelerator="cpu", enable_checkpointing=False, **quiet).fit(model, data)
        weights.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert torch.equal(*weights)


def test_a_file_larger_than_memory_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    write("a.npz", tmp_path)
    with pytest.raises(DataError, match="expected a file that fits into memory") as error:
        SequenceFiles(tmp_path / "a.npz")
    assert "`in_memory=False`" in error.value.args[1]
    SequenceFiles(tmp_path / "a.npz", in_memory=False, class_weights=None)


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    write("a.npz", tmp_path)
    with pytest.raises(DataError, match=r"a\.npz: expected room for .* in .*: No space left on device") as error:
        SequenceFiles(tmp_path / "a.npz", in_memory=False)
    assert "TMPDIR" in error.value.args[1]


def test_channels_are_computed_in_memory(tmp_path):
    write("a.csv", tmp_path)
    for options in ({"missing": "mask"}, {"time_delta": True}):
        with pytest.raises(ValueError, match="in_memory must be true with `"):
            SequenceFiles(tmp_path / "a.csv", in_memory=False, **options)


@pytest.mark.parametrize("width", [None, 3])
def test_a_buffer_in_a_file_is_like_one_in_memory(tmp_path, width):
    rng = np.random.default_rng(0)
    one, other = (Buffer(tmp_path, np.int64, width, in_memory=each) for each in (True, False))
    for number in range(20):
        rows = rng.integers(0, 100, (rng.integers(0, 9), *([width] if width else [])))
        for each in (one, other):
            each.append(rows)
            if number == 10:
                each.convert(np.float64)
            if number == 12:
                each.reserve(50)
            if number == 19 and width:
                each.select([2, 0])
    assert len(one) == len(other)
    np.testing.assert_array_equal(one.finish(), other.finish())
