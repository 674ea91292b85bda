"""The checkpoint of a run that `fit` names at its end, and that a run's folder stands for."""

import json
import re
from pathlib import Path

import pytest

from seqlight.cli.training_run import ENOUGH_VALIDATION
from tests.cli.commands import QUIET, run
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("user_folder")
FIT = ("fit", "--name=first", "--data.num_train=16", "--data.num_test=16", "--trainer.max_epochs=2", "--device=cpu")
STOPPING = '--trainer.callbacks={"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss"}}'


@pytest.mark.parametrize(
    ("flags", "validation"),
    [
        ([f"--data.num_val={ENOUGH_VALIDATION - 1}"], ENOUGH_VALIDATION - 1),
        ([f"--data.num_val={ENOUGH_VALIDATION}"], None),
        (["--data.num_val=1000", "--trainer.limit_val_batches=2"], 64),
        (["--data.num_val=20", "--checkpoint.monitor=val/accuracy", "--checkpoint.mode=max"], None),
        (["--data.num_val=20", STOPPING], None),
    ],
)
def test_last_checkpoint_is_taken_if_validation_is_small(flags, validation):
    out = run(*FIT, *QUIET, *flags)
    folder = Path("runs/first/version_0/checkpoints")
    assert {"best.ckpt", "last.ckpt"} <= {path.name for path in folder.iterdir()}
    kind = "best" if validation is None else "last"
    assert re.findall(r"^(\w+) checkpoint  (\S+)$", out, re.MULTILINE) == [(kind, str(folder / f"{kind}.ckpt"))]
    reason = f"chosen over best.ckpt: validation has only {validation} sequences"
    assert (f"\n{'':17}{reason}\n" in out) == (validation is not None)
    for command in ("test", "predict"):
        status, _, err = seqlight_run(command, "--ckpt_path=runs/first", "--device=cpu", QUIET[0])
        note = "" if validation is None else f", {reason}"
        assert (status, err) == (0, f"seqlight: --ckpt_path runs/first: {folder}/{kind}.ckpt{note}\n")


def test_run_of_an_earlier_version_means_its_best_checkpoint():
    run(*FIT, *QUIET, "--data.num_val=20")
    path = Path("runs/first/version_0/run.json")
    state = json.loads(path.read_text())
    assert state.pop("few_validation") == 20
    path.write_text(json.dumps(state))
    _, _, err = seqlight_run("test", "--ckpt_path=runs/first", "--device=cpu", QUIET[0])
    assert err == "seqlight: --ckpt_path runs/first: runs/first/version_0/checkpoints/best.ckpt\n"


def test_checkpoint_that_is_named_is_taken():
    run(*FIT, *QUIET, "--data.num_val=20")
    status, out, err = seqlight_run("test", "--ckpt_path=runs/first/version_0/checkpoints/best.ckpt", "--device=cpu")
    assert (status, err) == (0, "")
    assert "accuracy" in out
