"""Defaults of `fit` for files: the model, and the number of steps."""

import re
from pathlib import Path

import pytest
import torch
import yaml

import seqlight
from seqlight.cli.file_defaults import num_epochs
from tests.cli.commands import SMALL, fit, run
from tests.conftest import seqlight_run
from tests.data.test_files import write_table

FILES = ("--data=SequenceFiles", "--data.train=a.csv")
QUIET = ("--device=cpu", "--trainer.enable_progress_bar=false", "--figures.every_n_epochs=0")
QUICK = (*QUIET, "--model.convolution=null")
OWN = {
    "cell": ("seqlight.GRUCell", {"hidden_size": 64}),
    "bidirectional": True,
    "readout": "last_mean_max",
    "convolution": "fcn",
    "learning_rate": 0.003,
    "recover": True,
}
OF_TASKS = {
    "cell": ("seqlight.LSTMCell", {"hidden_size": 32, "forget_bias": "auto"}),
    "bidirectional": False,
    "readout": "last",
    "convolution": None,
    "learning_rate": 0.01,
    "recover": False,
}
CONFIGURATION = """
model:
  class_path: SequenceClassifier
  init_args: {readout: mean, cell: {class_path: LSTMCell}}
trainer: {max_epochs: 3}
data: {class_path: seqlight.SequenceFiles, init_args: {train: a.csv, batch_size: 5}}
"""


@pytest.fixture(autouse=True)
def _files(user_folder):
    write_table(user_folder / "a.csv", 40, 0)
    Path("run.yaml").write_text(CONFIGURATION)


def printed(*flags):
    return yaml.safe_load(run("fit", *flags, "--print_config"))


def model_of(*flags):
    """The arguments of the model that the defaults for files are about."""
    found = printed(*flags)["model"]["init_args"]
    cell = found["cell"]
    return {**{name: found[name] for name in OWN}, "cell": (cell["class_path"], cell["init_args"])}


@pytest.mark.parametrize(
    "data",
    [
        FILES,
        ("--data=seqlight.SequenceFiles", "--data.train=a.csv"),
        ("--data=seqlight.data.files.SequenceFiles", "--data.train=a.csv"),
        ("--data.class_path=seqlight.SequenceFiles", "--data.init_args.train=a.csv"),
        ("--config={data: {class_path: SequenceFiles, init_args: {train: a.csv}}}",),
        ("--config={data: {class_path: SyntheticSequences}}", *FILES),
    ],
)
def test_files_have_their_model(data):
    assert model_of(*data) == OWN
    assert printed(*data)["data"]["init_args"]["batch_size"] == 16


@pytest.mark.parametrize("data", [(), ("--data.task=Parity",), ("--config=run.yaml", "--data=SyntheticSequences")])
def test_tasks_keep_theirs(data):
    found = printed(*data)
    assert found["data"]["init_args"]["batch_size"] == 32
    if data[:1] != ("--config=run.yaml",):
        assert model_of(*data) == OF_TASKS
        assert found["trainer"]["max_epochs"] == 10


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (("--model.readout=max",), {"readout": "max"}),
        (("--model.bidirectional=false",), {"bidirectional": False}),
        (("--model.cell.hidden_size=5",), {"cell": ("seqlight.GRUCell", {"hidden_size": 5})}),
        (("--model.cell=lstm",), {"cell": OF_TASKS["cell"]}),
        (("--model.cell=GRUCell",), {}),
        (("--model=SequenceClassifier",), {}),
        (("--config=run.yaml",), {"readout": "mean", "cell": OF_TASKS["cell"]}),
        (("--config=run.yaml", "--model.readout=last"), {"readout": "last", "cell": OF_TASKS["cell"]}),
    ],
)
def test_flags_and_configurations_win(flags, changes):
    files = FILES if flags[0] != "--config=run.yaml" else ()
    assert model_of(*files, *flags) == {**OWN, **changes}
    if not files:
        found = printed(*flags)
        assert (found["data"]["init_args"]["batch_size"], found["trainer"]["max_epochs"]) == (5, 3)


@pytest.mark.parametrize(
    ("num_sequences", "flags", "per_epoch", "epochs"),
    [
        (40, (), 2, 250),
        (40, ("--data.batch_size=1", "--trainer.accumulate_grad_batches=3"), 11, 50),
        (40, ("--data.batch_size=1", "--trainer.limit_train_batches=7"), 7, 72),
        (300, ("--data.batch_size=4", "--trainer.limit_train_batches=0.9"), 54, 37),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_number_of_steps_is_that_of_the_rule(num_sequences, flags, per_epoch, epochs):
    write_table(Path("a.csv"), num_sequences, 0)
    small = ("--model.cell=ElmanCell", "--model.cell.hidden_size=2", "--checkpoint.monitor=null")
    out = run("fit", *FILES, *QUICK, *small, *flags)
    assert f"{epochs * per_epoch} steps, {epochs} epochs of {per_epoch}: " in out
    [last] = Path("runs").rglob("last.ckpt")
    checkpoint = torch.load(last, weights_only=True)
    assert (checkpoint["global_step"], checkpoint["epoch"]) == (epochs * per_epoch, epochs - 1)
    assert yaml.safe_load(last.parents[1].joinpath("config.yaml").read_text())["trainer"]["max_epochs"] == epochs


@pytest.mark.parametrize(
    ("per_epoch", "epochs"),
    [(1, 500), (3, 167), (9, 56), (10, 50), (27, 50), (40, 50), (41, 48), (199, 10), (201, 10), (9999, 10)],
)
def test_number_of_epochs_grows_with_the_data_within_bounds(per_epoch, epochs):
    assert num_epochs(per_epoch) == epochs


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (("--trainer.max_steps=7",), 7),
        (("--trainer.max_epochs=3",), 6),
        (("--trainer.max_epochs=2", "--trainer.max_steps=3"), 3),
        (("--config={trainer: {max_steps: 5}}",), 5),
    ],
)
def test_given_length_wins(flags, steps):
    out = run("fit", *FILES, *QUICK, *flags)
    assert "epochs of" not in out
    [last] = Path("runs").rglob("last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == steps


def test_trained_checkpoint_keeps_its_arguments():
    run("fit", *FILES, *QUICK, "--model.cell=LSTMCell", "--model.readout=max", "--data.batch_size=9",
        "--trainer.max_epochs=1", "--model.bidirectional=false", "--name=first")  # fmt: skip
    [last] = Path("runs/first").rglob("last.ckpt")
    status, _, err = seqlight_run("fit", f"--ckpt_path={last}", "--trainer.max_epochs=2", "--name=second", *QUICK)
    assert (status, err) == (0, "")
    [last] = Path("runs/second").rglob("last.ckpt")
    model, data = seqlight.load(last), seqlight.load_data(last)
    assert (model.recurrent.cell_name, model.readout, data.batch_size) == ("LSTMCell", "max", 9)
    assert model.recurrent.num_directions == 1
    assert data.batch_size == 9


def test_checkpoint_of_a_task_that_goes_on_with_files_keeps_its_model():
    first = fit("--data.task=SumSign", *SMALL)
    flags = (f"--ckpt_path={first}", *FILES, "--data.feature_columns=[x0]", "--print_config")
    assert model_of(*flags[:-1])["cell"][0] == "seqlight.LSTMCell"


def test_a_test_of_the_code_keeps_its_length():
    out = run("fit", *FILES, *QUICK, "--trainer.fast_dev_run=true")
    assert not re.search("epochs of", out)


@pytest.mark.parametrize("flags", [(), ("--model.recover=false",)])
def test_a_rate_that_is_too_high_is_halved_and_said_in_a_line(flags):
    out = run("fit", *FILES, *QUICK, "--model.learning_rate=50", "--model.cell.hidden_size=2", "--trainer.max_steps=42",
              *flags)  # fmt: skip
    assert (
        "diverged at steps 20, 40: went back to the best weights, and the learning rate from 50 to 12.5" in out
    ) == (not flags)


def trained(*flags):
    """The branch and the rate of a run of two steps, and whether a line says that there is no branch."""
    out = run("fit", *FILES, *QUIET, "--trainer.max_steps=2", *flags)
    [last] = Path("runs").rglob("last.ckpt")
    described = torch.load(last, weights_only=True)["hyper_parameters"]
    chosen = yaml.safe_load(last.parents[1].joinpath("config.yaml").read_text())["model"]["init_args"]
    model = seqlight.load(last)
    assert (model.convolution is None) == (described["convolution"] is None)
    assert chosen["convolution"] == described["convolution"]
    assert chosen["learning_rate"] == described["learning_rate"] == model.learning_rate
    return described["convolution"], described["learning_rate"], "no convolutional branch" in out


@pytest.mark.parametrize(
    ("is_large", "flags", "expected"),
    [
        (False, (), ("fcn", 0.003, False)),
        (True, (), (None, 0.01, True)),
        (True, ("--model.learning_rate=0.02",), (None, 0.02, True)),
        (True, ("--model.convolution=fcn",), ("fcn", 0.003, False)),
        (True, ("--model.convolution=null",), (None, 0.01, False)),
        (False, ("--model.convolution=null",), (None, 0.01, False)),
        (False, ("--config={model: {init_args: {convolution: null}}}",), (None, 0.01, False)),
    ],
)
def test_branch_is_left_out_of_large_data(is_large, flags, expected, monkeypatch):
    lengths = seqlight.SequenceFiles(train="a.csv").split("train").lengths
    assert len(lengths) == 32
    monkeypatch.setattr("seqlight.cli.file_defaults.MOST_TIME_STEPS", 250 * int(lengths.sum()) - is_large)
    assert trained(*flags) == expected


def test_tokens_have_no_branch():
    write_table(Path("a.csv"), 40, 0, size=0, token="word")
    assert trained() == (None, 0.01, True)
