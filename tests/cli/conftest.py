import contextlib
import shutil
from pathlib import Path

import pytest

from tests.cli.commands import fit, forget

MYCELLS = """
from pathlib import Path

import torch
from seqlight import GatedCell, SequenceClassifier

Path("mycells_was_imported").touch()


class LeakyCell(GatedCell):
    num_gates = 1

    def __init__(self, input_size: int, hidden_size: int = 8, leak: float = 0.3):
        super().__init__(input_size, hidden_size)
        self.leak = leak

    def update(self, input_gates, hidden_gates, state):
        return ((1 - self.leak) * state[0] + self.leak * torch.tanh(input_gates + hidden_gates),)


class MyClassifier(SequenceClassifier):
    def __init__(self, *args, scale: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = scale

    def classify(self, features, lengths=None):
        return self.scale * super().classify(features, lengths)
"""


@pytest.fixture
def user_folder(tmp_path, monkeypatch, command_line_state):
    """A user's folder with mycells.py, as the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("mycells.py").write_text(MYCELLS)
    yield tmp_path
    forget("mycells")


@pytest.fixture(scope="session")
def short_run(tmp_path_factory):
    """The runs folder of a short training with the default cell and task."""
    folder = tmp_path_factory.mktemp("short_run")
    with contextlib.chdir(folder):
        fit()
    return folder / "runs"


@pytest.fixture
def trained(short_run, user_folder):
    """The best checkpoint of a short training, in the user's folder."""
    shutil.copytree(short_run, "runs")
    return "runs/SumSign-LSTMCell/version_0/checkpoints/best.ckpt"


@pytest.fixture(autouse=True)
def _quick(without_type_checks):
    """Whole commands run as users run them, without the checks of shapes, which the other tests have."""
