"""`--quiet`, and what a command prints without it and without a terminal."""

import re
from pathlib import Path

import pytest

from tests.cli.commands import forget, run
from tests.conftest import seqlight_run
from tests.data.test_files import write_table

pytestmark = pytest.mark.usefixtures("user_folder")

FIT = ("fit", "--data=SequenceFiles", "--data.train=a.csv", "--trainer.max_epochs=2", "--device=cpu", "--name=first")
OTHERS = [
    ("validate", "--ckpt_path=runs/first"),
    ("test", "--ckpt_path=runs/first", "--data.test=a.csv"),
    ("predict", "--ckpt_path=runs/first", "--data.predict=a.csv"),
]


def test_quiet_leaves_only_results():
    write_table(Path("a.csv"))
    arguments = [FIT, *OTHERS]
    whole = [run(*each) for each in arguments]
    quiet = [run(*each, "--quiet").replace("version_1", "version_0") for each in arguments]
    assert all(re.search(r"^inputs: ", text, re.MULTILINE) for text in whole)
    assert re.fullmatch(r"(?s).*seed 0; results in \S+\n(Epoch [12]/2: .* s\n){2}\n {14}loss .*", whole[0])
    for full, short in zip(whole, quiet, strict=True):
        assert full.endswith("\n" + short)
    assert [text.split()[:2] for text in quiet[:3]] == [["loss", "accuracy"]] * 3
    assert "best checkpoint" in quiet[0]
    assert quiet[3] == "predictions.csv\n"
    assert not re.search(r"[^\n -~]", "".join(whole))


SMALL = ("--data.num_train=32", "--data.num_val=32", "--trainer.max_epochs=1", "--figures.every_n_epochs=0")


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
    own = ("--import=bars", "--trainer.callbacks+=bars.Bar")
    status, out, err = seqlight_run("fit", *SMALL, *own, "--model.dropout=0.1", "--device=cpu", "--quiet")
    forget("bars")
    assert status == 0, err
    assert out.startswith("own bar\n")
    assert "dropout" in err
