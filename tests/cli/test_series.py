"""`fit --folds` and `fit --ensemble`: several runs in one command."""

import contextlib
import csv
import json
import os
import signal
import statistics
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

import seqlight
from seqlight.training.ensemble import SequenceEnsemble
from tests.cli.commands import run
from tests.conftest import seqlight_run
from tests.data.test_files import write_table
from tests.processes import Command

pytestmark = pytest.mark.usefixtures("command_line_state")
FILES = ("--data=SequenceFiles", "--data.train=a.csv", "--data.batch_size=8", "--device=cpu")
SMALL = ("--model.cell=gru", "--model.cell.hidden_size=4", "--figures.every_n_epochs=0", "--trainer.max_epochs=2")
FIT = ("fit", *FILES, *SMALL, "--trainer.enable_progress_bar=false")
WITH_TEST = (*FIT, "--data.test=b.csv")

# Ends the process once, at a step of a run: `EVENTS=SIGKILL@fold_2-3`.
EVENTS = """
import os, signal
from pathlib import Path
import lightning.pytorch as pl

class Events(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        for event in os.environ.get("EVENTS", "").split():
            name, place = event.split("@")
            flag = Path(f"event-{event}")
            if place == f"{Path(trainer.log_dir).name}-{trainer.global_step}" and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), getattr(signal, name))
"""


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def assert_equal_weights(one, other):
    torch.testing.assert_close(weights(one), weights(other), rtol=0, atol=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of three folds, one of two members, and their outputs."""
    folder = tmp_path_factory.mktemp("series")
    with contextlib.chdir(folder):
        frame = write_table(folder / "a.csv", 30, 0)
        write_table(folder / "b.csv", 20, 1)
        frame.assign(subject=frame["id"].str[1:].astype(int) // 6).to_csv("groups.csv", index=False)
        folds = run(*WITH_TEST, "--folds=3", "--name=folds")
        members = run(*WITH_TEST, "--ensemble=2", "--seed=3", "--name=joined")
    return folder, folds, members


@pytest.fixture
def folder(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    return trained[0]


def predictions(path="runs/folds/version_0/predictions.csv"):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_each_sequence_is_predicted_by_the_fold_that_did_not_train_on_it(folder):
    rows = predictions()
    assert sorted(row["id"] for row in rows) == sorted(f"s{number}" for number in range(30))
    for fold in (1, 2, 3):
        path = f"runs/folds/version_0/fold_{fold}/checkpoints/last.ckpt"
        data = seqlight.load_data(path)
        assert data.hparams["fold"] == f"{fold}/3"
        mine = [row for row in rows if row["fold"] == str(fold)]
        assert [row["id"] for row in mine] == list(data.sample_ids("val"))
        split = data.split("val")
        batch = split.take(rows_of := torch.arange(len(mine)), rows_of)
        found = torch.tensor([float(row["probability_dog"]) for row in mine])
        expected = seqlight.load(path).probabilities(batch.inputs, batch.lengths)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_results_are_scikit_learns_of_each_fold(folder):
    results = json.loads(Path("runs/folds/version_0/folds.json").read_text())
    rows = predictions()
    found = {"accuracy": [], "auroc": [], "f1": [], "majority": []}
    for number, fold in enumerate(results["folds"], 1):
        mine = [row for row in rows if row["fold"] == str(number)]
        truth, predicted = ([row[name] == "dog" for row in mine] for name in ("label", "prediction"))
        scores = [float(row["probability_dog"]) for row in mine]
        expected = {
            "sequences": len(mine),
            "accuracy": accuracy_score(truth, predicted),
            "auroc": roc_auc_score(truth, scores),
            "f1": f1_score(truth, predicted),
            "majority": 0.5,
        }
        assert {name: fold["val"][name] for name in expected} == pytest.approx(expected, abs=1e-6)
        assert fold["checkpoint"] == f"fold_{number}/checkpoints/last.ckpt"
        assert fold["test"]["sequences"] == 20
        for name, values in found.items():
            values.append(fold["val"][name])
    for name, values in found.items():
        assert results["val_mean"][name] == pytest.approx(statistics.mean(values))
        assert results["val_std"][name] == pytest.approx(statistics.stdev(values))


def test_table_has_the_results_in_80_columns(trained, folder):
    results = json.loads(Path("runs/folds/version_0/folds.json").read_text())
    lines = trained[1].splitlines()
    place = lines.index("val             sequences   accuracy      auroc         f1   majority")
    table = lines[place : lines.index("", place)]
    assert [line[:14].strip() for line in table] == ["val", "fold 1", "fold 2", "fold 3", "mean", "std (n - 1)"]
    for line, number in zip(table[1:4], range(3), strict=True):
        scores = results["folds"][number]["val"]
        shown = [f"{scores[name]:.4f}" for name in ("accuracy", "auroc", "f1", "majority")]
        assert line.split()[2:] == [str(scores["sequences"]), *shown]
    assert table[4].split()[1:] == [
        f"{results['val_mean'][name]:.4f}" for name in ("accuracy", "auroc", "f1", "majority")
    ]
    assert any(line.startswith("test   ") for line in lines)
    assert all(len(line) <= 80 for line in lines[place - 1 :])
    assert trained[1].count("sequence id in column") == 1


@pytest.mark.parametrize(
    ("flag", "part"), [("--data.fold=2/3", "folds/version_0/fold_2"), ("--seed=4", "joined/version_0/member_2")]
)
def test_part_is_the_run_that_a_single_command_trains(folder, flag, part):
    run(*WITH_TEST, flag, "--name=single", "--fresh")
    newest = max(Path("runs/single").glob("version_*"), key=lambda path: path.stat().st_mtime)
    assert_equal_weights(newest / "checkpoints" / "last.ckpt", f"runs/{part}/checkpoints/last.ckpt")
    assert list(Path(f"runs/{part}").glob("events.out.tfevents.*"))
    config = Path(f"runs/{part}/config.yaml").read_text()
    assert "folds: null" in config
    assert "ensemble: null" in config


def test_ensemble_is_used_like_any_checkpoint(trained, folder):
    path = "runs/joined/version_0/checkpoints/ensemble.ckpt"
    assert f"checkpoint   {path}" in trained[2]
    ensemble, data = seqlight.load(path), seqlight.load_data(path, predict="b.csv")
    members = [seqlight.load(f"runs/joined/version_0/member_{number}/checkpoints/last.ckpt") for number in (1, 2)]
    assert isinstance(ensemble, SequenceEnsemble)
    batch = data.encode([[[0.0, 1.0], [2.0, 1.0]], [[3.0, 1.0]]])
    mean = torch.stack([member.probabilities(batch.inputs, batch.lengths) for member in members]).mean(0)
    torch.testing.assert_close(ensemble.probabilities(batch.inputs, batch.lengths), mean)
    status, out, err = seqlight_run(
        "test", "--ckpt_path=runs/joined", "--device=cpu", "--trainer.enable_progress_bar=false"
    )
    assert (status, err) == (0, f"seqlight: --ckpt_path runs/joined: {path}\n")
    results = json.loads(Path("runs/joined/version_0/ensemble.json").read_text())["test"]
    accuracies = [each["accuracy"] for each in (*results["members"], results["ensemble"])]
    for name, accuracy in zip(("member 1", "member 2", "ensemble"), accuracies, strict=True):
        [line] = [line for line in out.splitlines() if line.startswith(name)]
        assert line.split()[-3] == f"{accuracy:.4f}"
        assert name in trained[2]
    run("predict", "--ckpt_path=runs/joined", "--data.predict=b.csv", "--output=joined.csv", "--device=cpu", "--quiet")
    rows = predictions("joined.csv")
    assert sum(row["prediction"] == row["label"] for row in rows) / 20 == pytest.approx(accuracies[-1])
    assert list(Path("runs/joined/version_0/test").glob("events.*"))


def test_ensemble_of_a_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = [f"--data.num_{split}=16" for split in ("train", "val", "test")]
    run(
        "fit", *sizes, "--ensemble=2", "--trainer.max_epochs=1", "--device=cpu", "--quiet", "--figures.every_n_epochs=0"
    )
    assert "ensemble" in run("validate", "--ckpt_path=runs/SumSign-LSTMCell", "--device=cpu", "--quiet")


def test_labels_of_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = write_table(tmp_path / "a.csv", 12, 0)
    frame.assign(label=(frame["x0"] > 3).map({True: "cat", False: "dog"})).to_csv("a.csv", index=False)
    for flag in ("--folds=2", "--ensemble=2"):
        assert "accuracy" in run(*FIT, flag, "--data.label_per=step", f"--name=steps{flag[2:-2]}", "--quiet")
    rows = predictions("runs/stepsfolds/version_0/predictions.csv")
    assert [sorted(row[name] for row in rows) for name in ("id", "label")] == [
        sorted(frame["id"]),
        sorted((frame["x0"] > 3).map({True: "cat", False: "dog"})),
    ]
    path = "runs/stepsensemble/version_0/checkpoints/ensemble.ckpt"
    assert seqlight.load(path).label_per == "step"
    run("predict", f"--ckpt_path={path}", "--data.predict=a.csv", "--device=cpu", "--quiet")
    assert len(predictions("predictions.csv")) == len(frame)


@pytest.mark.parametrize(("flag", "name"), [("--folds=3", "fold"), ("--ensemble=3", "member")])
def test_series_that_is_stopped_continues_exactly(tmp_path, flag, name):
    outputs = {}
    events = {"whole": [""], "stopped": [f"SIGKILL@{name}_2-3", f"SIGINT@{name}_3-2", ""]}
    for kind, each in events.items():
        folder = tmp_path / kind
        folder.mkdir()
        write_table(folder / "a.csv", 30, 0)
        (folder / "events.py").write_text(EVENTS)
        for event in each:
            command = Command(
                folder,
                *(*FIT, flag, "--import=events", "--trainer.callbacks+=events.Events", "--resume.every_n_steps=1"),
                environment={"EVENTS": event},
            )
            status, out, err = command.wait()
            expected = {"SIGKILL": -signal.SIGKILL, "SIGINT": 128 + signal.SIGINT, "": 0}[event.partition("@")[0]]
            assert status == expected, err
        outputs[kind] = out
    assert f"{name}_3 continues from step 2" in outputs["stopped"]
    assert f"{name} 1 of 3" not in outputs["stopped"]
    whole, stopped = (tmp_path / kind / "runs" / "a-GRUCell" for kind in events)
    assert [path.name for path in stopped.glob("version_*")] == ["version_0"]
    for number in (1, 2, 3):
        path = f"version_0/{name}_{number}/checkpoints/last.ckpt"
        assert_equal_weights(whole / path, stopped / path)
    file = {"fold": "folds.json", "member": "ensemble.json"}[name]
    assert (whole / "version_0" / file).read_text() == (stopped / "version_0" / file).read_text()


def test_only_evaluation_is_left(folder):
    """The command was killed after the last training, before the end."""
    path = Path("runs/folds/version_0")
    before = (path / "predictions.csv").read_bytes(), (path / "folds.json").read_bytes()
    for name in ("predictions.csv", "folds.json", "fold_3/results.json", "fold_3/predictions.csv"):
        (path / name).unlink()
    state = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**state, "finished": False}))
    out = run(*WITH_TEST, "--folds=3", "--name=folds")
    assert "Epoch" not in out
    assert ((path / "predictions.csv").read_bytes(), (path / "folds.json").read_bytes()) == before
    assert [path.name for path in Path("runs/folds").glob("version_*")] == ["version_0"]


GROUPED = ("fit", "--data=SequenceFiles", "--data.train=groups.csv", "--data.group_column=subject", "--device=cpu")
REFUSALS = [
    (("fit", "--folds=3"), "--folds: SyntheticSequences has no folds: give files, by --data SequenceFiles"),
    ((*FIT, "--folds=3", "--data.fold=2/3"), "--folds trains one fold after the other: leave out --data.fold 2/3"),
    ((*FIT, "--folds=3", "--data.val=b.csv"), "--folds takes validation sequences from the training file: leave out"),
    (
        (*FIT, "--folds=3", "--data.time_split=7"),
        "--folds divides the sequences at random: leave out --data.time_split",
    ),
    ((*FIT, "--folds=31"), "--folds 31: expected at most the number of sequences, 30"),
    ((*GROUPED, "--folds=6"), "groups.csv: expected at least 6 groups in 'subject', got 5"),
    ((*FIT, "--folds=1"), "--folds must be at least 2, got 1"),
    ((*FIT, "--ensemble=0"), "--ensemble must be at least 2, got 0"),
    ((*FIT, "--folds=3", "--ensemble=3"), "--folds and --ensemble exclude each other"),
    ((*FIT, "--ensemble=3", "--ckpt_path=last"), "--ensemble trains from the beginning, or continues its own runs"),
    ((*FIT, "--ensemble=3", "--trainer.fast_dev_run=true"), "--ensemble needs checkpoints: leave out"),
    ((*FIT, "--folds=3", "--trainer.devices=2"), "--folds trains in one process, got 2: give --trainer.devices 1"),
    (("fit", "--ckpt_path=runs/joined"), "ensemble.ckpt holds weights only: training can't continue from it"),
    (
        ("test", "--ckpt_path=runs/folds"),
        "this folder has the runs of several folds; name one, as runs/folds/version_0",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "message"), REFUSALS, ids=lambda value: value[0] if isinstance(value, tuple) else ""
)
def test_contradictions_are_refused_before_training(folder, arguments, message):
    before = sorted(os.walk("runs"))
    status, _, err = seqlight_run(*arguments)
    assert (status, "seqlight: error: " in err, message in err) == (2, True, True)
    assert sorted(os.walk("runs")) == before


def test_member_that_diverges_is_named_and_not_left_out(folder):
    flags = ("--model.learning_rate=1e30", "--model.cell=ElmanCell", "--model.cell.nonlinearity=relu", "--name=boom")
    status, out, err = seqlight_run(*FIT, *flags, "--trainer.gradient_clip_val=null", "--ensemble=2", "--quiet")
    assert (status, out) == (4, "")
    assert err.startswith("seqlight: error: member 1 of 2 (seed 0): ")
    assert not list(Path("runs/boom").glob("version_*/checkpoints/ensemble.ckpt"))
