"""The core on a CUDA device: `pytest -m gpu`."""

import copy
import math
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

import seqlight
from seqlight import (
    GatedCell,
    GRUCell,
    LSTMCell,
    NonFiniteError,
    ResumeCheckpoint,
    SequenceClassifier,
    cell_figure,
    memory_curve,
)
from seqlight.recurrent.kernel_backend import KernelWarning
from tests.conftest import seqlight_run
from tests.training.breaking import BATCHES, Breaking, data, hashes, saver, trainer_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings(
        "ignore:The number of training batches",
        "ignore:Checkpoint directory",
        "ignore:GPU available but not used",
        "ignore:Synchronization debug mode is a prototype",
    ),
]


def fit(folder, model, *callbacks, ckpt_path=None, **options):
    trainer = trainer_for(folder, *callbacks, **{"accelerator": "gpu", "devices": 1, **options})
    trainer.fit(model, data(), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("cell", [GRUCell, LSTMCell], ids=["GRU", "LSTM"])
def test_training_equals_that_on_the_cpu(cell, tmp_path):
    model = SequenceClassifier(partial(cell, hidden_size=8), input_size=2)
    reference = copy.deepcopy(model)
    fit(tmp_path, model, enable_checkpointing=False)
    fit(tmp_path, reference, enable_checkpointing=False, accelerator="cpu")
    torch.testing.assert_close(model.cpu().state_dict(), reference.state_dict(), rtol=1e-3, atol=1e-4)


class Interrupt(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 2):
            raise InterruptedError


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    first = SequenceClassifier(partial(GRUCell, hidden_size=8), input_size=2, num_layers=2, dropout=0.3)
    whole, rest = copy.deepcopy(first), copy.deepcopy(first)
    for model, name, callbacks in ((whole, "whole", ()), (first, "first", (Interrupt(),))):
        torch.manual_seed(0)
        resume = ResumeCheckpoint(every_n_steps=1)
        resume.folder = tmp_path / name
        try:
            fit(tmp_path, model, resume, *callbacks)
        except InterruptedError:
            assert name == "first"
    resume = ResumeCheckpoint()
    resume.folder = tmp_path / "first"
    fit(tmp_path, rest, resume, ckpt_path=tmp_path / "first" / "last.ckpt")
    states = [model.cpu().state_dict() for model in (whole, rest)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("non_finite", ["stop", "skip"])
def test_values_that_are_not_finite_reach_no_weight(where, non_finite, tmp_path):
    model = Breaking(where, math.nan, non_finite=non_finite)
    if non_finite == "stop":
        with pytest.raises(NonFiniteError, match=r"step 8 \(epoch 1, batch 2\)"):
            fit(tmp_path, model, saver(tmp_path), log_every_n_steps=4)
        assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == BATCHES
    else:
        fit(tmp_path, model, saver(tmp_path), log_every_n_steps=4)
        assert model.skipped_batches == 1
    assert hashes(tmp_path)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


class NoWait(pl.Callback):
    """An operation of a step that waits for the device raises."""

    def on_train_batch_start(self, *_):
        torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *_):
        torch.cuda.set_sync_debug_mode("default")

    def on_exception(self, *_):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_step_does_not_wait_for_the_device(clip, tmp_path):
    model = SequenceClassifier(partial(GRUCell, hidden_size=8), input_size=2).cuda()
    batch = data().split("train").to("cuda")
    model(batch.inputs, batch.lengths)  # the check of the cell, on first use, reads values
    fit(tmp_path, model, NoWait(), gradient_clip_val=clip, enable_checkpointing=False, log_every_n_steps=1000)


class Own(GatedCell):
    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates),)


def test_kernels_fall_back_with_a_warning():
    torch.manual_seed(0)
    model = SequenceClassifier(partial(Own, hidden_size=8), input_size=2)
    batch = data().split("train")
    expected = model.probabilities(batch.inputs, batch.lengths)
    with pytest.warns(KernelWarning, match="kernels run on the CPU"):
        found = model.cuda().probabilities(batch.inputs, batch.lengths)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="kernels run on the CPU"):
        seqlight.RecurrentLayer(Own(2, 8), backend="kernel").cuda()(batch.inputs.cuda())


def test_figures_are_computed():
    model = SequenceClassifier(partial(GRUCell, hidden_size=8), input_size=2).cuda()
    batch = data().split("train")
    assert memory_curve(model, batch).isfinite().all()
    cell_figure(model, batch)


def test_commands(tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status, out, err = seqlight_run(*arguments)
        assert status == 0, err
        return out

    run("fit", "--device=gpu", "--trainer.max_epochs=2", "--data.num_train=64", "--data.num_val=32")
    flags = ["--ckpt_path=runs/SumSign-LSTMCell/version_0/checkpoints/best.ckpt"]
    probabilities = {}
    for device in ("gpu", "cpu"):
        assert "accuracy" in run("test", *flags, f"--device={device}")
        run("predict", *flags, f"--device={device}", f"--output={device}.csv")
        with open(f"{device}.csv") as file:
            next(file)
            probabilities[device] = np.array([float(line.split(",")[1]) for line in file])
    np.testing.assert_allclose(probabilities["gpu"], probabilities["cpu"], atol=1e-4)
