import contextlib
import io
import os
from pathlib import Path

# Two processes run the tests; each, and what it starts, has one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import jsonargparse
import pytest

# Kernels that the tests build stay with the project, for the next run too.
os.environ["SEQLIGHT_CACHE"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "kernels")


@pytest.fixture
def without_type_checks(monkeypatch):
    """Calls reach seqlight's own checks, as they do for users, and not beartype's, which the tests add."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def seqlight_run(*arguments):
    """Exit status, standard output and standard error of a command, run in this process."""
    from seqlight.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = run(list(arguments))
        except SystemExit as stop:
            status = stop.code
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def command_line_state():
    """Take back what a command sets for the whole process: which imports jsonargparse allows."""
    settings = dict(jsonargparse._common.parsing_settings)
    yield
    jsonargparse._common.parsing_settings.clear()
    jsonargparse._common.parsing_settings.update(settings)
