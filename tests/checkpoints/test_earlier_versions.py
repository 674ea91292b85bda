"""Files that seqlight 0.1.0 wrote before its modules moved still work.

`tests/data/version_0_1_0` holds checkpoints and configurations of two small runs. That version printed the expected
numbers from the same files.
"""

import csv
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import seqlight
from seqlight.data.streams import STREAMS
from tests.conftest import seqlight_run

FOLDER = Path(__file__).parents[1] / "data" / "version_0_1_0"
QUIET = ("--trainer.enable_progress_bar=false", "--device=cpu")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch, command_line_state):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "num_features", "expected"),
    [("synthetic", 1, [0.5542299, 0.5539855]), ("files", 2, [0.4549156, 0.4384852])],
)
def test_checkpoint_is_loaded(name, num_features, expected):
    model = seqlight.load(f"{name}_best.ckpt")
    inputs = torch.linspace(-1, 1, 2 * 4 * num_features).reshape(2, 4, num_features)
    probabilities = model.probabilities(inputs, torch.tensor([4, 2]))
    torch.testing.assert_close(probabilities, torch.tensor(expected), rtol=0, atol=1e-6)


def test_data_module_is_loaded():
    data = seqlight.load_data("files_best.ckpt")
    assert data.class_names == ("down", "up")
    data = seqlight.load_data("synthetic_best.ckpt")
    assert data.task == seqlight.SumSign(max_length=10)
    assert data.streams == data.train_dataloader().streams == 1


def test_checkpoint_is_tested_and_predicts():
    status, out, err = seqlight_run("test", "--ckpt_path=synthetic_best.ckpt", *QUIET)
    assert status == 0, err
    assert out.splitlines()[1].split() == ["test", "0.7389", "0.3125", "0.8045", "0.4762"]
    status, _, err = seqlight_run("predict", "--ckpt_path=files_best.ckpt", "--data.predict=own.csv", *QUIET)
    assert status == 0, err
    rows = list(csv.reader(Path("predictions.csv").read_text().splitlines()))
    assert rows[0] == ["id", "probability_down", "probability_up", "prediction", "label"]
    for row, expected in zip(rows[1:], (0.4572479, 0.4339031, 0.4593057), strict=False):
        assert float(row[2]) == pytest.approx(expected, abs=1e-6)


def test_training_continues_from_a_checkpoint():
    arguments = ("--ckpt_path=synthetic_last.ckpt", "--trainer.max_epochs=3", *QUIET)
    status, out, err = seqlight_run("fit", *arguments)
    assert status == 0, err
    [path] = [line.split()[-1] for line in out.splitlines() if line.startswith("last checkpoint")]
    last = torch.load(Path(path).with_name("last.ckpt"), weights_only=True)
    assert (last["epoch"], last["global_step"]) == (2, 6)
    assert last["seqlight"]["streams"] == 1
    assert "0.6897    0.5312" in out  # as that version printed


@pytest.mark.parametrize("name", ["synthetic", "files"])
def test_configuration_trains(name):
    status, out, err = seqlight_run("fit", f"--config={name}.yaml", *QUIET)
    assert status == 0, err
    [path] = [line.split()[-1] for line in out.splitlines() if line.startswith("last checkpoint")]
    assert torch.load(path, weights_only=True)["seqlight"]["streams"] == STREAMS
    config = yaml.safe_load((Path(path).parents[1] / "config.yaml").read_text())
    # Class paths are written under the names of this version.
    profiler = config["trainer"]["profiler"]
    assert profiler["class_path"] == "seqlight.callbacks.profiler.NoProfiler"
    if name == "files":
        assert [each["class_path"] for each in config["trainer"]["callbacks"]] == ["seqlight.AccuracyByLength"]


@pytest.mark.parametrize("own", [(), ("--quiet",)])
def test_unfinished_run_continues(own):
    # As the old version left a run of three epochs after two.
    Path("saved_runs").rename("runs")
    sizes = ("--data.num_train=64", "--data.num_val=32", "--data.num_test=32", "--trainer.max_epochs=3")
    cell = ("--model.cell=GRUCell", "--model.cell.hidden_size=4")
    status, out, err = seqlight_run("fit", *cell, *sizes, "--name=unfinished", *own, *QUIET)
    assert status == 0, err
    assert "version_0 continues from step 4" in out
    assert "0.6890    0.5312" in out  # the losses and accuracies of that version, with its samples and order
    assert "0.6711    0.6250" in out
    last = torch.load("runs/unfinished/version_0/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 6
    assert last["seqlight"]["streams"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model=seqlight.classifier.SequenceClassifier", "--data.task", "seqlight.data.tasks.parity.Parity"),
        ("--config=old.yaml",),
    ],
)
def test_class_paths_of_earlier_modules(arguments):
    Path("old.yaml").write_text(
        """trainer:
  logger: {class_path: seqlight.loggers.CurvesLogger, init_args: {save_dir: logs}}
  callbacks: [{class_path: seqlight.lean.TimedProgressBar}]
data: {class_path: SyntheticSequences, init_args: {task: {class_path: seqlight.data.tasks.parity.Parity}}}
"""
    )
    sizes = ("--data.num_train=8", "--data.num_val=8", "--data.num_test=8", "--trainer.max_epochs=1", "--device=cpu")
    status, _, err = seqlight_run("fit", *arguments, *sizes)
    assert status == 0, err
    assert seqlight.load(next(Path().rglob("last.ckpt"))).hparams["vocab_size"] == 2
