"""Baselines beside the results of fit, validate and test, and the advice for a network that does not beat them."""

import re
from pathlib import Path

import numpy as np
import pytest

from seqlight import Baselines, Majority, Parity, SequenceFiles, SumSign, SyntheticSequences, Tomita
from seqlight.cli.baselines import WIDTH, describe, judge
from seqlight.data.baselines import MeasuredBaselines
from tests.cli.commands import QUIET, forget, run
from tests.data.test_files import write_lines, write_table

NUMBERS = ("--data.num_train=200", "--data.num_val=100", "--data.num_test=100")
FLAGS = (*QUIET, "--device=cpu", "--model.cell.hidden_size=4")
CHANCE = ("--model.learning_rate=1e-9", "--trainer.max_epochs=1")
BEST = "--ckpt_path=runs/Parity-LSTMCell"
ACCURACIES = r"majority (\d\.\d{4}), last step (\d\.\d{4}), bag of steps (\d\.\d{4})"


def below_table(out, split):
    """The three accuracies of the baselines of a split, and the remarks on one line.

    They must follow the table without an empty line, and fit into a terminal.
    """
    lines = out.splitlines()
    [first] = [number for number, line in enumerate(lines) if line.startswith(f"baselines ({split}): ")]
    assert split in [line.split()[0] for line in lines[:first] if line.strip()]
    last = lines.index("", first) if "" in lines[first:] else len(lines)
    assert all(len(line) <= WIDTH for line in lines[first:last])
    text = " ".join(lines[first:last])
    found = re.match(rf"baselines \({split}\): {ACCURACIES} ?(.*)$", text)
    return [float(value) for value in found.groups()[:3]], found[4]


@pytest.fixture(scope="module")
def at_chance(tmp_path_factory):
    """The runs folder, and the output, of a network that learns nothing."""
    folder = tmp_path_factory.mktemp("chance")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, run("fit", "--data.task=Parity", *NUMBERS, *FLAGS, *CHANCE)


def test_network_at_chance_gets_advice(at_chance):
    accuracies, remarks = below_table(at_chance[1], "val")
    assert accuracies == pytest.approx([0.5, 0.5, 0.5], abs=0.15)
    assert re.match("not clearly better than .*: .*try more data ", remarks)
    for flag in ("--data.num_train", "--trainer.max_epochs", "--data.task.min_length, .max_length", "--model.cell"):
        assert flag in remarks


@pytest.mark.parametrize(("command", "split"), [("validate", "val"), ("test", "test")])
def test_validate_and_test_have_baselines_too(command, split, at_chance, monkeypatch):
    monkeypatch.chdir(at_chance[0])
    accuracies, remarks = below_table(run(command, BEST, *QUIET[:1], "--device=cpu"), split)
    if split == "val":
        assert accuracies == below_table(at_chance[1], "val")[0]
    assert accuracies == pytest.approx([0.5, 0.5, 0.5], abs=0.15)
    assert "try more data" in remarks


@pytest.mark.usefixtures("user_folder")
def test_network_that_learns_gets_none():
    out = run(
        "fit", "--data.task=Parity", "--data.task.max_length=4", *NUMBERS, *FLAGS[:-1], "--model.learning_rate=0.03"
    )
    assert float(re.search(r"^val +\S+ +(\S+)", out, re.M)[1]) > 0.9
    assert below_table(out, "val")[1] == ""


@pytest.mark.usefixtures("user_folder")
def test_default_task_says_that_adding_up_solves_it():
    out = run("fit", *NUMBERS, *FLAGS[:-1], "--trainer.max_epochs=3")
    accuracies, remarks = below_table(out, "val")
    assert accuracies[2] > 0.95
    assert remarks.startswith("SumSign is solved by adding up: no network beats the bag of steps; more epochs")


@pytest.mark.usefixtures("user_folder")
def test_evaluation_uses_the_limited_batches():
    out = run("fit", *NUMBERS, *FLAGS, *CHANCE, "--trainer.limit_val_batches=1", "--data.batch_size=10")
    accuracies, _ = below_table(out, "val")
    assert all(round(10 * value, 6).is_integer() for value in accuracies)


@pytest.mark.usefixtures("user_folder")
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")
def test_training_without_validation_is_compared_on_the_training_data():
    out = run("fit", *NUMBERS, *FLAGS, *CHANCE, "--trainer.limit_val_batches=0")
    assert below_table(out, "train")[0][2] > 0.95


@pytest.mark.usefixtures("user_folder")
@pytest.mark.parametrize("flag", ["--trainer.fast_dev_run=true", "--trainer.overfit_batches=1"])
@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_runs_that_try_the_code_have_none(flag):
    assert "baselines" not in run("fit", *NUMBERS, *FLAGS, *CHANCE, flag)


def multilabel(folder):
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(120):
        tokens = rng.choice(list("abcd"), rng.integers(2, 9)).tolist()
        lines.append({"inputs": tokens, "label": [each for each in "ab" if each in tokens]})
    return write_lines(folder / "own.jsonl", lines)


def own_table(folder):
    write_table(folder / "own.csv", num_sequences=120, labels=("cat", "cat", "cat", "dog", "owl"))
    return folder / "own.csv"


@pytest.mark.parametrize(("write", "majority", "bag"), [(multilabel, 0.7, 0.9), (own_table, 0.6, 0.5)])
def test_files_have_baselines(write, majority, bag, user_folder):
    path = write(user_folder)
    data = ("--data=SequenceFiles", f"--data.train={path.name}", f"--data.test={path.name}")
    out = run("fit", *data, *FLAGS, *CHANCE)
    accuracies, remarks = below_table(out, "val")
    assert accuracies[0] == pytest.approx(majority, abs=0.15)
    assert accuracies[2] >= bag
    assert re.search(
        r"(not clearly better|worse) than .*try more data, more epochs \(--trainer.max_epochs\), shorter ", remarks
    )
    checkpoint = f"--ckpt_path=runs/{path.stem}-GRUCell"
    tested = run("test", checkpoint, *QUIET[:1])
    assert below_table(tested, "test")[0][2] >= bag
    path.rename(user_folder / f"moved{path.suffix}")
    out = run("test", checkpoint, f"--data.test=moved{path.suffix}", *QUIET[:1])
    text = " ".join(out[out.index("baselines (") :].split())
    assert text.startswith(f"baselines (test): not measured, because the data can't be used: {path.name}: there is no")


@pytest.mark.usefixtures("user_folder")
def test_class_weights_have_no_advice(user_folder):
    path = own_table(user_folder)
    flags = ("--data=SequenceFiles", f"--data.train={path.name}", "--data.class_weights=balanced")
    assert below_table(run("fit", *flags, *FLAGS, *CHANCE), "val")[1] == ""


OWN = """
from seqlight import Batch, SequenceClassifier, SequenceDataModule, SyntheticSequences, Parity
import torch


class Own(SequenceDataModule):
    def __init__(self, batch_size: int = 10, seed: int = 0, only_test: bool = False):
        super().__init__(batch_size, seed)
        self.input_size, self.vocab_size, self.target, self.num_outputs = 1, None, "multiclass", 3
        self.only_test = only_test

    def split(self, split):
        if self.only_test and split == "train":
            raise KeyError("no training data here")
        size = {"train": 60, "val": 30, "test": 30, "predict": 30}[split]
        targets = torch.arange(size) % 3
        return Batch(torch.ones(size, 4, 1) * targets[:, None, None], targets, torch.full((size,), 4))


class Bare(SequenceClassifier):
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self(batch.inputs, batch.lengths).sum())

    def on_validation_epoch_end(self):
        pass
"""


def test_own_data_and_models(user_folder):
    (user_folder / "owndata.py").write_text(OWN)
    try:
        out = run("fit", "--data=owndata.Own", *FLAGS, *CHANCE)
        assert below_table(out, "val")[0] == [pytest.approx(1 / 3, abs=1e-4), 1, 1]
        tested = run("test", "--import=owndata", "--ckpt_path=runs/Own-LSTMCell", *QUIET[:1], "--data.only_test=true")
        assert re.search(r"baselines \(test\): not measured.*no\s+training\s+data\s+here", tested, re.S)
        out = run("fit", "--data=owndata.Own", "--model=owndata.Bare", *FLAGS, *CHANCE)
        assert below_table(out, "val")[1] == ""  # there is no accuracy to compare
    finally:
        forget("owndata")


def measured(majority, last, bag, num_evaluated=1000):
    known = Baselines(majority=majority, last_symbol=last, bag_of_symbols=bag)
    return MeasuredBaselines(
        known, num_train=1000, num_fitted=1000, num_split=num_evaluated, num_evaluated=num_evaluated
    )


@pytest.mark.parametrize(
    ("accuracy", "found", "remark"),
    [
        (0.52, measured(0.5, 0.5, 0.5), "not clearly better than the most frequent class: try "),
        (0.54, measured(0.5, 0.5, 0.5), None),
        (0.54, measured(0.5, 0.5, 0.5, num_evaluated=100), "not clearly better than the most frequent class: try "),
        (0.30, measured(0.5, 0.5, 0.5), "not clearly better than the most frequent class: try "),
        (
            0.80,
            measured(0.5, 0.5, 0.8),
            "not clearly better than .* bag of steps: the order of steps does not matter .*, or try",
        ),
        (
            0.80,
            measured(0.5, 0.8, 0.7),
            "not clearly better than .* last step: earlier steps do not matter here, or try",
        ),
        (0.70, measured(0.5, 0.5, 0.8), "worse than a linear model of the bag of steps: try"),
        (1.00, measured(0.5, 0.5, 1.0), "not clearly better than a linear model of the bag"),
        (0.99, measured(0.5, 0.5, 0.97), None),
        (1.00, measured(1.0, 1.0, 1.0), "the most frequent class is right for all sequences: this split can't show"),
        (0.90, measured(1.0, 1.0, 1.0), "the most frequent class is right for all sequences: this split can't show"),
    ],
)
def test_only_a_clear_difference_counts(accuracy, found, remark):
    remarks = judge(accuracy, found, SyntheticSequences(Parity()))
    assert len(remarks) == (remark is not None)
    assert all(re.match(remark, each) for each in remarks)


@pytest.mark.parametrize("task", [SumSign(), Majority(), Tomita(number=1)])
@pytest.mark.parametrize(
    ("accuracy", "first"), [(0.8, "{} is solved"), (1.0, "{} is solved"), (0.5, "not clearly better than")]
)
def test_tasks_that_are_solved_by_adding_up(task, accuracy, first):
    remarks = judge(accuracy, measured(0.5, 0.6, 1.0), SyntheticSequences(task))
    name = type(task).__name__
    assert remarks[0].startswith(first.format(name))
    fact = "no network beats the bag of steps; more epochs" if accuracy == 0.8 else "the order of steps does not matter"
    assert remarks[-1].startswith(f"{name} is solved by adding up: {fact}")


@pytest.mark.parametrize(
    ("numbers", "remark"),
    [
        ({}, ""),
        ({"num_train": 10**6, "num_fitted": 20_000}, " (fitted to 20000 of the training sequences)"),
        ({"num_split": 2000}, " (measured on 1000 sequences)"),
        (
            {"num_train": 1001, "num_split": 2000},
            " (fitted to 1000 of the training sequences, measured on 1000 sequences)",
        ),
    ],
)
def test_a_part_of_the_data_is_said(numbers, remark):
    assert describe(measured(0.5, 0.5, 0.5)._replace(**numbers), "val").endswith(f"bag of steps 0.5000{remark}")


@pytest.mark.usefixtures("user_folder")
def test_baselines_of_a_changed_split_are_measured_on_it():
    Path("changed.py").write_text(
        "from seqlight import SyntheticSequences\n\n\n"
        "class Flipped(SyntheticSequences):\n"
        "    def split(self, split):\n"
        "        batch = super().split(split)\n"
        "        return batch._replace(targets=1 - batch.targets)\n"
    )
    run("fit", *NUMBERS, *FLAGS, *CHANCE, "--data=changed.Flipped", "--data.task=SumSign", "--name=flipped")
    out = run("test", "--ckpt_path=runs/flipped", "--import=changed", *QUIET[:1], "--device=cpu")
    forget("changed")
    assert float(re.search(r"bag of steps (\S+)", out)[1]) > 0.9  # the targets of the training data are flipped too


def test_own_files_have_no_flags_of_tasks(user_folder):
    [remark] = judge(0.5, measured(0.5, 0.5, 0.5), SequenceFiles(own_table(user_folder)))
    assert "--data" not in remark
