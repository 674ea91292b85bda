"""Training and tests in two processes give the results of one."""

import re
import socket
import subprocess
import sys
from collections import Counter

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqlight.common.processes import global_rank
from tests.processes import Command

MODULE = '''
from dataclasses import dataclass
from pathlib import Path

import torch
from seqlight import Batch, SequenceClassifier, SequenceTask
from torch.nn import functional


@dataclass(frozen=True)
class Numbered(SequenceTask):
    """Sequences that contain their own number."""

    input_size = 1

    def sample(self, num_samples, rng):
        numbers = torch.arange(num_samples, dtype=torch.float32)
        inputs = numbers[:, None, None].expand(-1, 3, 1)
        return Batch(inputs, (numbers % 2), torch.full((num_samples,), 3))


@dataclass(frozen=True)
class Ragged(SequenceTask):
    """The sign of the sum of sequences of unequal length; one is much longer than all others."""

    input_size = 1

    def sample(self, num_samples, rng):
        lengths = torch.from_numpy(rng.integers(2, 9, num_samples))
        lengths[70] = 21
        inputs = torch.from_numpy(rng.standard_normal((num_samples, 21, 1), dtype="float32"))
        inputs *= torch.arange(21)[None, :, None] < lengths[:, None, None]
        return Batch(inputs, (inputs.sum((1, 2)) > 0).float(), lengths)


class Recorder(SequenceClassifier):
    """Record the sequences that this process sees, their losses and correctness, class names, and threads."""

    def note(self, name, *values):
        with Path(f"{name}-{self.current_epoch}-{self.global_rank}.txt").open("a") as file:
            print(*values, file=file)

    def on_train_start(self):
        super().on_train_start()
        self.note("threads", torch.get_num_threads())
        self.note("classes", self.trainer.datamodule.class_names)

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
# 97 = 3 steps of 2 * 16, and 1 more sequence. Two processes can't share it, so it joins the last step.
SIZES = {"train": 97, "val": 45}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder and the output of two epochs in two processes, with a new interpreter for each."""
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


def test_only_rank_0_prints(run):
    _, out = run
    assert "checkpoint  " in out
    assert out.count("accuracy") == 1


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("stage", SIZES)
def test_two_processes_see_every_sample_once_per_epoch(stage, epoch, run):
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
    # The table shows the last epoch; the curve has a point for each epoch of 3 steps.
    [row] = [line.split() for line in out.splitlines() if line.startswith("train")]
    assert float(row[1 if name == "loss" else 2]) == pytest.approx(means[1], abs=5e-5)
    events = EventAccumulator(str(folder / "runs" / "Numbered-LSTMCell" / "version_0")).Reload()
    points = events.Scalars(f"train/{name}")
    assert [point.step for point in points] == [3, 6]
    assert [point.value for point in points] == pytest.approx(means, rel=1e-4)


def test_each_process_uses_the_requested_threads(run):
    assert [noted(run[0], "threads", 0, rank) for rank in (0, 1)] == [[[2]], [[2]]]


# 101 = 3 steps of 2 * 16, and 5 more sequences: 2 for one process and 3 for the other.
RAGGED = {"--data.num_train": 101, "--data.num_val": 45, "--data.num_test": 77, "--trainer.max_epochs": 3}
LEARNED = ("--model.threshold=f1", "--model.temperature_scaling=true")
SAME = ("--device=cpu", "--trainer.enable_progress_bar=false", "--num_threads=1", "--import=numbered")


def torchrun(folder, *arguments, **environment):
    """Exit status, standard output and standard error of a command in two processes that torchrun starts."""
    return Command(folder, *arguments, launcher="torchrun", environment=environment).wait()


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The folder and the outputs of training and test, in two processes and in one, with the same steps."""
    folder = tmp_path_factory.mktemp("torchrun")
    (folder / "numbered.py").write_text(MODULE)
    fit = ["fit", *SAME, "--data.task=Ragged", *(f"{name}={value}" for name, value in RAGGED.items())]
    fit += LEARNED
    test = ["test", *SAME, "--ckpt_path=runs/two/version_0/checkpoints/last.ckpt"]
    outputs = {}
    for name, launcher, batch_sizes in (("two", "torchrun", (16, 16)), ("one", None, (32, 77))):
        for arguments, batch_size in zip(([*fit, f"--name={name}"], test), batch_sizes, strict=True):
            status, out, err = Command(folder, *arguments, f"--data.batch_size={batch_size}", launcher=launcher).wait()
            assert status == 0, err
            outputs.setdefault(name, []).append(out)
    return folder, outputs


def test_two_processes_train_the_same_weights_as_one(launched):
    one, two = (
        torch.load(launched[0] / "runs" / name / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("one", "two")
    )
    assert one["global_step"] == two["global_step"] == 12
    assert {"calibration.f1_threshold", "calibration.temperature"} <= one["state_dict"].keys()
    assert one["state_dict"]["calibration.num_sequences"] == 45
    torch.testing.assert_close(two["state_dict"], one["state_dict"], rtol=0, atol=2e-5)


def test_two_processes_have_the_curves_of_one(launched):
    events = {
        name: EventAccumulator(str(launched[0] / "runs" / name / "version_0")).Reload() for name in ("one", "two")
    }
    tags = events["one"].Tags()["scalars"]
    assert {"train/loss", "train/gradient_norm", "val/loss", "val/auroc", "val/calibration_error"} <= set(tags)
    assert set(events["two"].Tags()["scalars"]) == set(tags)
    for tag in tags:
        one, two = ([(point.step, point.value) for point in events[name].Scalars(tag)] for name in ("one", "two"))
        assert [step for step, _ in two] == [step for step, _ in one]
        assert [value for _, value in two] == pytest.approx([value for _, value in one], rel=1e-4)


def test_two_processes_write_one_set_of_files(launched):
    folder = launched[0] / "runs"
    files = {
        name: sorted(
            re.sub(r"tfevents.*", "tfevents", str(path.relative_to(folder / name)))
            for path in (folder / name).rglob("*")
            if path.is_file() and not path.parent.name.startswith("test")
        )
        for name in ("one", "two")
    }
    assert files["two"] == files["one"]
    assert sorted(path.name for path in (folder / "two").iterdir()) == ["lock", "version_0"]
    # Both tests, in two processes and in one, are of the checkpoint that two processes trained.
    for name in ("test", "test_2"):
        assert len(list((folder / "two" / "version_0" / name).glob("events*"))) == 1


def test_two_processes_print_the_tables_of_one(launched):
    _, outputs = launched
    one, two = ([out.splitlines() for out in outputs[name]] for name in ("one", "two"))
    tables = [[line for line in lines if re.match(r"\s+loss|train |val ", line)] for lines in (one[0], two[0])]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 3
    # Only one rank has the longest sequence of the test split.
    assert two[1] == one[1]
    assert two[1][-1].split()[0] == "20-21"


def test_two_launchers_on_one_file_system_write_one_run(launched, tmp_path):
    """Lightning's own launcher on two machines: `NODE_RANK` is all that the second one knows."""
    (tmp_path / "numbered.py").write_text(MODULE)
    flags = ["fit", *SAME, "--data.task=Ragged", *(f"{name}={value}" for name, value in RAGGED.items())]
    flags += [*LEARNED, "--name=two", "--data.batch_size=16", "--trainer.num_nodes=2", "--trainer.devices=1"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    nodes = []
    for rank in (1, 0):
        folder = tmp_path / f"outputs-{rank}"  # where the output goes
        folder.symlink_to(tmp_path)
        nodes.append(Command(folder, *flags, "--trainer.strategy=ddp", environment={**shared, "NODE_RANK": str(rank)}))
    (status, out, err), (first_status, first_out, first_err) = [node.wait() for node in nodes]
    assert (status, first_status) == (0, 0), err + first_err
    assert "checkpoint  " not in out
    assert "checkpoint  " in first_out
    [version] = (tmp_path / "runs" / "two").glob("version_*")
    assert len(list(version.glob("events*"))) == 1
    one_machine, two_machines = (
        torch.load(folder / "runs" / "two" / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (launched[0], tmp_path)
    )
    torch.testing.assert_close(two_machines["state_dict"], one_machine["state_dict"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("environment", "num_nodes", "first"),
    [
        ({}, 1, True),
        ({}, 2, True),
        ({"NODE_RANK": "0"}, 2, True),
        ({"NODE_RANK": "1"}, 2, False),
        ({"NODE_RANK": "1"}, 1, True),  # four machines that each train on their own
        ({"GROUP_RANK": "2"}, 3, False),
        ({"LOCAL_RANK": "1"}, 1, False),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, 2, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, 2, False),
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, 2, False),
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "LOCAL_RANK": "0", "NODE_RANK": "1"}, 2, True),
        (
            {
                "SLURM_NTASKS": "2",
                "SLURM_NTASKS_PER_NODE": "1",
                "SLURM_JOB_NAME": "train",
                "SLURM_PROCID": "1",
                "SLURM_LOCALID": "0",
            },
            2,
            False,
        ),
        (
            {
                "SLURM_NTASKS": "2",
                "SLURM_NTASKS_PER_NODE": "1",
                "SLURM_JOB_NAME": "train",
                "SLURM_PROCID": "0",
                "NODE_RANK": "1",
            },
            2,
            True,
        ),
    ],
)
def test_first_process_is_known_before_there_is_a_trainer(environment, num_nodes, first, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (global_rank(num_nodes) == 0) is first


NUM_IN_FILE = 97  # a fifth is for validation: 19 or 20


@pytest.fixture(scope="module")
def from_file(tmp_path_factory):
    """The folder of an epoch in two processes, on a file of sequences that contain their own number."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "numbered.py").write_text(MODULE)
    rows = [
        f"{number},{number},{'odd' if number % 2 else 'even'}"
        for number in range(NUM_IN_FILE)
        for _ in range(1 + number % 7)
    ]
    (folder / "a.csv").write_text("\n".join(["id,x,label", *rows]))
    fit = ["fit", *SAME, "--data=SequenceFiles", "--data.train=a.csv", "--data.standardise=false"]
    fit += ["--model=numbered.Recorder", "--data.batch_size=8", "--trainer.max_epochs=1"]
    status, _, err = torchrun(folder, *fit)
    assert status == 0, err
    return folder


def test_two_processes_make_the_same_splits_of_a_file(from_file):
    assert [(from_file / f"classes-0-{rank}.txt").read_text() for rank in (0, 1)] == 2 * ["('even', 'odd')\n"]
    seen = {stage: [noted(from_file, stage, 0, rank) for rank in (0, 1)] for stage in ("train", "val")}
    for first, second in seen.values():
        assert len(first) == len(second)
    numbers = {stage: [each for steps in ranks for step in steps for each in step] for stage, ranks in seen.items()}
    assert Counter(numbers["train"] + numbers["val"]) == Counter(range(NUM_IN_FILE))
    assert abs(len(numbers["val"]) - NUM_IN_FILE / 5) < 1
    assert abs(sum(number % 2 for number in numbers["val"]) - len(numbers["val"]) / 2) <= 1


def test_usage_error_is_printed_once_and_ends_both_processes(tmp_path):
    # torchrun ends the other process when it sees that one has failed. It checks once a second, so both have failed.
    status, _, err = torchrun(tmp_path, "fit", "--device=cpu", "--modle=3", PET_MONITOR_INTERVAL="1")
    assert status == 1  # torchrun's own
    assert err.count("--modle: there is no such argument; did you mean --model?") == 1
    assert re.findall(r"exitcode  : (\S+)", err) == ["2", "2"]
    assert not list(tmp_path.iterdir())
