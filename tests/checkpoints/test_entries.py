"""The state of a training in a checkpoint: entries of wrong types are refused by name, before the first step."""

import copy
import random
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seqlight import (
    CheckpointError,
    GRUCell,
    NonFiniteError,
    ResumeCheckpoint,
    SealedCheckpointIO,
    SequenceClassifier,
    SumSign,
    SyntheticSequences,
)
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.checkpoints.files import read_plain
from seqlight.cli.reported_errors import reported
from seqlight.data.loader import ResumeError
from seqlight.training.schedule import Schedule
from tests.conftest import seqlight_run

pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:Checkpoint directory",
)
OTHERS = ["text", b"bytes", 7, 0.5, None, True, [], {}, (1, "a"), torch.ones(3), torch.tensor(2), {"a": 1}]


class Plateau(SequenceClassifier):
    """Its scheduler monitors a metric, and its optimizer keeps other values than Adam."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.5, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}


def fit(kind, folder, max_epochs, ckpt_path=None, contents=None):
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        plugins=[SealedCheckpointIO({} if contents is None else {str(ckpt_path): contents})],
        callbacks=[
            ResumeCheckpoint(every_n_steps=1),
            BestCheckpoint(folder, monitor="val/loss"),
            pl.callbacks.EarlyStopping("val/loss", patience=5),
        ],
    )
    model = kind(partial(GRUCell, hidden_size=2), input_size=1)
    data = SyntheticSequences(SumSign(max_length=4), num_train=16, num_val=8, num_test=8, batch_size=8)
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return trainer


@pytest.fixture(scope="module", params=[SequenceClassifier, Plateau])
def trained(request, tmp_path_factory):
    """A class, and the path of a checkpoint of a run of one epoch."""
    folder = tmp_path_factory.mktemp("entries")
    fit(request.param, folder, 1)
    return request.param, folder / "checkpoints" / "last.ckpt"


def places(value, path=()):
    """The paths of all entries, except for the numbers in long lists."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key))
    elif isinstance(value, list | tuple) and len(value) < 20:
        for place, part in enumerate(value):
            yield from places(part, (*path, place))


def changed(value, path, new):
    """A copy with another value at a path."""
    if not path:
        return new
    if isinstance(value, dict):
        return {**value, path[0]: changed(value[path[0]], path[1:], new)}
    return type(value)(changed(part, path[1:], new) if at == path[0] else part for at, part in enumerate(value))


def error_of(function):
    """The error that a function raises; None if it raises none."""
    try:
        function()
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("number", [30, pytest.param(600, marks=pytest.mark.long)])
def test_entries_of_other_types_are_refused_or_do_not_matter(number, trained, tmp_path, without_type_checks):
    kind, path = trained
    good = read_plain(path)
    described = ("hyper_parameters", "datamodule_hyper_parameters", "pytorch-lightning_version", "state_dict")
    paths = [place for place in places(good) if place[0] not in described and place[:2] != ("seqlight", "model")]
    rng = random.Random(number)
    refused = 0
    for _ in range(number):
        place, new = rng.choice(paths), rng.choice(OTHERS)
        contents = changed(good, place, new)
        random.seed(0)  # a changed state can be restored
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        error = error_of(lambda contents=contents: fit(kind, tmp_path, 2, path, copy.deepcopy(contents)))
        if error is None:
            continue
        refused += 1
        shown, names = reported(error), [key for key in place if isinstance(key, str)]
        if isinstance(new, int | float) and not isinstance(error, CheckpointError):
            # A number of the right type can be too large for this training, or lead to NaN.
            assert isinstance(shown, NonFiniteError | ResumeError | MisconfigurationException), (place, new, error)
        else:
            assert isinstance(shown, CheckpointError), (place, new, error)
            assert any(name in str(shown) for name in names[-2:]), (place, new, error)
    assert refused > number / 2


@pytest.mark.parametrize(
    ("place", "new", "message"),
    [
        (
            ("lr_schedulers", 0, "base_lrs"),
            ["x"],
            r"\['lr_schedulers'\]\[0\]\['base_lrs'\]\[0\] is str, expected float",
        ),
        (("lr_schedulers", 0, "step"), 5, "replaces 'step'"),
        (("optimizer_states", 0, "state", 0, "exp_avg"), 1, r"\['exp_avg'\] is int, expected a tensor \(6, 1\)"),
        (("optimizer_states", 0, "state", 0), {"step": torch.ones(())}, "has no 'exp_avg'"),
        (("optimizer_states", 0, "param_groups", 0, "lr"), "x", r"\['lr'\] is str, expected float"),
        (("seqlight", "schedule", "optimizer"), b"x", r"\['optimizer'\] is bytes, expected dict"),
        (("seqlight", "schedule", "optimizer", "class_path"), 1, r"\['class_path'\] is int, expected str"),
        (("seqlight", "steps", "curves", "point"), b"x", r"\['point'\] is bytes, expected a tensor \(3,\)"),
        (("loops", "fit_loop", "epoch_progress", "current", "ready"), "x", r"\['ready'\] is str, expected int"),
        (("loops", "fit_loop", "epoch_progress", "current"), {}, "'ready' is missing in"),
        (("callbacks", "ResumeCheckpoint", "should_stop"), "x", r"\['should_stop'\] is str, expected bool"),
        (("callbacks", "ResumeCheckpoint", "random", 0, "torch"), "x", r"\['torch'\] is str, expected a tensor"),
        (("callbacks",), [], r"\['callbacks'\] is a list of 0, expected dict"),
        (("global_step",), "x", r"\['global_step'\] is str, expected int"),
    ],
)
def test_message_names_the_entry(place, new, message, trained, tmp_path, without_type_checks):
    kind, path = trained
    if kind is Plateau:
        pytest.skip("the entries are those of the default optimizer")
    good = read_plain(path)
    if place[-1] == "lr" or place[0] == "lr_schedulers":  # else this run's learning rate replaces them
        assert good["seqlight"]["schedule"] == Schedule(0.01, "cosine").to_plain()
    if place[-1] == "step":
        good["lr_schedulers"][0]["step"] = None
    with pytest.raises(CheckpointError, match=message):
        fit(kind, tmp_path, 2, path, changed(good, place, new))


def test_command_refuses_an_entry_by_name(trained, tmp_path, monkeypatch, without_type_checks):
    if trained[0] is Plateau:
        pytest.skip("its class is not one that a command can import")
    monkeypatch.chdir(tmp_path)
    contents = changed(read_plain(trained[1]), ("lr_schedulers", 0, "base_lrs"), ["x"])
    SealedCheckpointIO().save_checkpoint(contents, "a.ckpt")
    quiet = ("--trainer.enable_progress_bar=false", "--device=cpu", "--num_threads=1")
    status, _, err = seqlight_run("fit", "--ckpt_path=a.ckpt", "--trainer.max_epochs=2", *quiet)
    assert status == 3, err
    assert "['lr_schedulers'][0]['base_lrs'][0] is str, expected float" in err


class Notes(pl.Callback):
    """Its state can be anything."""

    def __init__(self, state, later=False):
        self.state, self.later, self.loaded = ({} if later else state), state if later else None, None

    def on_train_batch_end(self, trainer, *_):
        if self.later is not None and trainer.global_step == 2:
            self.state = self.later

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.loaded = state


def fit_with(callback, folder, max_epochs=1, ckpt_path=None):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    plugins, callbacks = [SealedCheckpointIO()], [callback, ResumeCheckpoint(every_n_steps=1)]
    trainer = pl.Trainer(
        max_epochs=max_epochs, plugins=plugins, callbacks=callbacks, default_root_dir=folder, **options
    )
    data = SyntheticSequences(SumSign(max_length=4), num_train=32, num_val=8, batch_size=8)
    trainer.fit(SequenceClassifier(partial(GRUCell, hidden_size=2), input_size=1), data, ckpt_path=ckpt_path)
    return trainer


def test_callback_with_sets_continues(tmp_path):
    state = {"seen": {1, 2, (3, "a")}, "size": torch.Size([2]), 0.5: torch.float16, (1, 2): bytearray(b"x")}
    fit_with(Notes(state), tmp_path)
    callback = Notes({})
    fit_with(callback, tmp_path, 2, tmp_path / "checkpoints" / "last.ckpt")
    assert callback.loaded == state


def test_state_that_can_not_be_saved_is_refused_before_the_first_step(tmp_path):
    callback = Notes({"when": [complex, 1]})
    with pytest.raises(
        CheckpointError, match=r"\['Notes'\]\['when'\]\[0\] is a type, in the state of the callback 'Notes'"
    ):
        fit_with(callback, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_state_that_can_not_be_saved_later_leaves_the_earlier_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"(?s)\['when'\]\[0\] is a type.*earlier checkpoints are unchanged"):
        fit_with(Notes({"when": [complex, 1]}, later=True), tmp_path)
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert read_plain(path)["global_step"] == 1
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]
    trainer = fit_with(Notes({}), tmp_path, 1, path)  # the callback was mended
    assert trainer.global_step == 4


def test_loader_refuses_a_position_of_another_type(without_type_checks):
    data = SyntheticSequences(SumSign(max_length=4), num_train=16, num_val=8)
    loader = data.train_dataloader()
    for state in ({**loader.state_dict(), "batch_size": "x"}, "text", {**loader.state_dict(), "epoch": -1}):
        with pytest.raises(CheckpointError, match=r"batch_size|combined_loader|epoch"):
            loader.load_state_dict(state)
