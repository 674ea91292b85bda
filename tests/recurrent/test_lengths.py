"""A sequence's result depends on that sequence only, not on padding, batches, buckets or ranks; lengths are checked."""

from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import nn

from seqlight import (
    Batch,
    GRUCell,
    LSTMCell,
    RecurrentLayer,
    RecurrentStack,
    SequenceClassifier,
    SequenceLoader,
    unroll,
)
from seqlight.data.sequences import Sequences
from seqlight.recurrent.lengths import check_lengths

SIZE, NUM, LONGEST = 3, 23, 12


@cache
def sequences():
    """Sequences of float64 values; the target of each is its number."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, LONGEST + 1, NUM)
    values = rng.standard_normal((lengths.sum(), SIZE))
    starts = np.cumsum(lengths) - lengths
    return Sequences(*map(torch.from_numpy, (values, starts, lengths)), torch.arange(NUM).double())


def padded_with_huge_values(source):
    inputs = torch.full((NUM, LONGEST + 2, SIZE), 1e30, dtype=torch.float64)
    for row, (start, length) in enumerate(zip(source.starts.tolist(), source.lengths.tolist(), strict=True)):
        inputs[row, :length] = source.values[start : start + length]
    return Batch(inputs, source.targets, source.lengths)


@cache
def batches():
    """The same sequences in batches of several kinds."""
    data = sequences()
    loaders = {
        "one by one": [SequenceLoader(data, 1)],
        "all": [SequenceLoader(data, NUM)],
        "huge padding": [SequenceLoader(padded_with_huge_values(data), 7)],
        "buckets": [SequenceLoader(data, 4, shuffle=True, seed=1)],
        "no buckets": [SequenceLoader(data, 4, shuffle=True, seed=1, bucketing=False)],
        "ranks": [SequenceLoader(data, 2, shuffle=True, rank=rank, world_size=3) for rank in range(3)],
    }
    return {name: [batch for loader in each for batch in loader] for name, each in loaders.items()}


def logits_by_number(model, batches):
    with torch.no_grad():
        rows = [
            (int(number), logit)
            for batch in batches
            for number, logit in zip(batch.targets, model(batch.inputs, batch.lengths), strict=True)
        ]
    assert sorted(number for number, _ in rows) == list(range(NUM))
    return torch.stack([logit for _, logit in sorted(rows, key=lambda row: row[0])])


@pytest.mark.parametrize("readout", ["last", "mean", "max", "last_mean_max"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("backend", ["eager", "torch", "kernel"])
@pytest.mark.parametrize(("cell", "layer"), [(GRUCell, nn.GRU), (LSTMCell, nn.LSTM)])
def test_each_sequence_gives_the_same_alone_in_torchs_layer(cell, layer, backend, bidirectional, readout):
    torch.manual_seed(0)
    model = SequenceClassifier(
        partial(cell, hidden_size=5), input_size=SIZE, bidirectional=bidirectional, readout=readout, backend=backend
    )
    model = model.double().eval()
    expected = logits_alone(model, layer, sequences(), readout)
    for name, each in batches().items():
        torch.testing.assert_close(logits_by_number(model, each), expected, rtol=0, atol=1e-12, msg=name)


def logits_alone(model, layer, data, readout):
    """The logits of each sequence alone, by torch's layer with the same weights."""
    stack = model.recurrent
    reference = layer(SIZE, 5, bidirectional=stack.num_directions == 2, batch_first=True).double()
    state = {}
    for direction, part in zip(("", "_reverse"), [layer.cell for layer in stack.layers], strict=False):
        state.update({f"{name}_l0{direction}": value for name, value in part.state_dict().items()})
    reference.load_state_dict(state)
    logits = []
    for start, length in zip(data.starts.tolist(), data.lengths.tolist(), strict=True):
        with torch.no_grad():
            outputs, _ = reference(data.values[None, start : start + length])
            forwards, backwards = outputs[0, :, :5], outputs[0, :, 5:]
            last = torch.cat([forwards[-1], *backwards[:1]])
            parts = {"last": last, "mean": outputs[0].mean(0), "max": outputs[0].max(0).values}
            features = torch.cat([*parts.values()]) if readout == "last_mean_max" else parts[readout]
            logits.append(model.head(features)[0])
    return torch.stack(logits)


@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "bidirectional": True}, {"readout": "mean"}])
@pytest.mark.parametrize("source", ["features", "tokens"])
def test_lengths_are_checked_once_per_forward_pass(source, options, monkeypatch):
    size = {"input_size": SIZE} if source == "features" else {"vocab_size": SIZE}
    model = SequenceClassifier(partial(GRUCell, hidden_size=5), **size, **options)
    inputs = torch.zeros(2, 4, SIZE) if source == "features" else torch.zeros(2, 4, dtype=torch.int64)
    calls = []
    aminmax = torch.aminmax
    monkeypatch.setattr(torch, "aminmax", lambda values: calls.append(1) or aminmax(values))
    model(inputs, torch.tensor([4, 2]))
    assert len(calls) == 1


@pytest.mark.parametrize("length", [0, -1, LONGEST + 1])
@pytest.mark.parametrize("function", ["layer", "stack", "unroll", "classifier"])
def test_lengths_must_be_within_the_time_steps(function, length):
    cell = GRUCell(SIZE, 5)
    inputs, lengths = torch.randn(4, LONGEST, SIZE), torch.tensor([LONGEST, 2, length, 1])
    run = {
        "layer": lambda: RecurrentLayer(cell)(inputs, lengths),
        "stack": lambda: RecurrentStack(partial(GRUCell, hidden_size=5), SIZE)(inputs, lengths),
        "unroll": lambda: unroll(cell, inputs, lengths=lengths),
        "classifier": lambda: SequenceClassifier(partial(GRUCell, hidden_size=5), input_size=SIZE)(inputs, lengths),
    }[function]
    message = f"lengths must be between 1 and the {LONGEST} time steps of inputs, got {length} for sequence 2"
    with pytest.raises(ValueError, match=message):
        run()


class Halved(SequenceClassifier):
    """A model that reads every second step. It computes with the lengths, which must be a tensor."""

    def features(self, inputs, lengths=None):
        assert lengths is None or isinstance(lengths, torch.Tensor)
        return super().features(inputs, lengths)[:, ::2]

    def classify(self, features, lengths=None):
        return super().classify(features, None if lengths is None else (lengths + 1) // 2)


class Shortened(SequenceClassifier):
    """A model that shortens the sequences, but not their lengths."""

    def features(self, inputs, lengths=None):
        return inputs[:, ::2]


def test_subclass_computes_with_lengths():
    model = Halved(partial(GRUCell, hidden_size=5), input_size=SIZE).eval()
    inputs = torch.randn(2, 6, SIZE)
    logits = model(inputs, torch.tensor([6, 3]))
    alone = [model(inputs[:1]), model(inputs[1:, :3])]
    torch.testing.assert_close(logits, torch.cat(alone))


@pytest.mark.parametrize("backend", ["eager", "torch", "kernel"])
def test_lengths_are_checked_again_for_other_inputs(backend):
    model = Shortened(partial(GRUCell, hidden_size=5), input_size=SIZE, backend=backend)
    with pytest.raises(ValueError, match="between 1 and the 3 time steps of inputs, got 5 for sequence 0"):
        model(torch.zeros(2, 6, SIZE), torch.tensor([5, 3]))
    stack, checked = model.recurrent, check_lengths(torch.tensor([5, 3]), torch.zeros(2, 6))
    with pytest.raises(ValueError, match="between 1 and the 3 time steps of inputs, got 5 for sequence 0"):
        stack(torch.zeros(2, 3, SIZE), checked)
