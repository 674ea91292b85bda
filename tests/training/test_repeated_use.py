"""One model and one Trainer, used for several commands after each other."""

import copy
from itertools import product

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqlight import SumSign, SyntheticSequences
from seqlight.callbacks.logger import CurvesLogger
from tests.training.small_models import model_for, trainer

COMMANDS = ("validate", "test", "fit")


class EndsEarly(pl.Callback):
    """Fails after the second batch of a validation or test."""

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            raise RuntimeError("ended early")

    on_test_batch_end = on_validation_batch_end


@pytest.fixture
def data():
    return SyntheticSequences(SumSign(), num_train=64, num_val=64, num_test=64, batch_size=16)


@pytest.fixture
def model(data):
    torch.manual_seed(0)
    return model_for(data)


# A second `fit` with the same number of epochs has nothing left to do.
@pytest.mark.parametrize(("first", "second"), [pair for pair in product(COMMANDS, repeat=2) if pair != ("fit", "fit")])
def test_one_trainer_runs_two_commands(first, second, model, data, tmp_path):
    logger = CurvesLogger(tmp_path, name="a", version=0)
    one = trainer(tmp_path, max_epochs=1, logger=logger, log_every_n_steps=1, num_sanity_val_steps=1)
    getattr(one, first)(model, data)
    trained = copy.deepcopy(model.state_dict())
    getattr(one, second)(model, data)
    if second == "fit":
        assert one.global_step == 4
        return
    # The results are those of a new model and a new Trainer.
    fresh = model_for(data)
    fresh.load_state_dict(trained)
    [expected] = getattr(trainer(tmp_path), second)(fresh, data, verbose=False)
    name = {"validate": "val/loss", "test": "test/loss"}[second]
    assert one.callback_metrics[name].item() == expected[name]
    points = EventAccumulator(str(tmp_path / "a" / "version_0")).Reload().Scalars(name)
    assert points[-1].value == pytest.approx(expected[name], rel=1e-6)


@pytest.mark.parametrize("first", COMMANDS)
@pytest.mark.parametrize("second", ["validate", "test"])
def test_an_evaluation_that_ended_early_leaves_nothing(first, second, model, data, tmp_path):
    with pytest.raises(RuntimeError, match="ended early"):
        getattr(trainer(tmp_path, callbacks=[EndsEarly()], log_every_n_steps=1), first)(model, data)
    fresh = model_for(data)
    fresh.load_state_dict(model.state_dict())
    results = [getattr(trainer(tmp_path), second)(each, data, verbose=False) for each in (model, fresh)]
    assert results[0] == results[1]
