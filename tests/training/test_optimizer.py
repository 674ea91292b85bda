"""Optimizers other than Adam, weight decay, and the warm-up of the learning rate."""

import math
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BatchSizeFinder
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.nn import functional

import seqlight
from seqlight import LayerNormLSTMCell, NonFiniteError, Parity, RecurrentCell, SequenceClassifier, SyntheticSequences
from seqlight.training.optimizer import UNUSABLE, check_step, make_optimizer
from tests.training.breaking import Breaking
from tests.training.breaking import data as breaking_data
from tests.training.small_models import trainer

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")
adamw = partial(torch.optim.AdamW, weight_decay=0.3)
OPTIMIZERS = {
    name: each
    for name, each in vars(torch.optim).items()
    if isinstance(each, type) and issubclass(each, torch.optim.Optimizer)
}
USABLE = {name: cls for name, cls in OPTIMIZERS.items() if cls not in UNUSABLE}


class OwnCell(RecurrentCell):
    """It has a vector and a matrix of its own."""

    def __init__(self, input_size, hidden_size=4):
        super().__init__(input_size, hidden_size)
        self.leak = nn.Parameter(torch.zeros(hidden_size))
        self.mix = nn.Parameter(torch.eye(hidden_size, input_size))

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs, state):
        output = torch.sigmoid(self.leak) * state[0] + inputs @ self.mix.T
        return output, (output,)


def data(num_train=160, **options):
    return SyntheticSequences(Parity(max_length=6), num_train=num_train, num_val=16, batch_size=32, **options)


def model(cell=None, **options):
    torch.manual_seed(0)
    cell = partial(LayerNormLSTMCell, hidden_size=4) if cell is None else cell
    return SequenceClassifier(cell, vocab_size=2, num_layers=2, norm="layer", **options)


def factors(warmup, steps):
    rise = [(at + 1) / warmup for at in range(warmup)]
    span = steps - warmup
    return rise + [(1 + math.cos(math.pi * at / span)) / 2 for at in range(span)]


@pytest.mark.parametrize("clips", [True, False])
@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adam,
        partial(torch.optim.Adam, weight_decay=0.2, betas=(0.8, 0.9)),
        torch.optim.AdamW,  # its default is a weight decay
        partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.1),
        partial(torch.optim.RMSprop, weight_decay=0.1),
        partial(torch.optim.Adagrad, weight_decay=0.1),
        partial(torch.optim.AdamW, foreach=True),
    ],
)
def test_training_is_that_of_a_plain_loop(optimizer, clips, tmp_path):
    trained, reference, source = model(optimizer=optimizer, warmup_steps=3), model(), data()
    options = {"gradient_clip_val": 0.1 if clips else None, "enable_checkpointing": False}
    trainer(tmp_path, **options).fit(trained, source)

    make = optimizer if isinstance(optimizer, partial) else partial(optimizer)
    decay = make.keywords.get("weight_decay", 0.01 if make.func is torch.optim.AdamW else 0.0)
    parameters = list(reference.parameters())
    if decay:
        vectors = [each for each in parameters if each.ndim < 2]
        matrices = [each for each in parameters if each.ndim >= 2]
        parameters = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    fused = {"fused": True} if make.func in (torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad) else {}
    fused |= {"fused": True} if optimizer is torch.optim.AdamW else {}
    by_hand, loader, rates = make(parameters, **fused), source.train_dataloader(), iter(factors(3, 10))
    for epoch in range(2):
        loader.set_epoch(epoch)
        for batch in loader:
            rate = 0.01 * next(rates)
            for group in by_hand.param_groups:
                group["lr"] = rate
            by_hand.zero_grad()
            logits = reference(batch.inputs, batch.lengths)
            functional.binary_cross_entropy_with_logits(logits, batch.targets).backward()
            if clips:
                # In the order of the optimizer, whose sum of squares rounds differently.
                nn.utils.clip_grad_norm_([each for group in by_hand.param_groups for each in group["params"]], 0.1)
            by_hand.step()
    torch.testing.assert_close(trained.state_dict(), reference.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_skipped_step_leaves_out_the_weight_decay(where, tmp_path):
    broken = Breaking(where, at="always", non_finite="skip", optimizer=adamw)
    before = [each.detach().clone() for each in broken.parameters()]
    with pytest.raises(NonFiniteError, match="no step of the epoch or run would be taken"):
        trainer(tmp_path, enable_checkpointing=False).fit(broken, breaking_data())
    torch.testing.assert_close([each.detach() for each in broken.parameters()], before, rtol=0, atol=0)


def test_only_tensors_with_two_dimensions_have_weight_decay():
    for cell in (None, OwnCell):
        module = model(cell)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        decayed, others = make_optimizer(adamw, module, 0.1, fused=True).param_groups
        assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0)
        assert {names[id(each)] for each in decayed["params"]} >= {"embedding.weight", "head.weight"}
        assert all(each.ndim >= 2 for each in decayed["params"])
        assert {id(each) for each in (*decayed["params"], *others["params"])} == set(names)
        vectors = {names[id(each)].rpartition(".")[2] for each in others["params"]}
        assert {"bias", "weight"} | ({"leak"} if cell else set()) <= vectors  # `weight` is that of the norm
    assert len(make_optimizer(partial(adamw, weight_decay=0), module, 0.1, fused=True).param_groups) == 1
    only_matrices = nn.Linear(2, 2, bias=False)
    assert len(make_optimizer(adamw, only_matrices, 0.1, fused=True).param_groups) == 1


@pytest.mark.parametrize("name", USABLE)
def test_every_usable_optimizer_trains(name, tmp_path):
    check_step(USABLE[name], torch.device("cpu"))
    module = model(optimizer=USABLE[name])
    before = [each.clone() for each in module.parameters()]
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(module, data(64))
    assert type(fitted.optimizers[0]) is USABLE[name]
    assert any(not torch.equal(*pair) for pair in zip(module.parameters(), before, strict=True))
    fused = "fused" in fitted.optimizers[0].defaults
    assert all(bool(group.get("fused")) is fused for group in fitted.optimizers[0].param_groups)
    saved = fitted.checkpoint_callback.best_model_path
    content = torch.load(saved, weights_only=True)
    path = f"torch.optim.{name}"
    assert (
        content["hyper_parameters"]["optimizer"]["class_path"]
        == content["seqlight"]["schedule"]["optimizer"]["class_path"]
    )
    assert content["hyper_parameters"]["optimizer"]["class_path"] == path
    loaded = seqlight.load(saved)
    assert loaded.optimizer_class is USABLE[name]
    assert loaded.hparams == module.hparams
    trainer(tmp_path / "loaded", max_epochs=1).fit(loaded.train(), data(64))  # lists in the checkpoint are tuples again


@pytest.mark.parametrize("cls", UNUSABLE)
def test_unusable_optimizer_is_refused(cls):
    with pytest.raises(ValueError, match=rf"optimizer must be .*train the model; {cls.__name__} can't: "):
        model(optimizer=cls)
    with pytest.raises(ValueError, match="can't: "):
        check_step(cls, torch.device("cpu"))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("AdamW", r"optimizer must be a class such as torch\.optim\.AdamW, or .*; got 'AdamW'"),
        (lambda parameters, rate: torch.optim.Adam(parameters, rate), r"optimizer must be a class such as"),
        (nn.Linear, r"optimizer must be a class such as"),
        (partial(torch.optim.AdamW, weightdecay=1), r"optimizer .*AdamW: got an unexpected keyword .*'weightdecay'"),
        (partial(torch.optim.AdamW, lr=1), r"optimizer must get its learning rate from `learning_rate`"),
    ],
)
def test_wrong_optimizer_is_refused(optimizer, message):
    with pytest.raises((TypeError, ValueError), match=message):
        model(optimizer=optimizer)


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (
            partial(torch.optim.AdamW, amsgrad=True, weight_decay=-1),
            r"AdamW\(weight_decay=-1\) can't: Invalid weight_decay",
        ),
        (partial(torch.optim.SGD, nesterov=True), "Nesterov momentum requires a momentum"),
        (partial(torch.optim.Adam, fused=True, foreach=True), "cannot be `True` together"),
        (partial(torch.optim.SGD, differentiable=True), "in-place operation"),
    ],
)
def test_wrong_arguments_are_refused_before_training(optimizer, reason, tmp_path):
    module = model(optimizer=optimizer)
    with pytest.raises(ValueError, match=f"optimizer must be one .*{reason}"):
        trainer(tmp_path).fit(module, data())


class Rates(pl.Callback):
    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        self.rates.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("warmup", [0, 1, 4, 10])
@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_rate_rises_and_then_follows_the_schedule(kind, warmup, tmp_path):
    rates = Rates()
    module = model(optimizer=adamw, warmup_steps=warmup, lr_schedule=kind)
    trainer(tmp_path, callbacks=[rates], enable_checkpointing=False).fit(module, data())
    expected = factors(warmup, 10) if kind == "cosine" else [*factors(warmup, warmup), *[1] * (10 - warmup)]
    assert rates.rates == pytest.approx([0.01 * each for each in expected], rel=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_warmup_that_is_longer_than_the_run_is_refused(kind, tmp_path):
    options = {"callbacks": [rates := Rates()], "enable_checkpointing": False}
    with pytest.raises(MisconfigurationException, match="`warmup_steps=11` is longer than the run, which has 10 steps"):
        trainer(tmp_path, **options).fit(model(warmup_steps=11, lr_schedule=kind), data())
    assert rates.rates == []
    # A run that only tests the code takes one step.
    trainer(tmp_path, fast_dev_run=True, **options).fit(model(warmup_steps=11, lr_schedule=kind), data())
    assert rates.rates == pytest.approx([0.01 / 11])


def test_finder_can_take_fewer_steps_than_the_warmup(tmp_path):
    rates, source = Rates(), data(num_train=32 * 40)
    finder = BatchSizeFinder(init_val=8, max_trials=2, steps_per_trial=1)
    module = model(warmup_steps=20)
    trainer(tmp_path, callbacks=[finder, rates], max_epochs=1, enable_checkpointing=False).fit(module, source)
    steps = len(rates.rates)
    assert source.batch_size == finder.optimal_batch_size == 16
    assert rates.rates == pytest.approx([0.01 * each for each in factors(20, steps)], rel=1e-12)


@pytest.mark.usefixtures("without_type_checks")
def test_negative_warmup_is_refused():
    with pytest.raises(ValueError, match="warmup_steps must be at least 0, got -1"):
        model(warmup_steps=-1)
    with pytest.raises(TypeError, match=r"warmup_steps must be an integer, got 0\.5"):
        model(warmup_steps=0.5)
