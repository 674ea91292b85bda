import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from seqlight import Adding, ElmanCell, GatedCell, GRUCell, LSTMCell, Parity, RecurrentCell, SequenceTask, SumSign
from seqlight.common.description import NotImportedError, class_path, flatten, from_plain, resolve, to_plain


class OwnCell(GatedCell):
    num_gates = 1

    def __init__(self, input_size, hidden_size=32, rates=(0.5, 0.25)):
        super().__init__(input_size, hidden_size)
        self.rates = rates

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates),)


@dataclass(frozen=True)
class Repeated(SequenceTask):
    """A task that contains a task."""

    inner: SequenceTask
    times: int = 2

    input_size = 1

    def sample(self, num_samples, rng):
        return self.inner.sample(num_samples, rng)


class Forgetful(SequenceTask):
    input_size = 1

    def __init__(self, length):
        self.steps = length

    def sample(self, num_samples, rng):
        raise NotImplementedError


OWN = f"{__name__}.OwnCell"

CELLS = [
    (GRUCell, "seqlight.GRUCell", {"hidden_size": 32}),
    (partial(GRUCell), "seqlight.GRUCell", {"hidden_size": 32}),
    (partial(LSTMCell, hidden_size=64), "seqlight.LSTMCell", {"hidden_size": 64, "forget_bias": "auto"}),
    (ElmanCell, "seqlight.ElmanCell", {"hidden_size": 32, "nonlinearity": "tanh"}),
    (
        partial(ElmanCell, nonlinearity="relu"),
        "seqlight.ElmanCell",
        {"hidden_size": 32, "nonlinearity": "relu"},
    ),
    (partial(OwnCell, rates=[1.0]), OWN, {"hidden_size": 32, "rates": [1.0]}),
    (OwnCell, OWN, {"hidden_size": 32, "rates": [0.5, 0.25]}),
]


@pytest.mark.parametrize(("cell", "path", "arguments"), CELLS)
def test_cells_are_described_with_their_defaults(cell, path, arguments):
    plain = to_plain(cell)
    assert plain == {"class_path": path, "init_args": arguments}
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize(("cell", "path", "arguments"), CELLS)
def test_cells_are_restored(cell, path, arguments):
    restored = from_plain(to_plain(cell))
    assert isinstance(restored, partial)
    assert restored.func is (cell.func if isinstance(cell, partial) else cell)
    assert restored.keywords == arguments
    assert restored(3).hidden_size == arguments["hidden_size"]
    assert to_plain(restored) == to_plain(cell)


@pytest.mark.parametrize(
    ("task", "plain"),
    [
        (SumSign(), {"class_path": "seqlight.SumSign", "init_args": {"min_length": None, "max_length": 10}}),
        (
            Adding(min_length=3, max_length=7),
            {"class_path": "seqlight.Adding", "init_args": {"min_length": 3, "max_length": 7}},
        ),
        (Parity(min_length=3), {"class_path": "seqlight.Parity", "init_args": {"min_length": 3, "max_length": 10}}),
        (
            Repeated(SumSign(max_length=4)),
            {
                "class_path": f"{__name__}.Repeated",
                "init_args": {
                    "inner": {"class_path": "seqlight.SumSign", "init_args": {"min_length": None, "max_length": 4}},
                    "times": 2,
                },
            },
        ),
    ],
)
def test_tasks_are_restored(task, plain):
    assert to_plain(task) == plain
    assert from_plain(plain) == task


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.1, 0.1),
        ("text", "text"),
        (np.int64(3), 3),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (Path("a") / "b", str(Path("a") / "b")),
        ((1, 2), [1, 2]),
        ([1, (2.5, None)], [1, [2.5, None]]),
        ({"a": {1: (2,)}}, {"a": {"1": [2]}}),
        ({}, {}),
        ([], []),
    ],
)
def test_values_become_plain(value, plain):
    result = to_plain(value)
    assert result == plain
    assert type(result) is type(plain)
    assert from_plain(result) == plain


def test_nested_values_are_restored():
    value = {"cells": [GRUCell, partial(OwnCell, hidden_size=3)], "data": {"task": Adding(max_length=9)}, "rate": 0.1}
    plain = to_plain(value)
    assert json.loads(json.dumps(plain)) == plain
    restored = from_plain(plain)
    assert [cell.func for cell in restored["cells"]] == [GRUCell, OwnCell]
    assert restored["data"] == {"task": Adding(max_length=9)}
    assert to_plain(restored) == plain


def test_missing_init_args_are_defaults():
    assert from_plain({"class_path": "seqlight.SumSign"}) == SumSign()


@pytest.mark.parametrize(
    "value",
    [lambda size: None, print, partial(print, 1), partial(GRUCell, 3), object(), {1}, torch.ones(2), GRUCell(2)],
    ids=["lambda", "function", "partial-function", "positional", "object", "set", "tensor", "instance"],
)  # fmt: skip
def test_other_values_are_refused(value):
    with pytest.raises(TypeError, match="expected plain data"):
        to_plain(value)
    with pytest.raises(TypeError, match="expected plain data"):
        to_plain({"deep": [value]})


def test_local_classes_are_refused():
    class LocalCell(OwnCell):
        pass

    for value in (LocalCell, partial(LocalCell, hidden_size=3)):
        with pytest.raises(TypeError, match="LocalCell is defined inside a function"):
            to_plain(value)


def test_task_that_does_not_keep_its_arguments_is_refused():
    with pytest.raises(TypeError, match="Forgetful must keep its argument 'length' under the same name"):
        to_plain(Forgetful(3))


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "subprocess.Popen", "pathlib.Path", "torch.nn.GRU"])
def test_paths_of_other_objects_are_refused(path):
    assert path.rpartition(".")[0] in sys.modules
    with pytest.raises(ValueError, match=path):
        from_plain({"class_path": path, "init_args": {}})
    with pytest.raises(ValueError, match=path):
        from_plain({"data": [{"class_path": path, "init_args": {"args": "true"}}]})


def test_only_cells_and_tasks_are_called(tmp_path):
    path = tmp_path / "file"
    plain = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(path)]}}
    with pytest.raises(ValueError, match=r"expected the path of a cell, task or optimizer, got 'subprocess\.Popen'"):
        from_plain({"class_path": "seqlight.SumSign", "init_args": {"max_length": plain}})
    assert not path.exists()


@pytest.mark.parametrize("module", ["antigravity", "this", "unheard_of", "package.unheard_of"])
def test_modules_are_not_imported(module):
    before = set(sys.modules)
    assert module not in before
    with pytest.raises(NotImportedError, match=f"its module '{module}' has not been imported") as caught:
        from_plain({"class_path": f"{module}.Cell", "init_args": {}})
    assert caught.value.module == module
    assert set(sys.modules) == before


@pytest.mark.parametrize("path", ["GRUCell", "", ".GRUCell"])
def test_paths_without_module_are_refused(path):
    with pytest.raises(ValueError, match=f"expected the path of a object, got '{path}'"):
        from_plain({"class_path": path})


@pytest.mark.parametrize("name", ["NoSuchCell", "unroll", "load", "Batch", "__name__"])
def test_other_names_of_seqlight_are_refused(name):
    with pytest.raises(ValueError, match=f"got 'seqlight.{name}'"):
        from_plain({"class_path": f"seqlight.{name}"})


def test_resolve_returns_subclasses_of_the_base():
    assert resolve("seqlight.GRUCell", RecurrentCell) is GRUCell
    assert resolve(OWN, RecurrentCell) is OwnCell
    with pytest.raises(ValueError, match=r"expected the path of a SequenceTask, got 'seqlight\.GRUCell'"):
        resolve("seqlight.GRUCell", SequenceTask)


def test_class_path_of_public_and_own_classes():
    assert class_path(GRUCell) == "seqlight.GRUCell"
    assert class_path(OwnCell) == OWN
    # It has the name of a class of seqlight.
    impostor = type("GRUCell", (OwnCell,), {"__module__": __name__})
    assert class_path(impostor) == f"{__name__}.GRUCell"


def test_flatten():
    plain = {
        "cell": to_plain(partial(GRUCell, hidden_size=64)),
        "task": to_plain(Repeated(Adding(max_length=7))),
        "rate": 0.1,
        "sizes": [1, 2],
        "name": "x",
        "deep": {"flag": True, "nothing": None},
    }
    assert flatten("model", plain) == {
        "model.cell": "GRUCell",
        "model.cell.hidden_size": 64,
        "model.task": "Repeated",
        "model.task.inner": "Adding",
        "model.task.inner.max_length": 7,
        "model.task.times": 2,
        "model.rate": 0.1,
        "model.sizes": "[1, 2]",
        "model.name": "x",
        "model.deep.flag": True,
    }
    assert flatten("model", {"class_path": "a.B", "init_args": {}}) == {"model": "B"}
