"""What docs/kernels.md shows is what is so now, and CONTRIBUTING names what is there."""

import contextlib
import io
import re
import sys
import types
from pathlib import Path

import pytest
import torch

from seqlight import GatedCell
from seqlight.kernels.shadow import UnsupportedUpdateError
from seqlight.kernels.trace import trace_update
from tests.test_readme import PYTHON as README_PYTHON

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "kernels.md").read_text()
REFUSED = re.findall(r"^\| `(.*new.*)` \| `(.*?)`", PAGE, re.MULTILINE)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_shown_code_is_what_the_shown_call_prints(monkeypatch):
    mycells = types.ModuleType("mycells")
    exec(README_PYTHON[1], vars(mycells))
    monkeypatch.setitem(sys.modules, "mycells", mycells)
    [call] = blocks("python")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(call, {})
    forward, backward = blocks("cpp")
    assert forward.startswith("  static void forward(")
    assert backward.startswith("  static void backward(")
    for code in (forward, backward):
        assert code in printed.getvalue(), f"docs/kernels.md is out of date; now it is\n{printed.getvalue()}"


def test_there_are_refusals():
    assert len(REFUSED) == 6


@pytest.mark.parametrize(("expression", "message"), REFUSED)
def test_refusal_is_named_so(expression, message):
    class Unusual(GatedCell):
        num_gates = 1

        def update(self, input_gates, hidden_gates, state):
            names = {"torch": torch, "new": input_gates + hidden_gates, "old": state[0]}
            return (eval(expression, names),)

    with pytest.raises(UnsupportedUpdateError, match=f"^{re.escape(message)}$"):
        trace_update(Unusual(2, 5), torch.float32)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


def test_paths_of_contributing_are_there():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:seqlight|tests|docs|notebooks|benchmarks)/[\w./]*)`", text)
    assert len(paths) > 15
    for path in paths:
        assert (ROOT / path).exists(), path
    folders = {path.name for path in (ROOT / "seqlight").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {f"seqlight/{name}/" for name in folders} <= set(paths)
