"""Commands with numbers to predict."""

import contextlib
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlight
from tests.cli.commands import run
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("command_line_state")
SILENT = ("--trainer.enable_progress_bar=false",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("numbers"), np.random.default_rng(0)
    with contextlib.chdir(folder):
        for name in "ab":
            parts = [pd.DataFrame({"id": row, "x": rng.normal(size=rng.integers(3, 9))}) for row in range(80)]
            pd.concat([part.assign(y=100 + 20 * part["x"].sum()) for part in parts]).to_csv(f"{name}.csv", index=False)
        out = run(
            *("fit", "--data=SequenceFiles", "--data.train=a.csv", "--data.target=regression", "--device=cpu"),
            *("--model.regression_loss=huber", "--trainer.max_epochs=6", *SILENT),
        )
    return folder, out


def test_results_are_in_original_units(trained, monkeypatch):
    folder, out = trained
    monkeypatch.chdir(folder)
    assert "              loss       mae      rmse\n" in out
    assert "baselines (val), RMSE (MAE): mean " in out
    tested = run("test", "--ckpt_path=runs/a-GRUCell", "--data.test=b.csv", *SILENT)
    run("predict", "--ckpt_path=runs/a-GRUCell", "--data.predict=b.csv", *SILENT)
    with open("predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "prediction", "label"]
    true = pd.read_csv("b.csv").groupby("id", sort=False)["y"].first()
    found = np.array([[float(row["label"]), float(row["prediction"])] for row in rows]).T
    assert found[0] == pytest.approx(true.to_numpy())
    expected = [function(*found) for function in (mean_absolute_error, root_mean_squared_error, r2_score)]
    [line] = [line.split() for line in tested.splitlines() if line.startswith("test ") and "csv" not in line]
    assert [float(number) for number in line[2:]] == pytest.approx(expected, abs=2e-3)
    [events] = Path("runs").glob("*/*/test*/events*")
    tags = EventAccumulator(str(events)).Reload().Tags()
    assert "test_figures/predicted" in tags["images"]
    assert {"test/mae", "test/rmse", "test/r2"} <= {*tags["scalars"]}
    [path] = Path("runs").glob("*/*/checkpoints/last.ckpt")
    model, data = seqlight.load(path), seqlight.load_data(path, predict="b.csv")
    batch = data.encode([part["x"].to_numpy()[:, None] for _, part in pd.read_csv("b.csv").groupby("id", sort=False)])
    numbers = model.predictions(batch.inputs, batch.lengths)[:, 0].tolist()
    assert numbers == pytest.approx(found[1].tolist(), rel=1e-5)


def test_scale_follows_from_the_data(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    status, _, err = seqlight_run("fit", "--data=SequenceFiles", "--data.train=a.csv", "--model.target_scale=[1]")
    assert status == 2
    assert "--model.target_scale follows from the data" in err
