import contextlib
import io
import os
from pathlib import Path

# Two processes run the tests. They and their child processes use one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import jsonargparse
import pytest

# Kernels that the tests build are kept for the next run.
os.environ["SEQLIGHT_CACHE"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "kernels")


def pytest_configure(config):
    # Tests compare values with those of the CPU, and fork processes, which CUDA does not survive. So only the tests
    # that ask for a GPU see it.
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs `pytest -m gpu` and a CUDA device")


@pytest.fixture
def without_type_checks(monkeypatch):
    """Turn off beartype, which only the tests use, so that seqlight's own checks see wrong arguments."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def seqlight_run(*arguments):
    """Run a command in this process; return its exit status, standard output and standard error."""
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
    """Restore the imports that jsonargparse allows: a command sets them for the whole process."""
    settings = dict(jsonargparse._common.parsing_settings)
    yield
    jsonargparse._common.parsing_settings.clear()
    jsonargparse._common.parsing_settings.update(settings)
