"""Refusals: an `update` that no kernel can express."""

import itertools
import math
import random
import re
import warnings
from random import randint

import numpy as np
import pytest
import torch
from torch.nn import functional

from seqlight import GatedCell, RecurrentLayer, unroll
from seqlight.kernels.recorder import UnsupportedUpdateError
from seqlight.kernels.trace import trace_update
from seqlight.recurrent.kernel_backend import KernelWarning


def update_with(change):
    class Unusual(GatedCell):
        num_gates = 1

        def update(self, input_gates, hidden_gates, state):
            return (change(self, torch.tanh(input_gates + hidden_gates), state[0]),)

    return Unusual


LEAST = torch.tensor(-128, dtype=torch.int8)
REFUSED = {
    "units": (lambda cell, new, old: new.roll(1, -1), "mixes the units"),
    "product": (lambda cell, new, old: new @ torch.eye(5), "torch.mm"),
    "norm": (lambda cell, new, old: functional.layer_norm(new, (5,)), "torch"),
    "random": (lambda cell, new, old: new * torch.rand_like(new), "torch.rand"),
    "cumulative": (lambda cell, new, old: new.cumsum(-1), "torch.cumsum"),
    "softmax": (lambda cell, new, old: new.softmax(-1), "torch"),
    "detached-mean": (lambda cell, new, old: new.detach().mean(-1, keepdim=True).expand_as(new), "mixes the units"),
    "integers": (lambda cell, new, old: new * ~(old > 0).int(), "a conversion from torch.bool to torch.int32"),
    "bits": (lambda cell, new, old: new * ((old > 0) | 2), "which gives torch.int64"),
    "cast": (lambda cell, new, old: new * torch.zeros_like(old, dtype=torch.int64).copy_(old), "a conversion from"),
    "view": (lambda cell, new, old: new + old.view(torch.int32), "view"),
    "precision": (lambda cell, new, old: (new.double() * 0.1).float(), "a conversion from"),
    "affine": (lambda cell, new, old: new / (1 + cell.weight_hh.norm()), "reads the weights of the gates"),
    "numpy": (lambda cell, new, old: new * float(old.detach().numpy().max()), "reads a tensor's value in Python"),
    "numpy-array": (
        lambda cell, new, old: new * np.asarray(old.detach()).max(),
        "reads a tensor's value in Python",
    ),
    "tolist": (lambda cell, new, old: new if max(old.tolist()[0]) < 9 else old, "reads a tensor's value in Python"),
    "batch-size": (lambda cell, new, old: new if len(new) < 9 else 2 * new, "with another batch"),
    "grad-mode": (lambda cell, new, old: new if torch.is_grad_enabled() else 2 * new, "without gradients"),
    "requires-grad": (lambda cell, new, old: new if old.requires_grad else 2 * new, "without gradients"),
    "int64": (lambda cell, new, old: new * ((old > 0) * (2**62 + 1) * 4), "torch.mul, which gives torch.int64"),
    "rounded": (lambda cell, new, old: new * ((old > 0) * (2**24 + 1)), "torch.mul, which gives torch.int64"),
    "remainder": (lambda cell, new, old: new * (-((old > 0) * 7) % 3), "torch.remainder"),
    "uint8": (lambda cell, new, old: new * (torch.ones_like(old, dtype=torch.uint8) * (old > 0)), "torch.uint8"),
    "int8": (lambda cell, new, old: new * torch.where(old > 0, LEAST, -LEAST).abs(), "which gives torch.int8"),
    "complex-scalar": (lambda cell, new, old: (1j * new).imag, "torch.mul, which has complex numbers"),
    "complex": (lambda cell, new, old: torch.complex(new, old).abs(), "torch.complex"),
    "polar": (lambda cell, new, old: torch.polar(new, old).real, "torch.polar"),
    "view-as-complex": (
        lambda cell, new, old: torch.view_as_complex(torch.stack((new, old), -1)).real,
        "torch.view_as_complex, which gives torch.complex64",
    ),
    "complex-constant": (lambda cell, new, old: (new * torch.tensor(1j)).imag, "torch.mul, which has complex numbers"),
    "uneven": (lambda cell, new, old: torch.cat((new[:, :2], old[:, 2:]), -1), "treats units"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_operation_is_named_and_runs_in_the_loop(name):
    change, message = REFUSED[name]
    cell = update_with(change)(2, 5)
    inputs = torch.randn(3, 4, 2)
    layer = RecurrentLayer(cell)
    with torch.no_grad():
        torch.manual_seed(3)
        with pytest.warns(KernelWarning, match=f"Unusual runs without a kernel.*{message}"):
            outputs, _ = layer(inputs)
        torch.manual_seed(3)
        torch.testing.assert_close(outputs, unroll(cell, inputs)[0])
    with pytest.raises(ValueError, match=f"backend='kernel' can't serve Unusual: .*{message}"):
        RecurrentLayer(cell, backend="kernel")(inputs)


def set_true(mask):
    mask += True
    return mask


BOOLS = {
    "plus": lambda mask, old: mask + True,
    "plus-in-place": lambda mask, old: set_true(mask),
    "add": lambda mask, old: torch.add(mask, True),
    "times": lambda mask, old: mask * False,
    "fill": lambda mask, old: mask.fill_(2),
    "fill-zero": lambda mask, old: mask.fill_(0.0),
    "masked-fill": lambda mask, old: mask.masked_fill(old > 0, 3),
    "fill-integer": lambda mask, old: (mask * 3).fill_(2.5),
    "masked-fill-integer": lambda mask, old: (mask * 3 - 1).masked_fill(old > 0, 7),
    "largest-integer": lambda mask, old: (mask * 3 - 1) * 2**22,
    "power": lambda mask, old: (mask * 3 - 1) ** 3,
    "pad": lambda mask, old: functional.pad(mask[:, :0], (0, 5), value=2),
}


@pytest.mark.parametrize("name", BOOLS)
def test_bools_and_small_integers(name):
    torch.manual_seed(0)
    cell = update_with(lambda cell, new, old: BOOLS[name](new > 0.1, old) * new + old / 2)(2, 5).double()
    inputs = torch.randn(3, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(RecurrentLayer(cell, backend="kernel")(inputs)[0], unroll(cell, inputs)[0])


MEMORY, NUMBERS = 0, itertools.count()


class Counts(GatedCell):
    """Two traces are equal: the count changes the result in the fiftieth step."""

    num_gates = 1

    def __init__(self, input_size, hidden_size=5):
        super().__init__(input_size, hidden_size)
        self.scale = torch.nn.Parameter(torch.rand(()))
        self.start()

    def update(self, input_gates, hidden_gates, state):
        new = self.scale * torch.tanh(input_gates + hidden_gates)
        return (new if self.count() % 100 < 50 else state[0],)


class CountsOnClass(Counts):
    steps = 0

    def start(self):
        CountsOnClass.steps = 0

    def count(self):
        CountsOnClass.steps += 1
        return CountsOnClass.steps


class CountsOnItself(Counts):
    def start(self):
        self.steps = 0

    def count(self):
        self.steps += 1
        return self.steps


class CountsBelow(Counts):
    def start(self):
        self.child = torch.nn.Identity()
        self.child.steps = 0

    def count(self):
        self.child.steps += 1
        return self.child.steps


class CountsInGlobal(Counts):
    def start(self):
        global MEMORY
        MEMORY = 0

    def update(self, input_gates, hidden_gates, state):
        global MEMORY
        MEMORY += 1
        return super().update(input_gates, hidden_gates, state)

    def count(self):
        return MEMORY


class CountsInList(Counts):
    """Parts of a variable, which a method and a function that `update` calls read or change."""

    def start(self):
        PARTS["steps"][:] = [0]

    def count(self):
        return add_to_parts()


def add_to_parts():
    PARTS["steps"][0] += 1
    return PARTS["steps"][0]


PARTS = {"steps": [0]}


class CountsInObject(Counts):
    def start(self):
        SETTINGS.steps = 0

    def count(self):
        SETTINGS.steps += 1
        return SETTINGS.steps


class Settings:
    steps = 0


SETTINGS = Settings()


class CountsInAnotherClass(CountsInObject):
    def start(self):
        Settings.steps = 0

    def count(self):
        Settings.steps += 1
        return Settings.steps


class CountsInDefault(Counts):
    def start(self):
        self.update.__defaults__[0][0] = 0

    def update(self, input_gates, hidden_gates, state, steps=[0]):  # noqa: B006
        steps[0] += 1
        new = self.scale * torch.tanh(input_gates + hidden_gates)
        return (new if steps[0] % 100 < 50 else state[0],)


class CountsInBuffer(Counts):
    """A buffer that each step replaces."""

    def start(self):
        if not hasattr(self, "steps"):
            self.register_buffer("steps", torch.zeros(()))

    def update(self, input_gates, hidden_gates, state):
        self.steps = self.steps + 1
        return (self.scale * torch.tanh(input_gates + hidden_gates),)


class KeepsItsState(Counts):
    """An attribute that exists after the first step only."""

    def start(self):
        pass

    def update(self, input_gates, hidden_gates, state):
        self.last = torch.tanh(input_gates + hidden_gates)
        return (self.scale * self.last,)


class CountsByIterator(Counts):
    def start(self):
        global NUMBERS
        NUMBERS = itertools.count()

    def update(self, input_gates, hidden_gates, state):
        new = self.scale * torch.tanh(input_gates + hidden_gates)
        return (new if next(NUMBERS) % 100 < 50 else state[0],)


REMEMBERED = {
    CountsOnClass: "the variable CountsOnClass",
    CountsInList: "the variable PARTS",
    CountsInObject: "the variable SETTINGS",
    CountsInAnotherClass: "the variable Settings",
    CountsInDefault: "its attribute update is a list, whose changes can't be detected",
    CountsOnItself: "the attribute steps",
    CountsBelow: "the attribute child.steps",
    CountsInGlobal: "the variable MEMORY",
    CountsByIterator: "the iterator NUMBERS",
    CountsInBuffer: "the attribute steps",
    KeepsItsState: "attribute last",
}


@pytest.mark.parametrize("cell", REMEMBERED)
def test_update_with_memory_is_refused_and_runs_in_the_loop(cell):
    """The loop's values, in each of several calls, with one warning."""
    made, inputs = cell(2), torch.randn(3, 60, 2)
    found = {}
    for backend in ("eager", "auto"):
        layer = RecurrentLayer(made, backend=backend)
        message = rf"{cell.__name__} runs without a kernel.*.*{REMEMBERED[cell]}"
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            layer(inputs)
            made.start()  # the check of the contract and the trace count too
            found[backend] = [layer(inputs)[0] for _ in range(3)]
        assert [re.search(message, str(each.message)) is not None for each in seen] == [True] * (backend == "auto")
    torch.testing.assert_close(found["auto"], found["eager"])
    with pytest.raises(ValueError, match=f"can't serve {cell.__name__}: "):
        RecurrentLayer(cell(2), backend="kernel")(inputs)


def test_unwritten_memory_is_refused():
    def partly_written(new):
        memory = torch.empty_like(new)
        memory[:, :1] = new[:, :1]
        return memory

    with pytest.raises(UnsupportedUpdateError, match="reads memory that it has not written"):
        trace_update(update_with(lambda cell, new, old: partly_written(new) + old)(2, 5), torch.float32)


class Scale:
    value = 1.0


class ScaledByAClass(GatedCell):
    """An attribute that is a class, whose own attributes can change."""

    num_gates = 1
    scale = Scale

    def update(self, input_gates, hidden_gates, state):
        return (self.scale.value * torch.tanh(input_gates + hidden_gates),)


class ScaledByAClosure(ScaledByAClass):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        value = 1.0

        def scaled(new):
            return value * new

        def set_value(new):
            nonlocal value
            value = new

        self.scaled, self.set_value = scaled, set_value

    def update(self, input_gates, hidden_gates, state):
        return (self.scaled(torch.tanh(input_gates + hidden_gates)),)


@pytest.mark.parametrize("kind", [ScaledByAClass, ScaledByAClosure])
def test_values_that_an_attribute_refers_to_can_change(kind, monkeypatch):
    cell, inputs = kind(2, 5), torch.randn(3, 4, 2)
    layers = [RecurrentLayer(cell, backend=backend) for backend in ("kernel", "eager")]
    for value in (1.0, 0.5):
        monkeypatch.setattr(Scale, "value", value)
        if kind is ScaledByAClosure:
            cell.set_value(value)
        found, expected = (layer(inputs)[0] for layer in layers)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 67])
def test_update_that_depends_on_the_batch_size_is_refused(size):
    cell = update_with(lambda cell, new, old: new if len(new) == size else 2 * new)(2, 5)
    with pytest.raises(UnsupportedUpdateError, match="with another batch"):
        trace_update(cell, torch.float32)


class UsesPythonsRandom(GatedCell):
    num_gates = 1

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates) if random.random() < 1.5 else state[0],)


class UsesARandomFunction(UsesPythonsRandom):
    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates) if randint(1, 9) else state[0],)


class UsesNumPysRandom(UsesPythonsRandom):
    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates) if np.random.rand() < 1.5 else state[0],)  # noqa: NPY002


@pytest.mark.parametrize("cell", [UsesPythonsRandom, UsesARandomFunction, UsesNumPysRandom])
def test_random_functions_of_other_libraries_are_refused(cell):
    with pytest.raises(ValueError, match=r"update\(\) uses random numbers"):
        RecurrentLayer(cell(2, 5), backend="kernel")(torch.randn(3, 4, 2))


def test_closure_with_memory_is_refused():
    steps = 0

    def update(input_gates, hidden_gates, state):
        nonlocal steps
        steps += 1
        return (torch.tanh(input_gates + hidden_gates) if steps % 100 < 50 else state[0],)

    cell = update_with(lambda cell, new, old: new)(2, 5)
    cell.update = update
    with pytest.raises(ValueError, match=r"update\(\) changes the variable steps"):
        RecurrentLayer(cell, backend="kernel")(torch.randn(3, 4, 2))


def test_attributes_that_update_sets_to_the_same_value_are_no_memory():
    class Sets(GatedCell):
        num_gates = 1

        def update(self, input_gates, hidden_gates, state):
            self.scale = 1 / math.sqrt(self.hidden_size)
            return (self.scale * torch.tanh(input_gates + hidden_gates),)

    cell, inputs = Sets(2, 5), torch.randn(3, 4, 2)
    expected = unroll(cell, inputs)  # sets it first
    torch.testing.assert_close(RecurrentLayer(cell, backend="kernel")(inputs), expected)


def test_in_place_update_is_refused():
    with pytest.raises(ValueError, match=r"can't serve Unusual: .*in-place"):
        RecurrentLayer(update_with(lambda cell, new, old: old.add_(new))(2, 5), backend="kernel")(torch.randn(3, 4, 2))
