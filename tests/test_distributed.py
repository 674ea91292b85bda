import subprocess
import sys
from collections import Counter

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MODULE = '''
from dataclasses import dataclass
from pathlib import Path

import torch
from seqlight import Batch, SequenceClassifier, SequenceTask
from torch.nn import functional


@dataclass(frozen=True)
class Numbered(SequenceTask):
    """Sequences that carry their own number."""

    input_size = 1

    def sample(self, num_samples, rng):
        numbers = torch.arange(num_samples, dtype=torch.float32)
        inputs = numbers[:, None, None].expand(-1, 3, 1)
        return Batch(inputs, (numbers % 2), torch.full((num_samples,), 3))


class Recorder(SequenceClassifier):
    """Writes down which sequences this process has seen, their losses and answers, and its threads."""

    def note(self, name, *values):
        with Path(f"{name}-{self.current_epoch}-{self.global_rank}.txt").open("a") as file:
            print(*values, file=file)

    def on_train_start(self):
        super().on_train_start()
        self.note("threads", torch.get_num_threads())

    def training_step(self, batch, batch_idx):
        self.note("train", *batch.inputs[:, 0, 0].int().tolist())
        with torch.no_grad():
            probabilities = self(batch.inputs, batch.lengths).double().sigmoid()
        losses = functional.binary_cross_entropy(probabilities, batch.targets.double(), reduction="none")
        self.note("loss", *losses.tolist())
        self.note("accuracy", *((probabilities > 0.5) == (batch.targets == 1)).int().tolist())
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.note("val", *batch.inputs[:, 0, 0].int().tolist())
        return super().validation_step(batch, batch_idx)
'''


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo over loopback is not set up there")
# 97 = 3 steps of 2 * 16 and a rest of 1, which two processes can't share: it joins the step before.
SIZES = {"train": 97, "val": 45}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder and the output of a run of two epochs in two processes."""
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "numbered.py").write_text(MODULE)
    command = [sys.executable, "-m", "seqlight", "fit", "--model=numbered.Recorder", "--data.task=numbered.Numbered"]
    command += [f"--data.num_{split}={size}" for split, size in SIZES.items()]
    command += ["--data.batch_size=16", "--trainer.max_epochs=2", "--trainer.strategy=ddp", "--trainer.devices=2"]
    command += ["--device=cpu", "--num_threads=2", "--trainer.enable_progress_bar=false"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def noted(folder, name, epoch, rank):
    lines = (folder / f"{name}-{epoch}-{rank}.txt").read_text().splitlines()
    return [[float(value) for value in line.split()] for line in lines]


def test_rank_0_alone_speaks(run):
    _, out = run
    assert "best checkpoint" in out
    assert out.count("accuracy") == 1


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("stage", SIZES)
def test_two_processes_see_every_sample_exactly_once_per_epoch(stage, epoch, run):
    ranks = [noted(run[0], stage, epoch, rank) for rank in (0, 1)]
    assert len(ranks[0]) == len(ranks[1])
    assert Counter(number for steps in ranks for step in steps for number in step) == Counter(range(SIZES[stage]))


@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_training_results_are_means_over_all_samples(name, run):
    folder, out = run
    means = []
    for epoch in (0, 1):
        values = [value for rank in (0, 1) for step in noted(folder, name, epoch, rank) for value in step]
        assert len(values) == SIZES["train"]
        means.append(sum(values) / len(values))
    # The table tells of the last epoch; the curve has a point for each, of 3 steps.
    [row] = [line.split() for line in out.splitlines() if line.startswith("train")]
    assert float(row[1 if name == "loss" else 2]) == pytest.approx(means[1], abs=5e-5)
    events = EventAccumulator(str(folder / "runs" / "Numbered-LSTMCell" / "version_0")).Reload()
    points = events.Scalars(f"train/{name}")
    assert [point.step for point in points] == [3, 6]
    assert [point.value for point in points] == pytest.approx(means, rel=1e-4)


def test_each_process_has_the_threads_that_were_asked_for(run):
    assert [noted(run[0], "threads", 0, rank) for rank in (0, 1)] == [[[2]], [[2]]]
