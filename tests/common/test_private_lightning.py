"""One test for each function of `seqlight.common.private_lightning`, of the same name.

Each checks the function's assumption. A failure after an update of Lightning or TensorBoard means that the new version
has changed what the function of the same name uses.
"""

import inspect
import time
import warnings
from typing import ClassVar

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.cli import LightningCLI
from torch import nn

from seqlight import SequenceClassifier, SumSign, SyntheticSequences
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.length_accuracy import AccuracyByLength
from seqlight.callbacks.predictions import PredictionWriter
from seqlight.callbacks.progress_bar import TimedProgressBar
from seqlight.callbacks.run_description import RunDescription
from seqlight.callbacks.tensorboard_figures import TensorBoardFigures
from seqlight.checkpoints.resume import ResumeCheckpoint
from seqlight.common import private_lightning
from seqlight.data.loader import SequenceLoader
from tests.common.has_tests import functions_without_test

OPTIONS = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")


def test_each_function_has_a_test():
    assert not functions_without_test(private_lightning, globals())


def train(*callbacks, module=None, validates=True, **options):
    options = {"max_epochs": 1, "enable_checkpointing": False, "num_sanity_val_steps": 0, **OPTIONS, **options}
    trainer = pl.Trainer(callbacks=list(callbacks), **options)
    module = module or SequenceClassifier(input_size=1)
    data = SyntheticSequences(SumSign(), num_train=96, num_val=32)
    trainer.fit(module, data.train_dataloader(), data.val_dataloader() if validates else None)
    return trainer


class ModuleWithHook(SequenceClassifier):
    """A module whose own hook appends to a list."""

    calls: ClassVar[list[str]] = []

    def on_train_batch_end(self, *args):
        super().on_train_batch_end(*args)
        self.calls.append("hook")


@pytest.mark.parametrize(
    "kind",
    [
        *(BestCheckpoint, TimedProgressBar, ResumeCheckpoint, RunDescription),
        *(TensorBoardFigures, AccuracyByLength, PredictionWriter),
    ],
)
def test_NotInEveryStep(kind):  # noqa: N802
    hooks = [name for name in vars(private_lightning.NotInEveryStep) if name.startswith("on_")]
    assert len(hooks) == 5
    for name in hooks:
        assert getattr(kind, name) is None
        # A later Lightning could give one of these hooks something to do.
        base = next(base for base in kind.__mro__ if base.__module__.startswith("lightning"))
        assert getattr(base, name) is getattr(callbacks.Callback, name)


def test_NotInEveryStep_is_accepted_by_a_trainer():  # noqa: N802
    class Recorder(private_lightning.NotInEveryStep, pl.Callback):
        steps = 0

        def on_train_batch_end(self, *args):
            self.steps += 1

    recorder = Recorder()
    train(recorder)
    assert recorder.steps == 3


def test_FastHookName():  # noqa: N802
    names = []

    class Module(private_lightning.FastHookName, pl.LightningModule):
        def on_fit_start(self):
            names.append(self._current_fx_name)

        def training_step(self, batch, batch_index):
            names.append(self._current_fx_name)
            return self.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    module.weight = nn.Parameter(torch.ones(1))
    train(module=module, validates=False)
    assert set(names) == {"on_fit_start", "training_step"}
    assert "_current_fx_name" in inspect.getsource(pl.LightningModule)


def test_call_after():
    calls = ModuleWithHook.calls

    class Saver(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            self.end = private_lightning.call_after(pl_module, "on_train_batch_end", lambda: calls.append("after"))

        def on_train_batch_end(self, *args):
            calls.append("callback")

        def on_train_end(self, trainer, pl_module):
            self.end()

    module = ModuleWithHook(input_size=1)
    train(Saver(), module=module)
    assert calls == ["callback", "hook", "after"] * 3
    assert module.on_train_batch_end.__func__ is ModuleWithHook.on_train_batch_end


def test_is_validation_next():
    expected, seen = [], []

    class Recorder(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            seen.append(private_lightning.is_validation_next(trainer))
            expected.append(False)

        def on_validation_start(self, *args):
            expected[-1] = True

    train(Recorder(), max_epochs=2, val_check_interval=2)
    assert seen == expected == [False, True, False] * 2


def test_begin_next_epoch(tmp_path):
    epochs = []

    class Saver(pl.Callback):
        def on_train_epoch_end(self, trainer, *args):
            trainer.save_checkpoint(tmp_path / "end.ckpt")

    class Recorder(pl.Callback):
        def on_train_start(self, trainer, *args):
            private_lightning.begin_next_epoch(trainer)

        def on_train_epoch_start(self, trainer, *args):
            epochs.append(trainer.current_epoch)

    train(Saver(), max_epochs=-1, max_steps=3)
    trainer = pl.Trainer(callbacks=[Recorder()], max_epochs=-1, max_steps=9, enable_checkpointing=False, **OPTIONS)
    data = SyntheticSequences(SumSign(), num_train=96, num_val=32)
    trainer.fit(SequenceClassifier(input_size=1), data, ckpt_path=tmp_path / "end.ckpt", weights_only=True)
    assert epochs == [1, 2]
    assert trainer.global_step == 9


def test_completed_epochs(tmp_path):
    counts = {}

    class Saver(pl.Callback):
        def save(self, trainer, name):
            trainer.save_checkpoint(tmp_path / "state.ckpt")
            checkpoint = torch.load(tmp_path / "state.ckpt", weights_only=True)
            counts.setdefault(name, []).append(private_lightning.completed_epochs(checkpoint))

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 0:
                self.save(trainer, "within an epoch")

        def on_train_epoch_end(self, trainer, pl_module):
            self.save(trainer, "at its end")

        def on_train_end(self, trainer, pl_module):
            self.save(trainer, "at the end of training")

    train(Saver(), max_epochs=2)
    assert counts == {"within an epoch": [0, 1], "at its end": [1, 2], "at the end of training": [2]}


def test_lambda_schedule_state():
    groups = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    state = private_lightning.lambda_schedule_state(3, [0.5, 0.5])
    ignored = ("_get_lr_called_within_step", "_is_initial")
    assert {name: value for name, value in scheduler.state_dict().items() if name not in ignored} == state


def test_keep_file_name(tmp_path):
    for keeps in (True, False):
        folder = tmp_path / str(keeps)
        for _ in range(2):
            saver = callbacks.ModelCheckpoint(folder, "name")
            if keeps:
                private_lightning.keep_file_name(saver)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
                train(saver, enable_checkpointing=True)
        assert len(list(folder.iterdir())) == (1 if keeps else 2)


def test_show_in_progress_bar():
    shown = []

    class Recorder(callbacks.ProgressBar):
        def on_train_batch_end(self, trainer, pl_module, *args):
            private_lightning.show_in_progress_bar(trainer, {"own": 1.5})
            shown.append(self.get_metrics(trainer, pl_module)["own"])

    train(Recorder(), enable_progress_bar=True)
    assert shown == [1.5] * 3


def test_forget_metrics():
    kept = []

    class Logs(pl.Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                pl_module.log("own", 1.5)
            elif trainer.current_epoch == 2:
                private_lightning.forget_metrics(trainer, ["own"])

        def on_validation_end(self, trainer, pl_module):
            kept.append(["own" in metrics for metrics in (trainer.callback_metrics, trainer.logged_metrics)])

    train(Logs(), max_epochs=4)
    assert kept == [[True, True]] * 2 + [[False, False]] * 2


def test_forget_progress_bar():
    shown = []

    class Recorder(callbacks.ProgressBar):
        def on_train_batch_end(self, trainer, pl_module, *args):
            private_lightning.show_in_progress_bar(trainer, {"own": 1.5})
            private_lightning.forget_progress_bar(trainer)
            shown.append(self.get_metrics(trainer, pl_module))

    train(Recorder(), enable_progress_bar=True)
    assert shown == [{}] * 3


def test_subcommand_parser(command_line_state, monkeypatch):
    monkeypatch.setattr("sys.argv", ["seqlight"])

    class Parsed(Exception):  # noqa: N818
        pass

    class Cli(LightningCLI):
        def parse_arguments(self, parser, args):
            private_lightning.subcommand_parser(self, "fit").set_defaults({"trainer.max_epochs": 7})
            super().parse_arguments(parser, args)
            raise Parsed(self.config.fit.trainer.max_epochs)

    with pytest.raises(Parsed, match="7"):
        Cli(SequenceClassifier, SyntheticSequences, args=["fit", "--data.task=seqlight.SumSign"])


def test_is_raised_for_callback():
    with pytest.raises(AttributeError) as caught:
        train(pl.callbacks.BackboneFinetuning())
    assert private_lightning.is_raised_for_callback(caught.value)
    with pytest.raises(AttributeError) as caught:
        torch.nn.Identity().backbone  # noqa: B018
    assert not private_lightning.is_raised_for_callback(caught.value)


def test_is_of_finder(tmp_path, monkeypatch):
    restored, model = [], SequenceClassifier(input_size=1)
    monkeypatch.setattr(
        SequenceClassifier, "on_load_checkpoint", lambda self, _: restored.append(self.trainer.ckpt_path)
    )
    data = SyntheticSequences(SumSign(), num_train=96, num_val=32)
    trainer = pl.Trainer(max_epochs=1, enable_checkpointing=False, default_root_dir=tmp_path, **OPTIONS)
    tuner = pl.tuner.Tuner(trainer)
    tuner.lr_find(model, data, num_training=3)
    tuner.scale_batch_size(model, datamodule=data, max_trials=1)
    assert len(restored) == 2
    assert all(private_lightning.is_of_finder(path) for path in restored)
    assert not private_lightning.is_of_finder("runs/a/checkpoints/last.ckpt")


def test_is_raised_while_restoring(tmp_path):
    class Forgetful(pl.Callback):
        def state_dict(self):
            return {"count": 1}

        def load_state_dict(self, state_dict):
            raise KeyError("number")

    trainer = train(Forgetful())
    trainer.save_checkpoint(tmp_path / "good.ckpt")
    trainer = pl.Trainer(max_epochs=2, enable_checkpointing=False, callbacks=[Forgetful()], **OPTIONS)
    data = SyntheticSequences(SumSign(), num_train=96, num_val=32)
    with pytest.raises(KeyError) as caught:
        trainer.fit(SequenceClassifier(input_size=1), data, ckpt_path=tmp_path / "good.ckpt", weights_only=True)
    assert private_lightning.is_raised_while_restoring(caught.value)
    assert not private_lightning.is_raised_while_restoring(ValueError())


def test_EpochFromTrainer(monkeypatch):  # noqa: N802
    epochs = []
    monkeypatch.setattr(SequenceLoader, "set_epoch", lambda self, epoch: epochs.append((self.shuffle, epoch)))
    train(max_epochs=2)
    assert [epoch for shuffles, epoch in epochs if shuffles] == [0, 1]


def test_has_writer(tmp_path):
    logger = pl.loggers.TensorBoardLogger(tmp_path)
    assert not private_lightning.has_writer(logger)
    logger.experiment.close()
    assert private_lightning.has_writer(logger)


def test_forget_writer(tmp_path):
    logger = pl.loggers.TensorBoardLogger(tmp_path)
    before = logger.experiment
    before.close()
    private_lightning.forget_writer(logger)
    assert logger.experiment is not before
    logger.experiment.close()


def test_event_file_named_after(tmp_path):
    for number, seconds in enumerate((0, 5e9)):
        with private_lightning.event_file_named_after(seconds):
            torch.utils.tensorboard.SummaryWriter(str(tmp_path / str(number))).close()
        [path] = tmp_path.glob(f"{number}/*")
        named = int(path.name.split(".")[3])
        assert path.name.startswith("events.out.tfevents.")
        assert named == 5e9 if seconds else abs(named - time.time()) < 100
