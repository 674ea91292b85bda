"""Refused input: the user's own data, sizes, outputs and checkpoints."""

import re
import sys
from pathlib import Path

import pytest
import torch

import seqlight
from tests.cli.commands import forget, run
from tests.conftest import seqlight_run

TINY = ("--data.num_train=8", "--data.num_val=8", "--data.num_test=8", "--trainer.max_epochs=1")
QUIET = ("--trainer.enable_progress_bar=false", "--figures.every_n_epochs=0", "--device=cpu")

OWN_DATA = """
import torch
from seqlight import Batch, SequenceDataModule

CHANGES = {
    "nothing": lambda batch: batch,
    "double": lambda batch: batch._replace(inputs=batch.inputs.double()),
    "features": lambda batch: batch._replace(inputs=batch.inputs[:, :, :1]),
    "flat": lambda batch: batch._replace(inputs=batch.inputs[:, :, 0]),
    "label 2": lambda batch: batch._replace(targets=2 * batch.targets),
    "int targets": lambda batch: batch._replace(targets=batch.targets.long()),
    "column": lambda batch: batch._replace(targets=batch.targets[:, None]),
    "int32 lengths": lambda batch: batch._replace(lengths=batch.lengths.int()),
    "too long": lambda batch: batch._replace(lengths=batch.lengths + 1),
    "no samples": lambda batch: Batch(*(part[:0] for part in batch)),
    "list": lambda batch: batch._replace(inputs=batch.inputs.tolist()),
    "tuple": tuple,
}


class Mine(SequenceDataModule):
    input_size, vocab_size, target, num_outputs = 2, None, "binary", 1

    def __init__(self, change: str = "nothing", loader: bool = False):
        super().__init__(batch_size=4, seed=0)
        self.change, self.loader = change, loader

    def split(self, split):
        batch = Batch(torch.randn(8, 3, 2), torch.arange(8.0) % 2, torch.full((8,), 3))
        return CHANGES[self.change](batch)

    def train_dataloader(self):
        return [[tuple(self.split("train"))]] if self.loader else super().train_dataloader()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)
    Path("owndata.py").write_text(OWN_DATA)
    yield
    forget("owndata")


def refused(status, message, *arguments):
    """Run a command that must fail with this status and a short message; return its standard error."""
    actual_status, _, err = seqlight_run(*arguments)
    assert actual_status == status, err
    assert 1 <= len(err.splitlines()) <= 5
    assert "Traceback" not in err
    assert re.search(message, err), err
    return err


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("double", r"inputs must be float32 \(B, T, 2\), got torch\.float64 \(8, 3, 2\)"),
        ("features", r"inputs must be float32 \(B, T, 2\), got torch\.float32 \(8, 3, 1\)"),
        ("flat", r"inputs must be float32 \(B, T, 2\), got torch\.float32 \(8, 3\)"),
        ("label 2", r"targets must be 0 or 1, got"),
        ("int targets", r"targets must be float32 \(8,\), got torch\.int64 \(8,\)"),
        ("column", r"targets must be float32 \(8,\), got torch\.float32 \(8, 1\)"),
        ("int32 lengths", r"lengths must be int64 \(8,\), got torch\.int32 \(8,\)"),
        ("too long", r"lengths must be between 1 and the 3 time steps of inputs, got"),
        ("no samples", r"inputs must be at least one sequence of at least one time step, got torch\.float32 \(0, 3, 2"),
        ("list", r"inputs must be a tensor, got list"),
        ("tuple", r"a sample must be a Batch\(inputs, targets, lengths\), got tuple"),
    ],
)
def test_split_that_contradicts_its_data_module_is_refused(change, message):
    arguments = ("--data=owndata.Mine", f"--data.change={change}", "--trainer.max_epochs=1")
    # The validation split is created first.
    refused(2, rf"Mine\.split\('\w+'\): {message}", "fit", *QUIET, *arguments)


def test_own_data_module_is_accepted():
    run("fit", *QUIET, "--data=owndata.Mine", "--trainer.max_epochs=1")


@pytest.mark.usefixtures("without_type_checks")
def test_loader_of_other_objects_than_batches_is_refused():
    message = r"a loader must give seqlight\.Batch\(inputs, targets, lengths\), got list"
    refused(2, message, "fit", *QUIET, "--data=owndata.Mine", "--data.loader=true", "--trainer.max_epochs=1")


def test_logger_whose_package_is_missing_is_refused():
    refused(
        2, r"error: lightning\.pytorch\.loggers\.WandbLogger: .*wandb", "fit", *QUIET, "--trainer.logger=WandbLogger"
    )


def test_callback_that_does_not_suit_the_model_is_refused():
    message = "a callback does not suit the model: 'SequenceClassifier' object has no attribute 'backbone'"
    refused(2, message, "fit", *TINY, *QUIET, "--trainer.callbacks+=BackboneFinetuning")


@pytest.mark.parametrize("command", ["fit", "check"])
def test_exit_within_a_users_class_is_an_error(command):
    Path("ends.py").write_text(
        "import seqlight\n\nclass Ends(seqlight.GatedCell):\n    num_gates = 1\n\n"
        "    def update(self, input_gates, hidden_gates, state):\n        raise SystemExit(0)\n"
    )
    flags = ("--model.cell=ends.Ends", *TINY, *QUIET) if command == "fit" else ("ends.Ends",)
    refused(2, r"ends\.py, line 7 ended the command: SystemExit\(0\)", command, *flags)
    forget("ends")


@pytest.mark.parametrize("name", ["LearningRateFinder", "BatchSizeFinder"])
def test_finder_is_refused_if_training_continues(name, trained):
    last = str(Path(trained).with_name("last.ckpt"))
    flags = ("--trainer.max_epochs=3", f"--trainer.callbacks+={name}")
    refused(2, f"{name} would begin training anew, but", "fit", *QUIET, "--ckpt_path", last, *flags)


def test_backend_that_does_not_support_the_cell_is_refused():
    message = r"backend='kernel' can't serve LayerNormLSTMCell"
    err = refused(2, message, "fit", *TINY, *QUIET, "--model.cell=LayerNormLSTMCell", "--model.backend=kernel")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--data.num_train=1000000000000", r"num_train must be at most 2147483647, got 1000000000000"),
        ("--data.task.max_length=100000000000", r"max_length must be at most 2147483647, got 100000000000"),
        ("--data.task.max_length=2000000000", r"not enough memory"),
        ("--data.test_lengths=41-200", r"test_lengths must be a length, or .* such as 41:200; got '41-200'"),
        ("--data.test_lengths=9:4", r"test_lengths '9:4': max_length must be at least min_length \(9\), got 4"),
        ("--model.cell.hidden_size=99999999999", r"hidden_size must be at most 2147483647, got 99999999999"),
        ("--model.cell.hidden_size=10000000", r"not enough memory"),
        ("--model.num_layers=99999999999", r"num_layers must be at most 2147483647, got 99999999999"),
        ("--data.batch_size=99999999999", r"batch_size must be at most 2147483647, got 99999999999"),
    ],
)
def test_huge_sizes_are_refused(flag, message):
    refused(2, message, "fit", *QUIET, flag)


@pytest.mark.parametrize("output", ["folder", "/dev/null", ".", ""])
def test_output_that_is_not_a_file_is_refused_before_predicting(output, trained, monkeypatch):
    Path("folder").mkdir()
    monkeypatch.setattr(seqlight.SequenceClassifier, "predict_step", lambda *_: pytest.fail("it predicts"))
    message = rf"can't write predictions to {re.escape(output or '.')}: expected the path of a file"
    refused(2, message, "predict", f"--ckpt_path={trained}", *QUIET, f"--output={output}")


@pytest.mark.parametrize("verb", ["fit", "test"])
@pytest.mark.parametrize("part", ["loops", "epoch", "global_step", "callbacks", "lr_schedulers", "hyper_parameters"])
def test_checkpoint_without_a_part_of_the_trainers_state_is_refused(part, verb, trained):
    checkpoint = torch.load(trained, weights_only=True)
    del checkpoint[part]
    seqlight.SealedCheckpointIO().save_checkpoint(checkpoint, "part.ckpt")
    refused(3, r"part\.ckpt is not a complete seqlight checkpoint", verb, "--ckpt_path=part.ckpt", *QUIET)


def change_shape(weights):
    weights["head.weight"] = weights["head.weight"][:, :3]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_shape, "size mismatch for head.weight"),
        (lambda weights: weights.pop("head.bias"), "Missing key.*head.bias"),
        (lambda weights: weights.update(other=torch.zeros(2)), "Unexpected key.*other"),
    ],
)
def test_weights_that_do_not_fit_the_described_model_are_refused(damage, message, trained):
    checkpoint = torch.load(trained, weights_only=True)
    damage(checkpoint["state_dict"])
    seqlight.SealedCheckpointIO().save_checkpoint(checkpoint, "weights.ckpt")
    arguments = ("test", "--ckpt_path=weights.ckpt", *QUIET)
    refused(3, rf"weights do not fit the model it describes:\n{message}", *arguments)
    with pytest.raises(seqlight.CheckpointError, match=r"(?s)can be built here.*" + message):
        seqlight.load("weights.ckpt")


def test_flags_for_another_model_than_the_checkpoint_are_refused(trained):
    message = r"flags and --ckpt_path .*best\.ckpt describe different models; leave out one:\nsize mismatch"
    refused(2, message, "test", f"--ckpt_path={trained}", *QUIET, "--model.cell.hidden_size=3")


def test_import_in_a_configuration_file_is_refused():
    Path("run.yaml").write_text("import: owndata\n")
    refused(2, "give --import on the command line", "fit", "--config=run.yaml", *TINY, *QUIET)
    assert "owndata" not in sys.modules


def change_optimizer_state(checkpoint, **changes):
    """Change the optimizer state of the largest parameter."""
    weight = max(checkpoint["optimizer_states"][0]["state"].values(), key=lambda state: state["exp_avg"].numel())
    weight.update(changes)


def share_memory(checkpoint):
    """Replace `exp_avg` by views that repeat one value."""
    for state in checkpoint["optimizer_states"][0]["state"].values():
        state["exp_avg"] = torch.zeros(state["exp_avg"].numel())[:1].expand(state["exp_avg"].shape)


def resume_state(checkpoint):
    return checkpoint["callbacks"]["ResumeCheckpoint"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda checkpoint: resume_state(checkpoint).update(random=["x"]),
        lambda checkpoint: resume_state(checkpoint).update(random=[{}]),
        lambda checkpoint: resume_state(checkpoint).update(metrics=1),
        lambda checkpoint: resume_state(checkpoint)["random"][0].update(
            numpy=("MT19937", torch.zeros(624, dtype=torch.int64), 2**30, 0, 0.0)
        ),
        lambda checkpoint: resume_state(checkpoint)["random"][0].update(torch=torch.zeros(3)),
        lambda checkpoint: resume_state(checkpoint).pop("follows"),
        lambda checkpoint: checkpoint["seqlight"]["steps"].update(curves={"x": 1}),
        lambda checkpoint: change_optimizer_state(checkpoint, exp_avg=torch.zeros(1), exp_avg_sq=torch.zeros(1)),
        lambda checkpoint: change_optimizer_state(checkpoint, step=torch.zeros(0)),
        lambda checkpoint: change_optimizer_state(checkpoint, step="x"),
        lambda checkpoint: checkpoint["optimizer_states"][0]["state"][0].pop("exp_avg_sq"),
        lambda checkpoint: checkpoint["optimizer_states"][0]["param_groups"][0].update(betas=("x", 0.9)),
        lambda checkpoint: checkpoint.update(optimizer_states=[]),
        share_memory,
        lambda checkpoint: checkpoint["seqlight"].update(steps=3),
        lambda checkpoint: checkpoint["loops"].update(fit_loop={}),
    ],
)
def test_invalid_training_state_is_refused(damage, trained):
    checkpoint = torch.load(trained, weights_only=True)
    damage(checkpoint)
    seqlight.SealedCheckpointIO().save_checkpoint(checkpoint, "changed.ckpt")
    refused(
        3, r"changed\.ckpt|training can't continue", "fit", "--ckpt_path=changed.ckpt", "--trainer.max_epochs=3", *QUIET
    )


ODD = """
import seqlight

MESSAGES = [
    "output size must be even",
    "data for the table is missing",
    "device memory is too small",
    "name of the cell is not set",
]


class Odd(seqlight.GRUCell):
    def __init__(self, input_size, hidden_size=4, how: int = 0):
        raise ValueError(MESSAGES[how])
"""


@pytest.mark.parametrize("how", range(4))
def test_message_of_a_users_cell_stays(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd_cells.py").write_text(ODD)
    status, _, err = seqlight_run("fit", "--model.cell=odd_cells.Odd", f"--model.cell.how={how}", "--device=cpu")
    assert status == 2
    assert err == f"seqlight: error: {sys.modules['odd_cells'].MESSAGES[how]}\n"
