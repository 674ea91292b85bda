"""A class that replaces another one, as `--model.cell mycells.Wide` does, starts with its own defaults."""

from functools import partial
from pathlib import Path

import pytest
import yaml

import seqlight
from tests.cli.commands import fit, forget, run
from tests.conftest import seqlight_run

CLASSES = """
from collections.abc import Callable
from dataclasses import dataclass

import torch
from seqlight import *


class Wide(GatedCell):
    num_gates = 1

    def __init__(self, input_size: int, hidden_size: int = 12, forget_bias: float | None = 0.5):
        super().__init__(input_size, hidden_size)

    def update(self, input_gates, hidden_gates, state):
        return (torch.tanh(input_gates + hidden_gates),)


class Mine(SequenceClassifier):
    def __init__(self, cell: Callable[[int], RecurrentCell] = Wide, num_layers: int = 2, **rest):
        super().__init__(cell, num_layers=num_layers, **rest)


@dataclass(frozen=True)
class Long(SequenceTask):
    input_size = 1
    max_length: int = 99

    def sample(self, num_samples, rng):
        inputs = torch.from_numpy(rng.standard_normal((num_samples, 3, 1), dtype="float32"))
        return Batch(inputs, (inputs.sum((1, 2)) > 0).float(), torch.full((num_samples,), 3))


class Small(SequenceDataModule):
    input_size, vocab_size, target, num_outputs = 1, None, "binary", 1

    def __init__(self, num_train: int = 5, batch_size: int = 4, seed: int = 3):
        super().__init__(batch_size, seed)

    def split(self, split):
        return SyntheticSequences(SumSign(), num_train=8).split(split)
"""
PARTS = {
    "model.cell": ("Wide", {"hidden_size": 12, "forget_bias": 0.5}),
    "model": ("Mine", {"num_layers": 2}),
    "data.task": ("Long", {"max_length": 99}),
    "data": ("Small", {"num_train": 5, "batch_size": 4, "seed": 3}),
}
CONFIGURATION = """
model:
  class_path: seqlight.SequenceClassifier
  init_args:
    num_layers: 3
    cell: {class_path: seqlight.LSTMCell, init_args: {hidden_size: 6, forget_bias: 2.0}}
data:
  class_path: seqlight.SyntheticSequences
  init_args:
    task: {class_path: seqlight.SumSign, init_args: {max_length: 7}}
    num_train: 50
    batch_size: 25
    seed: 9
"""


@pytest.fixture(autouse=True)
def classes(tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(CLASSES)
    Path("run.yaml").write_text(CONFIGURATION)
    yield
    forget("own")


def chosen(part, *flags):
    """Class and arguments of a part, such as `model.cell`, in the printed configuration."""
    value = yaml.safe_load(run("fit", *flags, "--print_config"))
    for name in part.split("."):
        value = value.get("init_args", value)[name]
    return value["class_path"], value["init_args"]


@pytest.mark.parametrize("source", [(), ("--config=run.yaml",)], ids=["default", "configuration"])
@pytest.mark.parametrize("part", PARTS)
def test_class_given_by_a_flag_has_its_own_defaults(part, source):
    name, defaults = PARTS[part]
    path, arguments = chosen(part, *source, f"--{part}=own.{name}")
    assert path == f"own.{name}"
    assert {key: arguments[key] for key in defaults} == defaults


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("part", PARTS)
def test_argument_given_by_a_flag_stays_before_and_after_the_class(part, before):
    name, defaults = PARTS[part]
    flags = [f"--{part}=own.{name}", f"--{part}.{next(iter(defaults))}", "1"]
    path, arguments = chosen(part, "--config=run.yaml", *(flags[1:] + flags[:1] if before else flags))
    assert path == f"own.{name}"
    assert {key: arguments[key] for key in defaults} == {**defaults, next(iter(defaults)): 1}


def test_same_class_keeps_the_arguments_of_a_configuration_file():
    _, arguments = chosen("model.cell", "--config=run.yaml", "--model.cell=seqlight.cells.lstm.LSTMCell")
    assert arguments == {"hidden_size": 6, "forget_bias": 2.0}


def test_training_uses_the_defaults_that_python_uses():
    trained = seqlight.load(fit("--model.cell=own.Wide"))
    import own

    built = seqlight.SequenceClassifier(partial(own.Wide), input_size=1)
    assert {n: p.shape for n, p in trained.named_parameters()} == {n: p.shape for n, p in built.named_parameters()}
    assert "Wide(input_size=3, hidden_size=12)" in seqlight_run("check", "own.Wide")[1]


def test_lost_values_of_a_configuration_file_are_reported():
    small = ("--trainer.max_epochs=0", "--trainer.enable_progress_bar=false", "--device=cpu")
    _, _, err = seqlight_run("fit", *small, "--config=run.yaml", "--model.cell=own.Wide", "--data.seed=1")
    [line] = err.splitlines()
    assert line == (
        "seqlight: a class that a flag names has its own defaults: "
        "model.cell.forget_bias 0.5 (was 2.0), model.cell.hidden_size 12 (was 6)"
    )
