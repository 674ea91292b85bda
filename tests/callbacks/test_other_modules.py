"""The public callbacks with modules, loaders and settings that are not seqlight's own."""

import ast
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

import seqlight
from seqlight import (
    AccuracyByLength,
    PredictionWriter,
    ResumeCheckpoint,
    RunDescription,
    SequenceClassifier,
    TensorBoardFigures,
)
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.logger import CurvesLogger
from tests.training.breaking import Breaking, data

pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches", "ignore:Checkpoint directory", "ignore:You defined a"
)


class Other(pl.LightningModule):
    """Not a SequenceClassifier."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch.inputs).sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(batch.inputs).sum())

    test_step = predict_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-6)


def trainer(folder, *callbacks, logger=True):
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=CurvesLogger(folder) if logger else False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )


# A callback, and the call of a Trainer in which it works.
NEED_A_CLASSIFIER = {
    "RunDescription": ("fit", lambda folder: RunDescription()),
    "TensorBoardFigures": ("validate", lambda folder: TensorBoardFigures()),
    "AccuracyByLength": ("test", lambda folder: AccuracyByLength()),
    "PredictionWriter": ("predict", lambda folder: PredictionWriter(folder / "p.csv")),
}


@pytest.mark.parametrize("name", NEED_A_CLASSIFIER)
def test_callbacks_refuse_other_modules(name, tmp_path):
    call, make = NEED_A_CLASSIFIER[name]
    with pytest.raises(MisconfigurationException, match=f"{name} needs a seqlight.SequenceClassifier, got Other"):
        getattr(trainer(tmp_path, make(tmp_path)), call)(Other(), data().val_dataloader())


def test_checkpoints_work_with_other_modules(tmp_path):
    callbacks = ResumeCheckpoint(every_n_steps=1), BestCheckpoint(tmp_path / "best", monitor="val/loss")
    for logger in (True, False):
        trainer(tmp_path, *callbacks, logger=logger).fit(Other(), data().train_dataloader(), data().val_dataloader())


def test_callbacks_need_no_logger_and_no_data_module(tmp_path):
    callbacks = [make(tmp_path) for _, make in NEED_A_CLASSIFIER.values()]
    loaders = data()
    for logger in (True, False):
        run, model = trainer(tmp_path, *callbacks, ResumeCheckpoint(), logger=logger), Breaking()
        run.fit(model, loaders.train_dataloader(), loaders.val_dataloader())
        run.validate(model, loaders.val_dataloader(), verbose=False)
        run.test(model, loaders.test_dataloader(), verbose=False)
        run.predict(model, loaders.test_dataloader())
    assert (tmp_path / "p.csv").is_file()


class OwnResults(SequenceClassifier):
    """Its steps return other values."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        return {"loss": super().test_step(batch, batch_idx)["probabilities"].sum()}

    def predict_step(self, batch, batch_idx):
        return {"probabilities": super().predict_step(batch, batch_idx)}


def test_steps_with_other_results_have_no_figures(tmp_path):
    model, loader = OwnResults(input_size=2), data().val_dataloader()
    trainer(tmp_path, TensorBoardFigures(every_n_epochs=1)).validate(model, loader, verbose=False)
    trainer(tmp_path, AccuracyByLength()).test(model, loader, verbose=False)
    with pytest.raises(TypeError, match=r"PredictionWriter needs probabilities .* got dict"):
        trainer(tmp_path, PredictionWriter(tmp_path / "p.csv")).predict(model, loader)
    assert not list(tmp_path.glob("p.csv*"))


def test_states_before_a_run_are_refused(tmp_path):
    with pytest.raises(MisconfigurationException, match=r"during or after trainer\.fit"):
        ResumeCheckpoint().state_dict()
    with pytest.raises(RuntimeError, match="before on_predict_start"):
        PredictionWriter(tmp_path / "p.csv").on_predict_end(trainer(tmp_path), Other())


def test_no_callback_has_an_assertion():
    folder = Path(seqlight.__file__).parent
    for path in [*folder.glob("callbacks/*.py"), folder / "checkpoints" / "resume.py"]:
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text()))), path
