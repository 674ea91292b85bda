"""The norm of gradients, and clipping."""

import copy
import math
from functools import partial

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional

from seqlight import GRUCell, SequenceClassifier, SumSign, SyntheticSequences
from seqlight.training.gradients import clip_by_norm, gradient_norm, gradient_total
from tests.training.small_models import curves, trainer

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")


def test_norm_of_large_gradients_is_finite():
    parameters = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    for parameter, value in zip(parameters, (3e25, 4e25), strict=True):
        parameter.grad = torch.tensor([value, 0.0])
    norm = gradient_norm(parameters)
    assert norm.item() == pytest.approx(5e25)
    clip_by_norm(parameters, 1.0, norm)
    assert [parameter.grad[0].item() for parameter in parameters] == pytest.approx([0.6, 0.8])
    parameters[1].grad[1] = -math.inf
    for total in (gradient_norm, gradient_total):
        assert not math.isfinite(total(parameters))
        assert total([]) == 0


class Descent(SequenceClassifier):
    """Trained by plain gradient descent: its steps are as long as the gradient, and Adam's first is not."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.parametrize(
    ("options", "clip"),
    [
        ({"gradient_clip_val": 0.05}, lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.05)),
        (
            {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "norm"},
            lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.05),
        ),
        (
            {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
            lambda parameters: nn.utils.clip_grad_value_(parameters, 0.01),
        ),
        ({"gradient_clip_val": 100.0}, None),
        ({"gradient_clip_val": None}, None),
        ({"gradient_clip_val": 0}, None),
    ],
)
@pytest.mark.parametrize("every", [1, 0], ids=["with a point", "without"])
def test_clipping_bounds_the_step(options, clip, every, tmp_path):
    torch.manual_seed(1)
    data = SyntheticSequences(SumSign(), num_train=32)
    model = Descent(partial(GRUCell, hidden_size=4), input_size=1).double()
    before, batch = copy.deepcopy(model), data.split("train")
    loss = functional.binary_cross_entropy(before(batch.inputs.double()).sigmoid(), batch.targets.double())
    parameters = list(before.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
    assert 0.06 < norm < 100
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    if clip is not None:
        clip(parameters)
        assert any(not torch.equal(p.grad, gradient) for p, gradient in zip(parameters, gradients, strict=True))

    logger = CSVLogger(tmp_path, name=None, version="")
    limits = {"max_steps": 1, "limit_val_batches": 0, "precision": "64-true", "log_every_n_steps": every}
    trainer(tmp_path, **limits, logger=logger, **options).fit(model, data)
    for parameter, after in zip(parameters, model.parameters(), strict=True):
        torch.testing.assert_close(after, parameter - parameter.grad, rtol=1e-9, atol=1e-12)
    if every:
        logger.save()
        [point] = [point for point in curves(tmp_path) if "train/gradient_norm" in point]
        assert point["train/gradient_norm"] == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_norm_is_that_of_torch(dtype, scale):
    torch.manual_seed(0)
    parameters = [torch.zeros(size, dtype=dtype) for size in ((), (3,), (40, 7), (128, 65))]
    for parameter in parameters:
        parameter.grad = scale * torch.randn_like(parameter)
    expected = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    torch.testing.assert_close(gradient_norm(parameters), expected, rtol=0, atol=0)
    assert gradient_norm([torch.zeros(2)]) == 0


class Keeping(torch.optim.SGD):
    def zero_grad(self, set_to_none=True):
        """Keep the gradients."""


@pytest.mark.parametrize(("kind", "keeps"), [(torch.optim.SGD, False), (Keeping, True)])
def test_gradients_are_forgotten_as_the_optimizer_does(kind, keeps):
    model = SequenceClassifier(GRUCell, input_size=1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model.optimizer_zero_grad(0, 0, kind(model.parameters(), lr=0.1))
    assert all((parameter.grad is not None) is keeps for parameter in model.parameters())
