"""An accepted configuration trains, saves, loads and predicts; any other is refused with status 2."""

import contextlib
import csv
import shlex
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seqlight
from seqlight.cells.cell import RecurrentCell
from seqlight.common.description import subclasses
from tests.conftest import seqlight_run

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("without_type_checks", "command_line_state"),
]
for _name in seqlight.__all__:
    getattr(seqlight, _name)
CELLS = sorted(cls.__name__ for cls in subclasses(RecurrentCell) if cls.__module__.startswith("seqlight.cells."))
CELLS = [name for name in CELLS if name not in ("RecurrentCell", "GatedCell")]
FEW = "--data.num_train=20 --data.num_val=8 --data.num_test=8 --trainer.max_steps=2"
FIXED = f"--device=cpu --num_threads=1 --trainer.enable_progress_bar=false --figures.every_n_epochs=0 {FEW}"

# For each flag: valid and invalid values, independently of the other flags.
FLAGS = {
    "--model.cell": (CELLS, ["NoCell", "os.system", "7", "mycells.NoCell"]),
    "--model.cell.hidden_size": ([1, 2, 5, 16], [0, -3, 1.5, "many", "null"]),
    "--model.num_layers": ([1, 2, 3], [0, -1, 1.5, "two"]),
    "--model.bidirectional": (["true", "false"], ["both", 3]),
    "--model.dropout": ([0, 0.0, 0.3], [-0.1, 1.5, "nan", "some"]),
    "--model.input_dropout": ([0.0, 0.3], [-0.1, 1.5, "inf"]),
    "--model.recurrent_dropout": ([0.0, 0.3], [-1, 2, "nan"]),
    "--model.zoneout": ([0.0, 0.2], [-0.5, 1.1]),
    "--model.readout": (["last", "mean", "max", "last_mean_max"], ["first", 1]),
    "--model.convolution": (["fcn", "null"], ["cnn", 3]),
    "--model.learning_rate": ([0.01, 1e-5, 0.0001], [0, -0.1, "nan", "inf", "fast"]),
    "--model.lr_schedule": (["cosine", "constant"], ["linear"]),
    "--model.non_finite": (["stop", "skip"], ["ignore"]),
    "--data.task": (["SumSign", "Parity", "TemporalOrder", "Dyck", "FrequencySign"], ["NoTask", "builtins.eval"]),
    "--data.batch_size": ([1, 3, 20, 500], [0, -1, 2.5, "all"]),
    "--data.seed": ([0, 1, 2**31 - 1], ["x", 1.5]),
    "--trainer.precision": (["32-true", "bf16-mixed", "64-true"], ["7", "half"]),
    "--trainer.gradient_clip_val": ([0.1, 1.0, "null"], ["much"]),
    "--trainer.accumulate_grad_batches": ([1, 2], [0, -2, "x"]),
    "--trainer.log_every_n_steps": ([1, 50], ["x"]),
    "--resume.every_n_steps": ([1, 2, "null"], [0, -1, 0.5]),
    "--resume.every_n_seconds": ([0.001, 60], [0, -1, "nan", "soon"]),
    "--figures.every_n_epochs": ([0, 1, "null"], [-1, 0.5]),
    "--num_threads": ([1, 2, "null"], [0, -1, "x"]),
}
SOME_CELLS = ("--model.recurrent_dropout", "--model.zoneout")  # not supported by all cells
quick = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@st.composite
def commands(draw):
    """Flags, and whether all are valid."""
    names = draw(st.lists(st.sampled_from(sorted(FLAGS)), unique=True, max_size=8))
    is_invalid = draw(st.booleans())
    invalid = draw(st.sampled_from(names)) if names and is_invalid else None
    names = [name for name in names if name == invalid or not (name in SOME_CELLS and "--model.cell" in names)]
    values = {name: draw(st.sampled_from(FLAGS[name][name == invalid])) for name in sorted(names)}
    return [f"{name}={value}" for name, value in values.items()], invalid is None


def check(flags, is_valid):
    command = ["fit", *shlex.split(FIXED), *flags]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        status, _, err = seqlight_run(*command)
        if not is_valid:
            assert status == 2, err
            assert 1 <= len(err.splitlines()) <= 5, err
            assert err.startswith("seqlight: error: "), err
            assert list(Path().iterdir()) == []
            return
        assert status == 0, err
        [path] = Path().rglob("last.ckpt")
        model = seqlight.load(path)
        assert torch.load(path, weights_only=True)["global_step"] == 2
        assert not model.training
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        status, _, err = seqlight_run("predict", f"--ckpt_path={path}", *shlex.split(FIXED.replace(FEW, "")))
        assert status == 0, err
        rows = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
        assert len(rows) == 8
        for row in rows:
            probabilities = [float(value) for name, value in row.items() if name.startswith("probability")]
            assert sum(probabilities) == pytest.approx(1, abs=1e-2)


@settings(quick, max_examples=40)
@given(commands())
def test_each_configuration_trains_or_is_refused(command):
    check(*command)


def test_double_precision_trains():
    check(["--trainer.precision=64-true"], True)


@pytest.mark.long
@settings(quick, max_examples=500)
@given(commands())
def test_many_configurations_train_or_are_refused(command):
    check(*command)
