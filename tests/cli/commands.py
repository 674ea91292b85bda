"""Short commands for the tests."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import seqlight_run

SMALL = ("--trainer.max_epochs=1", "--data.num_train=64", "--data.num_val=48", "--data.num_test=40", "--device=cpu")
QUIET = ("--trainer.enable_progress_bar=false", "--figures.every_n_epochs=0")


def run(*arguments):
    """Run a command that must succeed in this process; return its standard output."""
    status, out, err = seqlight_run(*arguments)
    assert status == 0, err
    return out


def fit(*arguments):
    """Train on a few samples; return the path of the best checkpoint."""
    out = run("fit", *SMALL, *QUIET, *arguments)
    [path] = [line.split()[-1] for line in out.splitlines() if re.match("(best|last) checkpoint", line)]
    assert Path(path).is_file()
    return path


def python(*arguments, **options):
    """Run a new Python process that must succeed."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=True, **options)


def forget(module):
    """Let a later import read the module's file again."""
    sys.modules.pop(module, None)
