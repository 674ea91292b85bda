"""Points of the training curves."""

import contextlib

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import CSVLogger

from seqlight import SumSign, SyntheticSequences
from tests.training.small_models import curves, model_for, trainer

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")


@pytest.mark.parametrize(("every", "steps"), [(3, [3, 6, 9, 12]), (50, [4, 8, 12]), (0, [])])
def test_training_curve_points(every, steps, tmp_path):
    data = SyntheticSequences(SumSign(), num_train=128)
    logger = CSVLogger(tmp_path, name=None, version="")
    fitted = trainer(tmp_path, max_epochs=3, logger=logger, log_every_n_steps=every, limit_val_batches=0)
    losses = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses.append(outputs["loss"].item())

    fitted.callbacks.append(Watch())
    fitted.fit(model_for(data), data)
    logger.save()
    points = [point for point in (curves(tmp_path) if steps else []) if "train/loss" in point]
    assert [point["step"] for point in points] == steps
    for start, point in zip([0, *steps], points, strict=False):
        window = losses[start : int(point["step"])]
        assert point["train/loss"] == pytest.approx(sum(window) / len(window), rel=1e-5)
    epoch = losses[-4:]
    assert fitted.callback_metrics["train/loss"].item() == pytest.approx(sum(epoch) / len(epoch), rel=1e-5)


@pytest.mark.parametrize(("max_steps", "steps"), [(4, [4]), (10, [10]), (13, [10, 13])])
def test_run_that_ends_within_an_epoch_has_a_point(max_steps, steps, tmp_path):
    data = SyntheticSequences(SumSign(), num_train=320)
    logger = CSVLogger(tmp_path, name=None, version="")
    options = {"max_epochs": -1, "max_steps": max_steps, "log_every_n_steps": 50, "limit_val_batches": 0}
    trainer(tmp_path, logger=logger, **options).fit(model_for(data), data)
    logger.save()
    assert [point["step"] for point in curves(tmp_path) if "train/loss" in point] == steps


@pytest.mark.parametrize("fails", [False, True])
def test_second_fit_of_a_model_begins_new_curves(fails, tmp_path):
    data = SyntheticSequences(SumSign(), num_train=320)
    losses = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses.append(outputs["loss"].item())
            if fails and batch_idx == 6 and trainer.logger is None:
                raise RuntimeError("stopped")

    model = model_for(data)
    options = {"max_epochs": 1, "log_every_n_steps": 4, "limit_val_batches": 0, "enable_checkpointing": False}
    with pytest.raises(RuntimeError, match="stopped") if fails else contextlib.nullcontext():
        trainer(tmp_path, **options, callbacks=[Watch()]).fit(model, data)
    losses.clear()
    logger = CSVLogger(tmp_path / "curves", name=None, version="")
    trainer(tmp_path, **options, callbacks=[Watch()], logger=logger).fit(model, data)
    logger.save()
    points = [point for point in curves(tmp_path / "curves") if "train/loss" in point]
    assert [point["step"] for point in points] == [4, 8]
    for start, point in zip([0, 4], points, strict=True):
        assert point["train/loss"] == pytest.approx(sum(losses[start : start + 4]) / 4, rel=1e-5)
