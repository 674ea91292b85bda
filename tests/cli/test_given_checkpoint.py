"""Flags and arguments that differ from a checkpoint: they override it and are reported, or they are refused."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from seqlight import (
    CheckpointError,
    DataError,
    GRUCell,
    SealedCheckpointIO,
    SequenceClassifier,
    SequenceFiles,
    SumSign,
    SyntheticSequences,
)
from seqlight.checkpoints import files as checkpoint_files
from seqlight.checkpoints.files import read_plain
from tests.conftest import seqlight_run

QUIET = ("--trainer.enable_progress_bar=false", "--device=cpu")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)


def trained(data, *callbacks):
    """Train for one epoch, save trained.ckpt, and return the model and the Trainer."""
    cell = partial(GRUCell, hidden_size=2)
    model = SequenceClassifier(cell, input_size=1, class_weights=data.class_weights)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    trainer = Trainer(max_epochs=1, plugins=[SealedCheckpointIO()], callbacks=list(callbacks), **options)
    trainer.fit(model, data)
    trainer.save_checkpoint("trained.ckpt")
    return model, trainer


def synthetic():
    return SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8, num_test=8)


def files(**options):
    rows = [f"s{number},{number % 2 + 0.1 * number},{'no' if number % 2 else 'yes'}" for number in range(20)]
    Path("a.csv").write_text("\n".join(["who,value,kind", *rows]) + "\n")
    return SequenceFiles("a.csv", id_column="who", label_column="kind", **options)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), ""),
        (("--data.num_test=5", "--data.seed=0"), "data.num_test 5 (was 8)"),
        (("--model.dropout=0.5", "--model.learning_rate=0.01"), "model.dropout 0.5 (was 0.0)"),
        (("--model.readout=mean", "--data.task.max_length=5"),
         "model.readout mean (was last), data.task.max_length 5 (was 4)"),
    ],
)  # fmt: skip
def test_flags_that_override_the_checkpoint_are_reported(flags, expected):
    trained(synthetic())
    status, _, err = seqlight_run("test", "--ckpt_path=trained.ckpt", *QUIET, *flags)
    assert status == 0, err
    lines = [line for line in err.splitlines() if "has no effect on test" not in line]
    assert lines == ([f"seqlight: flags override trained.ckpt: {expected}"] if expected else [])


@pytest.mark.parametrize(
    ("options", "flag", "message"),
    [
        ({"class_weights": [1.0, 2.0]}, "--data.class_weights=[2,1]", r"class_weights can't change"),
        ({}, "--data.class_weights=balanced", r"class_weights can't change after training, got 'balanced'"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(options, flag, message):
    trained(files(**options))
    arguments = ("validate", "--ckpt_path=trained.ckpt", *QUIET)
    assert seqlight_run(*arguments)[0] == 0
    status, _, err = seqlight_run(*arguments, flag)
    assert status == 2
    assert message in err


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_new_patience_overrides_the_checkpoint():
    trained(synthetic(), EarlyStopping("val/loss", patience=3))
    stopping = EarlyStopping("val/loss", patience=7)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    options["enable_checkpointing"] = False
    trainer = Trainer(max_epochs=2, plugins=[SealedCheckpointIO()], callbacks=[stopping], **options)
    model = SequenceClassifier(partial(GRUCell, hidden_size=2), input_size=1)
    trainer.fit(model, synthetic(), ckpt_path="trained.ckpt")
    assert stopping.patience == 7
    assert trainer.current_epoch == 2


@pytest.mark.usefixtures("without_type_checks")
def test_errors_tell_wrong_arguments_from_wrong_checkpoints():
    trained(files())
    load = partial(SequenceFiles.load_from_checkpoint, "trained.ckpt")
    assert load(val="b.csv").class_names == ("no", "yes")
    with pytest.raises(ValueError, match="val_fraction must be between 0 and 1, got 2"):
        load(val_fraction=2)
    with pytest.raises(TypeError, match="no_such_argument"):
        load(no_such_argument=1)
    with pytest.raises(DataError, match="there is no such file"):
        load(predict="c.txt").split("predict")

    checkpoint = read_plain("trained.ckpt")
    plain = checkpoint["seqlight"]["data"]["init_args"]
    for name, value, message in (
        ("val_fraction", 2, "val_fraction must be between 0 and 1"),
        ("no_such_argument", 1, "no_such_argument"),
        ("encoding", {**plain["encoding"], "scale": [0.0]}, r"scale must be greater than 0, got 0\.0"),
        ("encoding", {**plain["encoding"], "class_names": ["a"]}, "class_names of a binary target"),
    ):
        changed = json.loads(json.dumps({**plain, name: value}))
        description = {**checkpoint["seqlight"], "data": {**checkpoint["seqlight"]["data"], "init_args": changed}}
        SealedCheckpointIO().save_checkpoint({**checkpoint, "seqlight": description}, "changed.ckpt")
        with pytest.raises(CheckpointError, match=f"changed.ckpt does not describe .*{message}"):
            SequenceFiles.load_from_checkpoint("changed.ckpt")
        with pytest.raises(CheckpointError, match=message):
            SequenceFiles.load_from_checkpoint("changed.ckpt", batch_size=4)


@pytest.mark.parametrize("verb", ["test", "validate", "predict", "fit", "fit again"])
def test_checkpoint_is_read_once(verb, monkeypatch):
    sizes = ("--data.num_train=8", "--data.num_val=8", "--data.num_test=8", *QUIET)
    status, _, err = seqlight_run("fit", "--trainer.max_epochs=2", *sizes)
    assert status == 0, err
    [folder] = Path("runs").glob("*/version_0")
    if verb == "fit again":  # as a run that was interrupted in its second epoch
        state = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**state, "finished": False}))
        (folder / "checkpoints" / "previous.ckpt").rename(folder / "checkpoints" / "last.ckpt")
        arguments = ("fit", "--trainer.max_epochs=2", *sizes)
    elif verb == "fit":
        arguments = ("fit", f"--ckpt_path={folder}/checkpoints/last.ckpt", "--trainer.max_epochs=3", *QUIET)
    else:
        arguments = (verb, f"--ckpt_path={folder}/checkpoints/last.ckpt", *QUIET)
    read, read_regular = [], checkpoint_files.read_regular
    monkeypatch.setattr(
        checkpoint_files, "read_regular", lambda path: read.append(Path(path).name) or read_regular(path)
    )
    status, out, err = seqlight_run(*arguments)
    assert status == 0, err
    assert ("continues from step 1" in out) == (verb == "fit again")
    assert read == ["last.ckpt"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("runs/SumSign-LSTMCell", "version_10"),
        ("runs/SumSign-LSTMCell/", "version_10"),
        ("runs/SumSign-LSTMCell/version_9", "version_9"),
    ],
)
def test_folder_of_a_run_means_the_checkpoint_of_its_newest_version(given, meant, trained):
    for version in ("version_9", "version_10"):
        shutil.copytree("runs/SumSign-LSTMCell/version_0", f"runs/SumSign-LSTMCell/{version}")
    status, out, err = seqlight_run("test", f"--ckpt_path={given}", "--device=cpu", *QUIET[:1])
    assert status == 0, err
    assert "accuracy" in out
    chosen = f"runs/SumSign-LSTMCell/{meant}/checkpoints/last.ckpt"
    reason = "chosen over best.ckpt: validation has only 48 sequences"
    assert err == f"seqlight: --ckpt_path {given}: {chosen}, {reason}\n"


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("runs", "this folder has no best.ckpt; .* the folder of a run: runs/SumSign-LSTMCell$"),
        ("empty", "this folder has no best.ckpt; .* the folder of a run, as runs/SumSign-LSTMCell$"),
        ("runs/SumSign", "no checkpoint at runs/SumSign: there is no file; did you mean runs/SumSign-LSTMCell\\?$"),
    ],
)
@pytest.mark.parametrize("command", ["test", "fit"])
def test_folder_without_a_checkpoint_is_refused(given, answer, command, trained):
    Path("empty").mkdir()
    status, out, err = seqlight_run(command, "--ckpt_path", given)
    assert (status, out) == (2, "")
    assert re.search(answer, err.rstrip("\n")), err
