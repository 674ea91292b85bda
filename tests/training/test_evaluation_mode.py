"""Evaluation of a model in training mode: the values of a copy in evaluation mode, and no change of the model."""

import copy
import functools
import threading
import types

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from seqlight import Batch, GRUCell, LSTMCell, SequenceClassifier, cell_activity, cell_figure, memory_curve
from seqlight.training.evaluation_mode import evaluation_copy

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*without a kernel")


class Own(SequenceClassifier):
    """Has submodules that depend on the mode, and reaches them in one of several ways."""

    def __init__(self, way="", **options):
        super().__init__(functools.partial(GRUCell, hidden_size=6), input_size=3, **options)
        self.own = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.frozen = nn.BatchNorm1d(3).eval()
        self.way, self.keeps = way, False
        if way == "list":
            self.nested = {"all": [(self.own,)]}
        elif way == "method":
            self.run = self._run
        elif way == "partial":
            self.run = functools.partial(Own._run, self)
        elif way == "closure":
            self.run = lambda rows: self._run(rows)
        elif way == "compiled":
            self.own = torch.compile(self.own, backend="eager")
        elif way == "compiled in place":
            self.own.compile(backend="eager")
        elif way == "parametrized":
            parametrizations.weight_norm(self.head)
            parametrizations.orthogonal(self.recurrent.layers[0].cell, "weight_hh")
        elif way == "hook":
            self.recurrent.register_forward_hook(
                lambda module, _, result: (result[0], tuple(map(double, result[1]))) if not module.training else None
            )
        elif way == "script":
            self.own = torch.jit.script(self.own)

    def _run(self, rows):
        return self.own(rows) + 1.0 * self.training

    def features(self, inputs, lengths=None):
        rows = super().features(inputs, lengths)
        run = self.nested["all"][0][0] if self.way == "list" else getattr(self, "run", self.own)
        self.seen = rows.shape
        if self.keeps:
            self.last = self.own
        return self.frozen(run(rows.transpose(1, 2).reshape(-1, 3)).reshape(rows.shape).flatten(0, 1)).view(rows.shape)


def double(state):
    return tuple(2 * part for part in state)


WAYS = ["", "list", "method", "partial", "closure", "compiled", "compiled in place", "parametrized", "hook", "script"]


def made(way):
    torch.manual_seed(0)
    options = {"recurrent_dropout": 0.3, "zoneout": 0.2, "input_dropout": 0.4} if way == "" else {}
    model = Own(way, dropout=0.5, num_layers=2, readout="mean", **options).train()
    model.frozen.eval()
    model.frozen.running_mean += 0.3
    return model


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


def batch(size=5):
    torch.manual_seed(1)
    return Batch(torch.randn(size, 4, 3), (torch.arange(size) % 2).float(), torch.randint(1, 5, (size,)))


def by_eval(model, data):
    """The probabilities after `eval()`, which is undone for each module."""
    before = modes(model)
    model.eval()
    with torch.no_grad():
        result = model(data.inputs, data.lengths).sigmoid()
    for name, module in model.named_modules():
        module.training = before[name]
    return result


@pytest.mark.parametrize("way", WAYS)
def test_evaluation_gives_the_values_of_eval_and_changes_no_mode(way):
    model, data = made(way), batch()
    model.keeps = True
    before = modes(model)
    expected = by_eval(model, data)
    state = copy.deepcopy(model.state_dict())
    model.seen = model.last = None
    found = model.probabilities(data.inputs, data.lengths)
    torch.testing.assert_close(found, expected)
    assert model.seen == (5, 4, 3)
    assert model.last is model.own
    assert modes(model) == before
    assert any(before.values())
    assert not before["frozen"]
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def same_mode(model):
    """The model in the mode in which `by_eval` computes; it is deep-copied, so hooks and figures can't change it."""
    return copy.deepcopy(model).eval()


FIGURES = {
    "memory_curve": lambda model, data: memory_curve(model, data),
    "cell_activity": lambda model, data: cell_activity(model, data).probabilities,
    "probabilities": lambda model, data: model.probabilities(data.inputs, data.lengths),
}


@pytest.mark.parametrize(("name", "training"), [(name, True) for name in FIGURES] + [("cell_activity", False)], ids=str)
def test_threads_get_the_values_of_one(name, training):
    model, data = made(""), batch()
    expected = FIGURES[name](same_mode(model), data)
    if not training:
        model.eval()
    before, seen, results = modes(model), [], []
    done = threading.Event()

    def watch():
        while not done.is_set():
            seen.append(modes(model) == before and not model.recurrent._forward_hooks)

    def work():
        results.extend(FIGURES[name](model, data) for _ in range(3))

    pool = [threading.Thread(target=work) for _ in range(3)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *pool):
        thread.start()
    for thread in pool:
        thread.join()
    done.set()
    watcher.join()
    assert len(results) == 9
    for result in results:
        torch.testing.assert_close(result, expected, equal_nan=True)
    assert all(seen)


def test_a_figure_changes_no_mode():
    model = made("")
    before = modes(model)
    cell_figure(model, batch())
    assert modes(model) == before


@pytest.mark.parametrize("name", FIGURES)
def test_modes_are_unchanged_after_an_error(name):
    model, data = made("method"), batch()
    model.run = types.MethodType(lambda self, rows: 1 / 0, model)
    before = modes(model)
    with pytest.raises(ZeroDivisionError):
        FIGURES[name](model, data)
    assert modes(model) == before


def test_a_model_in_evaluation_mode_is_not_copied():
    model = made("").eval()
    seen = []
    model.register_forward_pre_hook(lambda module, _: seen.append(module))
    model.probabilities(batch().inputs)
    assert seen == [model]


def test_kernels_are_made_once():
    model = SequenceClassifier(LSTMCell, input_size=3).train()
    model.probabilities(batch().inputs)
    layer = model.recurrent.layers[0]
    assert len(layer._kernels._made) == 1
    with evaluation_copy(model) as replica:
        assert replica.recurrent.layers[0]._kernels is layer._kernels
        assert all(own is shared for own, shared in zip(replica.parameters(), model.parameters(), strict=True))
