"""The check of steps that a device makes: the same results as the check at once, without waiting for the device."""

import contextlib
import copy
import math

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from seqlight import NonFiniteError
from seqlight.training import step_monitor
from seqlight.training.curves import StepTotals
from seqlight.training.gradients import clip_by_norm, device_norms, gradient_norm, total_norm
from tests.training.breaking import BATCHES, Breaking, data, hashes, trainer_for
from tests.training.small_models import curves
from tests.training.test_manual_optimization import TwoRates

pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches", "ignore:Checkpoint directory", "ignore:The dirpath has changed"
)


class Descent(Breaking):
    """Its optimizer has no `found_inf`."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


CLIPPING = {"by norm": 1.0, "without": None}
OPTIONS = {
    "points": {"log_every_n_steps": 3},
    "no points": {"log_every_n_steps": 0, "gradient_clip_val": None},
    "accumulated": {"accumulate_grad_batches": 2, "log_every_n_steps": 1},
    "by value": {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
}


def fit(folder, model, *, defers, non_finite, **options):
    """Train; returns weights, message, number of skipped batches, metrics, points and optimizer states."""
    torch.manual_seed(0)
    model.load_state_dict({name: torch.ones_like(value) / 3 for name, value in model.state_dict().items()})
    model._monitor._check.defers = defers
    logger = CSVLogger(folder, name=None, version="")
    trainer = trainer_for(folder, logger=logger, **options)
    message = ""
    with contextlib.suppress(NonFiniteError):
        try:
            trainer.fit(model, data())
        except NonFiniteError as error:
            message = str(error)
            raise
    logger.save()
    points = curves(folder) if (folder / "metrics.csv").exists() else []
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    states = [copy.deepcopy(optimizer.state_dict()["state"]) for optimizer in trainer.optimizers]
    return model.state_dict(), message, model.skipped_batches, metrics, points, states


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("non_finite", ["stop", "skip"])
@pytest.mark.parametrize("where", ["", "loss", "gradient"])
def test_results_equal_those_of_the_check_at_once(where, non_finite, options, tmp_path, monkeypatch):
    if options == "no points":
        monkeypatch.setattr(StepTotals, "_MOST_KEPT", 2)  # so that a full list settles the checks
    results = []
    for defers in (False, True):
        folder = tmp_path / str(defers)
        model = Breaking(where, non_finite=non_finite)
        others = {"enable_checkpointing": False, **OPTIONS[options]}
        results.append(fit(folder, model, defers=defers, non_finite=non_finite, **others))
    at_once, later = results
    assert bool(where and non_finite == "stop") == bool(at_once[1])
    assert later[1:3] == at_once[1:3]  # the message names the first step, although later ones were made
    torch.testing.assert_close(later[0], at_once[0], rtol=0, atol=0)
    torch.testing.assert_close(later[5], at_once[5], rtol=0, atol=0)
    if not at_once[1]:
        assert later[3] == pytest.approx(at_once[3], rel=1e-6)
        assert len(later[4]) == len(at_once[4])
        for one, other in zip(later[4], at_once[4], strict=True):
            assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_optimizer_without_found_inf_gets_no_gradient_that_is_not_finite(where, tmp_path):
    model = Descent(where)
    _, message, *_ = fit(tmp_path, model, defers=True, non_finite="stop", enable_checkpointing=False)
    assert message.startswith(f"step {BATCHES + 3} (epoch 1, batch 2): the ")
    assert "its gradients were set to 0 and nothing was saved" in message
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    # To skip a step exactly, such an optimizer is checked at once.
    results = []
    for defers in (False, True):
        model = Descent(where, non_finite="skip")
        folder = tmp_path / str(defers)
        results.append(fit(folder, model, defers=defers, non_finite="skip", enable_checkpointing=False)[:3])
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0)
    assert [result[1:] for result in results] == [("", 1), ("", 1)]


@pytest.mark.parametrize("where", ["", "loss", "gradient", "second"])
def test_manual_optimization(where, tmp_path):
    results = []
    for defers in (False, True):
        model = TwoRates(where)
        options = {"enable_checkpointing": False, "gradient_clip_val": None, "max_epochs": 2}
        results.append(fit(tmp_path / str(defers), model, defers=defers, non_finite="stop", **options))
    first_lines = [result[1].partition("\n")[0] for result in results]
    assert first_lines[0] == first_lines[1]
    if where == "":
        torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0)
        assert results[0][3] == pytest.approx(results[1][3])
    assert all(value.isfinite().all() for value in results[1][0].values())


@pytest.mark.parametrize("every", [1, 3])
def test_nothing_is_saved_after_a_value_that_is_not_finite(every, tmp_path):
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=every, save_top_k=-1, filename="{step}")
    options = {"log_every_n_steps": 1000, "callbacks": None}
    model = Breaking("gradient")
    model._monitor._check.defers = True
    trainer = trainer_for(tmp_path, saver, **{key: value for key, value in options.items() if value})
    with pytest.raises(NonFiniteError, match=rf"step {BATCHES + 3} \(epoch 1, batch 2\)"):
        trainer.fit(model, data())
    steps = sorted(int(name.removeprefix("step=").removesuffix(".ckpt")) for name in hashes(tmp_path))
    assert steps == list(range(every, BATCHES + 3, every))
    for path in tmp_path.glob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in weights.values())


def test_validation_within_an_epoch_is_not_used_after_a_bad_step(tmp_path):
    model = Breaking("gradient", at=(0, 0))
    model._monitor._check.defers = True
    trainer = trainer_for(tmp_path, limit_val_batches=1.0, val_check_interval=2, log_every_n_steps=1000)
    with pytest.raises(NonFiniteError, match=r"step 1 \(epoch 0, batch 0\)"):
        trainer.fit(model, data())
    assert "val/loss" not in trainer.callback_metrics


def test_epoch_without_a_step_stops_training(tmp_path):
    model = Breaking("gradient", at="always", non_finite="skip")
    model._monitor._check.defers = True
    with pytest.raises(NonFiniteError, match=r"step 5 .*\n.*\nno step of the epoch or run would be taken"):
        trainer_for(tmp_path).fit(model, data())


@pytest.mark.parametrize("norm", ["at once", "later"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [1.0, 1e20, 1e30, 2e38, 1e-30, 0.0])
def test_norm_of_large_finite_gradients_clips_to_a_norm_of_1(value, dtype, norm):
    parameters = [torch.zeros(shape, dtype=dtype, requires_grad=True) for shape in ((3, 4), (5,))]
    for number, parameter in enumerate(parameters):
        parameter.grad = torch.full_like(parameter, value * (1 + number) / 2)
    expected = torch.cat([parameter.grad.flatten().double() for parameter in parameters])
    found = gradient_norm(parameters) if norm == "at once" else total_norm(device_norms(parameters))
    assert found.item() == pytest.approx(expected.norm().item(), rel=1e-2 if dtype == torch.bfloat16 else 1e-6)
    clip_by_norm(parameters, 1.0, found)
    clipped = torch.cat([parameter.grad.flatten().double() for parameter in parameters])
    scaled = expected * min(1.0, 1 / max(found.item(), 1e-300))
    torch.testing.assert_close(clipped, scaled, rtol=2e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-36)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_norm_of_gradients_that_are_not_finite(value):
    parameters = [torch.zeros(3, requires_grad=True) for _ in range(2)]
    parameters[0].grad, parameters[1].grad = torch.ones(3), torch.tensor([1.0, value, 0.0])
    norms = device_norms(parameters)
    assert norms.isfinite().tolist() == [True, False]
    assert not total_norm(norms).isfinite()
    assert not gradient_norm(parameters).isfinite()


@pytest.mark.parametrize("non_finite", ["stop", "skip"])
def test_norms_in_float32_whose_sum_overflows_are_finite(non_finite, tmp_path, monkeypatch):
    """As on a device without float64, where a step with finite gradients must not be left out."""
    monkeypatch.setattr(step_monitor, "device_norms", lambda parameters: torch.full((len(parameters),), 3e38))
    model = Descent("loss", 1.0, non_finite=non_finite)
    weights = fit(tmp_path, model, defers=True, non_finite=non_finite, gradient_clip_val=None)[0]
    assert model.skipped_batches == 0
    assert not any(torch.equal(weight, torch.full_like(weight, 1 / 3)) for weight in weights.values())
    assert total_norm(torch.full((2,), 3e38)) == torch.finfo(torch.float32).max
    assert total_norm(torch.tensor([3e38, math.nan])).isnan()
