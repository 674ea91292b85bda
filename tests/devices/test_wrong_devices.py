"""Wrong devices and waits for the device, found without a GPU.

In torch's FakeTensorMode, tensors on the device "meta" have no values: an operation with a tensor on another device
raises, and so does reading a value, for which a GPU would have to be waited for.
"""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import seqlight
from seqlight import GatedCell, RecurrentCell, SequenceClassifier
from seqlight.common.steps import step_mask
from seqlight.recurrent.lengths import CheckedLengths, reverse_within_lengths, run_packed
from seqlight.training.metrics import classification_loss, count_correct

# Lengths that are checked already, which only modules of seqlight pass on.
pytestmark = pytest.mark.usefixtures("without_type_checks")
CELLS = {name: getattr(seqlight, name) for name in seqlight.__all__ if name.endswith("Cell")}
CELLS = {name: cell for name, cell in CELLS.items() if cell not in (GatedCell, RecurrentCell)}
OPTIONS = {
    "plain": {"input_size": 2},
    "noise": {
        **{"input_size": 2, "num_layers": 2, "bidirectional": True},
        **{"dropout": 0.3, "recurrent_dropout": 0.2, "zoneout": 0.1, "input_dropout": 0.1},
    },
    "tokens": {
        **{"vocab_size": 5, "num_layers": 2, "readout": "mean"},
        **{"residual": True, "norm": "layer", "class_weights": [1.0, 2.0]},
    },
}


def on_meta(cell=seqlight.GRUCell, **options):
    options = {"input_size": 2, **options} if "vocab_size" not in options else options
    model = SequenceClassifier(partial(cell, hidden_size=4), backend="eager", **options)
    for layer in model.recurrent.layers:
        layer._checked = True  # the check of the cell reads values, once
    return model.to("meta")


LENGTHS = CheckedLengths(torch.tensor([3, 5]), 5)  # on the CPU, as in a Batch


def loss_of(model, lengths=LENGTHS):
    """The loss, logits and targets of a batch on the device."""
    inputs = torch.randn(2, 5, 2, device="meta") if model.embedding is None else torch.zeros(2, 5, device="meta").long()
    targets = torch.zeros(2, device="meta")
    logits = model(inputs, lengths)
    return classification_loss(logits, targets, "binary", class_weights=model.class_weights), logits, targets


@pytest.mark.parametrize(
    ("cell", "options"), [*((cell, "plain") for cell in CELLS), ("GRUCell", "noise"), ("LSTMCell", "tokens")]
)
def test_forward_and_backward_stay_on_the_device(cell, options):
    model = on_meta(CELLS[cell], **OPTIONS[options])
    for lengths in (LENGTHS, None):
        with FakeTensorMode(allow_non_fake_inputs=True):
            loss, logits, targets = loss_of(model, lengths)
            gradients = torch.autograd.grad(loss, [*model.parameters()])
            correct = count_correct(logits, targets, "binary")
        assert {each.device.type for each in (loss, logits, correct, *gradients)} == {"meta"}


class Misplaced(seqlight.GRUCell):
    """Its initial state is on the CPU, wherever the inputs are."""

    def initial_state(self, batch_size, *, device, dtype):
        return super().initial_state(batch_size, device=torch.device("cpu"), dtype=dtype)


class Waiting(seqlight.GRUCell):
    """Reads a value in each step."""

    def update(self, input_gates, hidden_gates, state):
        assert bool(state[0].isfinite().all())
        return super().update(input_gates, hidden_gates, state)


@pytest.mark.parametrize(
    ("cell", "message"), [(Misplaced, "same device|two different devices"), (Waiting, "_local_scalar_dense")]
)
def test_a_planted_fault_is_found(cell, message):
    model = on_meta(cell)
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(Exception, match=message):
        loss_of(model)


@pytest.mark.parametrize(
    ("clip", "skips_on_device", "accumulate"),
    [((1.0, "norm"), True, 1), ((1.0, "value"), True, 2), ((None, None), False, 1), ((1.0, "norm"), False, 2)],
)
def test_a_training_step_does_not_wait_for_the_device(clip, skips_on_device, accumulate):
    model = on_meta()
    model._trainer = pl.Trainer(barebones=True, accelerator="cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer._step_supports_amp_scaling = skips_on_device
    with FakeTensorMode(allow_non_fake_inputs=True):
        for _ in range(2):
            for _ in range(accumulate):
                loss, logits, targets = loss_of(model)
                model._monitor.add(loss, logits, targets)
                model._monitor.watch(loss).backward()
            model._monitor.check_and_clip(model, optimizer, *clip)
            assert hasattr(optimizer, "found_inf") == skips_on_device
            model._monitor.end_batch(model)
            optimizer.zero_grad()
        with pytest.raises(DataDependentOutputException):
            model._monitor.settle(model)  # the only place that waits


class CopiesThatWait(TorchDispatchMode):
    """Collects the copies from the CPU to the device that wait for what the device does."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        to_device = operation is torch.ops.aten._to_copy.default and torch.device(kwargs["device"]).type == "meta"
        if to_device and args[0].is_cpu and not kwargs.get("non_blocking"):
            self.found.append(args[0])
        return operation(*args, **kwargs)


@pytest.mark.parametrize(
    ("use", "waits"),
    [
        (lambda inputs: step_mask(LENGTHS.values, 5, inputs.device), False),
        (lambda inputs: reverse_within_lengths(inputs, LENGTHS), False),
        (lambda inputs: run_packed(lambda rows, *_: (rows, (inputs[:, 0],)), inputs, LENGTHS, (inputs[:, 0],)), False),
        (lambda inputs: inputs * LENGTHS.values.to("meta")[:, None, None], True),
    ],
    ids=["mask", "reversal", "packed", "a planted fault"],
)
def test_copies_of_lengths_do_not_wait_for_the_device(use, waits):
    inputs = torch.randn(2, 5, 2, device="meta")
    with CopiesThatWait() as copies:
        use(inputs)
    assert bool(copies.found) == waits
