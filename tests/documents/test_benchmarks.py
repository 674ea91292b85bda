"""The benchmarks run, and compare equal computations."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from tests.documents.programs import run_program

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "cells.py"


@pytest.fixture
def cells():
    """The script as a module."""
    specification = importlib.util.spec_from_file_location("benchmark_of_cells", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_cells_prints_each_ratio_beside_its_target(tmp_path):
    flags = ["--rounds", "1", "--seconds", "0.001", "--sizes", "3x4x5", "4x2-6x3"]
    status, out, err = run_program(SCRIPT, *flags, folder=tmp_path)
    assert status == 0, err
    lines = out.splitlines()
    for name, targets in {"Elman": "22", "LSTM": "12", "GRU": "22", "MGU": "22"}.items():
        for size, target in zip(("3x4x5", "4x2-6x3"), targets, strict=True):
            [row] = [line for line in lines if line.startswith(name) and f" {size} " in line]
            assert f"(>= {target}.0)" in row
            assert ("(>= 4.0)" in row) == (size == "3x4x5")  # the loop
        assert sum(line.startswith(name) for line in lines) == 4  # with a row of the builds and one of the rates


class OtherInputs(nn.LSTM):
    def forward(self, inputs):
        if isinstance(inputs, PackedSequence):
            return super().forward(inputs._replace(data=1.05 * inputs.data))
        return super().forward(1.05 * inputs)


class FixedBias(nn.LSTM):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.bias_hh_l0.requires_grad_(False)


@pytest.mark.parametrize("size", ["3x4x5", "4x2-6x3"])
def test_cells_refuses_to_time_another_cell_or_other_gradients(cells, size, monkeypatch):
    def check():
        torch.manual_seed(0)
        cells.check_losses("LSTM", cells.ways_to_train("LSTM", cells.parse_size(size), cells.processor_time, None))

    check()
    for wrong in (OtherInputs, FixedBias):
        monkeypatch.setitem(cells.CELLS, "LSTM", (cells.LSTM, wrong))
        with pytest.raises(RuntimeError, match="LSTM is not the same in all ways"):
            check()


@pytest.mark.parametrize("flags", [("--rounds=1", "--epochs=2"), ("--rounds=1", "--epochs=1", "--check")])
def test_step_runs(flags, tmp_path):
    status, out, err = run_program(SCRIPT.with_name("step.py"), *flags, folder=tmp_path)
    assert status == 0, err
    for name in ("RNN", "LSTM", "GRU"):
        assert any(line.startswith(name) for line in out.splitlines()), out


def test_epoch_prints_a_row_for_each_kind_of_lengths(tmp_path):
    flags = ["--rounds=1", "--epochs=1", "--sequences=40"]
    status, out, err = run_program(SCRIPT.with_name("epoch.py"), *flags, folder=tmp_path)
    assert status == 0, err
    header, *rows = out.splitlines()
    assert "kernel/loop (<= 0.6)" in header
    assert [row[:6] for row in rows] == ["10 to ", "median", "90 % 2"]
    assert all(float(number) > 0 for row in rows for number in row.split()[-5:])


def test_archive_prints_the_accuracy_of_each_set(tmp_path):
    folder = tmp_path / "sets" / "ArrowHead"
    folder.mkdir(parents=True)
    for split, number in (("TRAIN", 20), ("TEST", 8)):
        rows = [f"{index % 2},{1 + index % 2},0.5:{'ab'[index % 4 != 0]}" for index in range(number)]
        head = "@problemName ArrowHead\n@univariate true\n@classLabel true a b\n@data"
        (folder / f"ArrowHead_{split}.ts").write_text("\n".join([head, *rows]) + "\n")
    script, flags = SCRIPT.with_name("archive.py"), ["--sets", "ArrowHead", "--seeds", "1", "--"]
    status, out, err = run_program(script, str(folder.parent), *flags, "--trainer.max_steps", "2", folder=tmp_path)
    assert status == 0, err
    [row] = [line.split() for line in out.splitlines() if line.startswith("ArrowHead")]
    assert row[1:3] == ["0.750", "0.703"]  # one in four is an a
    assert 0 <= float(row[3]) <= 1
    status, _, err = run_program(script, str(tmp_path), *flags, folder=tmp_path)
    assert status == 2
    assert "no ArrowHead/ArrowHead_TRAIN.ts in" in err


@pytest.mark.long
def test_start_runs(tmp_path):
    status, out, err = run_program(SCRIPT.with_name("start.py"), "--rounds=1", "--only=fit --epochs 3", folder=tmp_path)
    assert status == 0, err
    assert [line.split("  ")[0] for line in out.splitlines()[1:]] == [
        "import torch",
        "loop",
        "Lightning",
        "seqlight fit --epochs 3",
    ]


def test_loading_compares_memory_and_file(tmp_path):
    flags = ["--sequences", "40", "--steps", "5", "--formats", ".npz", "--rounds", "1"]
    status, out, err = run_program(SCRIPT.with_name("loading.py"), *flags, folder=tmp_path)
    assert status == 0, err
    [row] = [line.split() for line in out.splitlines() if line.startswith(".npz")]
    assert len(row) == 5
    assert all(float(number) > 0 for number in row[3:])
