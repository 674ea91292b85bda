"""`--quiet`, and what a command prints without it and without a terminal."""

import re
from pathlib import Path

import pytest

from tests.cli.commands import forget, run
from tests.conftest import seqlight_run
from tests.data.test_files import write_table

pytestmark = pytest.mark.usefixtures("user_folder")

FIT = ("fit", "--data=SequenceFiles", "--data.train=a.csv", "--trainer.max_epochs=2", "--name=first")
SMALL = ("--device=cpu", "--figures.every_n_epochs=0", "--model.backend=torch")


def test_quiet_leaves_only_results():
    write_table(Path("a.csv"))
    whole, quiet = run(*FIT, *SMALL), run(*FIT, *SMALL, "--quiet").replace("version_1", "version_0")
    assert re.search(r"^inputs: ", whole, re.MULTILINE)
    assert re.fullmatch(r"(?s).*seed 0; results in \S+\n(Epoch [12]/2: .* s\n){2}\n {14}loss .*", whole)
    assert not re.search(r"[^\n -~]", whole)
    assert whole.endswith("\n" + quiet)
    assert re.fullmatch(r"(?s) {14}loss  accuracy\ntrain .*\nlast checkpoint .*\n +chosen over .*\ncurves .*\n", quiet)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("validate", "--quiet"), r" {14}loss .*\nval .*\nexpected calibration error .*\nbaselines .*\n"),
        (("test", "--quiet"), r" {14}loss .*\ntest .*\nexpected calibration error .*\nbaselines .*\n"),
        (("predict", "--quiet"), "predictions.csv\n"),
        (("predict",), "predictions.csv\n"),  # no terminal, and nothing to say about these data
    ],
)
def test_other_commands(arguments, expected, trained):
    out = run(*arguments, f"--ckpt_path={trained}", "--device=cpu", "--figures.every_n_epochs=0")
    assert re.match(expected, out)
    assert not re.search(r"[^\n -~]", out)


def test_quiet_shows_warnings_and_keeps_the_users_own_bar():
    Path("bars.py").write_text(
        """
from lightning.pytorch.callbacks import ProgressBar

class Bar(ProgressBar):
    def disable(self): ...
    def enable(self): ...
    def on_train_end(self, *args):
        print("own bar")
"""
    )
    few = ("--data.num_train=32", "--data.num_val=32", "--trainer.max_epochs=1")
    own = ("--import=bars", "--trainer.callbacks+=bars.Bar")
    status, out, err = seqlight_run("fit", *SMALL, *few, *own, "--model.dropout=0.1", "--quiet")
    forget("bars")
    assert status == 0, err
    assert out.startswith("own bar\n")
    assert "dropout" in err
