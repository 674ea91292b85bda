import os
import subprocess
import sys

import pytest

PROGRAM = """
import io, os, warnings
warnings.simplefilter("error")
from seqlight.figures.canvas import new_figure
figure, _ = new_figure(1, 1)
import matplotlib
print(matplotlib.rcParams._get("backend"), os.environ["MPLBACKEND"])
figure.savefig(io.BytesIO())
"""


@pytest.mark.parametrize("backend", ["nonsense", "module://missing", "pdf", ""])
def test_figures_need_no_backend_and_leave_the_users(backend):
    environment = {**os.environ, "MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    used, variable = done.stdout.rstrip("\n").rsplit(" ", 1)
    assert variable == backend
    assert (used == backend) == (backend in ("module://missing", "pdf"))


def test_command_starts_with_a_backend_that_does_not_exist():
    environment = {**os.environ, "MPLBACKEND": "nonsense"}
    command = [sys.executable, "-m", "seqlight", "cells"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
