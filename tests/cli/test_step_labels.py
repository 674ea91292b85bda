"""Commands with a label for each time step."""

import contextlib
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlight
from tests.cli.commands import run
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("command_line_state")


def write(path, size, seed):
    """Rows in any order, with a label that is the sign of the value before."""
    rng = np.random.default_rng(seed)
    parts = []
    for row in range(size):
        x = rng.normal(size=rng.integers(2, 7))
        names = np.where(np.append(1, x[:-1]) > 0, "up", "down")
        parts.append(pd.DataFrame({"id": f"s{row}", "t": 5 * np.arange(len(x)), "x": x, "label": names}))
    pd.concat(parts).sample(frac=1, random_state=0).to_csv(path, index=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    with contextlib.chdir(folder):
        for seed, name in enumerate("ab"):
            write(f"{name}.csv", 80, seed)
        out = run(
            *("fit", "--data=SequenceFiles", "--data.train=a.csv", "--data.label_per=step", "--trainer.max_epochs=12"),
            *("--trainer.enable_progress_bar=false", "--device=cpu"),
        )
    return folder, out


@pytest.fixture
def folder(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    return trained[0]


def test_report_and_baselines_are_about_steps(trained):
    _, out = trained
    assert "steps: up 157, down 99" in out
    assert "has no effect" not in out
    assert "baselines (val): majority" in out
    assert ", step alone 0" in out
    assert ", bag of steps so far 0" in out


def test_test_has_accuracies_by_position(folder):
    out = run("test", "--ckpt_path=runs/a-GRUCell", "--data.test=b.csv", "--trainer.enable_progress_bar=false")
    table = [line.split() for line in out.splitlines() if line[:1].isdigit()]
    steps = pd.read_csv("b.csv")["t"] // 5 + 1
    assert [int(row[1]) for row in table] == steps.value_counts().sort_index().tolist()
    assert "position         steps  accuracy" in out
    [events] = Path("runs").glob("*/*/test*/events*")
    found = EventAccumulator(str(events)).Reload().Tags()
    assert "test/accuracy_by_position" in found["scalars"]
    assert "test_figures/accuracy_by_position" in found["images"]


def test_predictions_have_a_row_for_each_step(folder):
    run("predict", "--ckpt_path=runs/a-GRUCell", "--data.predict=b.csv", "--trainer.enable_progress_bar=false")
    with open("predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "step", "probability_up", "probability_down", "prediction", "label"]
    table = pd.read_csv("b.csv").sort_values("t", kind="stable")
    order = pd.read_csv("b.csv")["id"].drop_duplicates().tolist()
    table = pd.concat([table[table["id"] == name] for name in order])
    assert [row["id"] for row in rows] == table["id"].tolist()
    assert [row["step"] for row in rows] == [str(step) for step in table["t"]]
    assert [row["label"] for row in rows] == table["label"].tolist()
    model = seqlight.load(next(Path("runs").glob("*/*/checkpoints/last.ckpt")))
    data = seqlight.load_data(next(Path("runs").glob("*/*/checkpoints/last.ckpt")), predict="b.csv")
    batch = data.split("predict").take(torch.arange(80), torch.arange(80))
    assert model.label_per == "step"
    expected = [
        float(value)
        for row, length in zip(model.probabilities(batch.inputs, batch.lengths), batch.lengths, strict=True)
        for value in row[:length]
    ]
    assert [float(row["probability_down"]) for row in rows] == pytest.approx(expected, abs=1e-6)
    assert np.mean([row["prediction"] == row["label"] for row in rows]) > 0.9


def test_model_of_steps_cannot_take_labels_of_sequences(folder):
    flags = ("--ckpt_path=runs/a-GRUCell", "--data.test=b.csv", "--data.label_per=sequence")
    status, _, err = seqlight_run("test", *flags)
    assert status == 2
    assert "--data.label_per can't change after training" in err


def test_label_per_follows_from_the_data(folder):
    status, _, err = seqlight_run("fit", "--data=SequenceFiles", "--data.train=a.csv", "--model.label_per=step")
    assert status == 2
    assert "--model.label_per follows from the data" in err
    status, _, err = seqlight_run("fit", "--data=SequenceFiles", "--data.train=a.csv")
    assert status == 2
    assert "If each step has a label: --data.label_per step" in err
