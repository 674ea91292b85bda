"""Commands with files that have missing values."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch

import seqlight
from tests.cli.commands import run
from tests.conftest import seqlight_run
from tests.data.test_missing import expected, frame_of

pytestmark = pytest.mark.usefixtures("command_line_state")
RUN = "runs/a-GRUCell/version_0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data files and a run on them, and the run's output."""
    folder = tmp_path_factory.mktemp("missing")
    with contextlib.chdir(folder):
        frame_of().to_csv("a.csv", index=False)
        frame_of(seed=1).to_csv("b.csv", index=False)
        frame_of(seed=2).drop(columns="label").to_parquet("c.parquet")
        options = ("--data.train=a.csv", "--data.val=b.csv", "--data.test=b.csv", "--data.missing=mask")
        out = run("fit", "--data=SequenceFiles", *options, "--trainer.max_epochs=1", "--device=cpu")
    return folder, out


def test_report_counts_missing_values(trained):
    folder, out = trained
    frame = pd.read_csv(folder / "a.csv")
    assert f"a.csv: missing values in {len(frame)} steps: 'x' {frame.x.isna().sum()}\n" in out
    assert "inputs: 2 features, standardised, and 2 added channels" in out


def test_predictions_are_those_of_the_model_on_filled_sequences(trained, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(folder)
    run("predict", "--ckpt_path", RUN, "--data.predict=c.parquet")
    train, new = pd.read_csv("a.csv"), pd.read_parquet("c.parquet")
    inputs = np.split(expected(new, train).astype(np.float32), np.flatnonzero(np.diff(new.id.factorize()[0])) + 1)
    path = f"{RUN}/checkpoints/last.ckpt"
    model, data = seqlight.load(path), seqlight.load_data(path, predict="c.parquet")
    probabilities = [float(model.probabilities(torch.from_numpy(each)[None])) for each in inputs]
    np.testing.assert_allclose(pd.read_csv("predictions.csv")["probability_up"], probabilities, atol=1e-5)
    np.testing.assert_allclose(data.split("predict").values, np.concatenate(inputs), atol=1e-5)


def test_message_names_the_flag(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    status, _, err = seqlight_run("fit", "--data=SequenceFiles", "--data.train=a.csv")
    assert status == 2
    assert "column 'x': expected a number, got an empty cell." in err
    assert "If values may be missing: --data.missing mask" in err
