"""docs/kernels.md and CONTRIBUTING agree with the code."""

import contextlib
import io
import re
import sys
import types

import pytest
import torch

from seqlight import GatedCell
from seqlight.kernels.recorder import UnsupportedUpdateError
from seqlight.kernels.trace import trace_update
from tests.documents.pages import ROOT, Page

KERNELS = (ROOT / "docs" / "kernels.md").read_text()
REFUSED = re.findall(r"^\| `(.*new.*)` \| `(.*?)`", KERNELS, re.MULTILINE)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", KERNELS, re.DOTALL)


def test_kernel_code_is_current(monkeypatch):
    mycells = types.ModuleType("mycells")
    exec(Page("docs/cells.md").of_language("python")[0].text, vars(mycells))
    monkeypatch.setitem(sys.modules, "mycells", mycells)
    [call] = blocks("python")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(call, {})
    forward, backward = blocks("cpp")
    assert forward.startswith("  static void forward(")
    assert backward.startswith("  static void backward(")
    for code in (forward, backward):
        assert code in printed.getvalue(), f"docs/kernels.md is out of date; the code is now\n{printed.getvalue()}"


def test_eight_refusals_are_listed():
    assert len(REFUSED) == 8


@pytest.mark.parametrize(("expression", "message"), REFUSED)
def test_refusal_has_the_listed_message(expression, message):
    class Unusual(GatedCell):
        num_gates = 1

        def update(self, input_gates, hidden_gates, state):
            names = {"torch": torch, "new": input_gates + hidden_gates, "old": state[0]}
            return (eval(expression, names),)

    with pytest.raises(UnsupportedUpdateError, match=f"^{re.escape(message)}$"):
        trace_update(Unusual(2, 5), torch.float32)


def test_paths_in_contributing_exist():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:seqlight|tests|docs|notebooks|benchmarks)/[\w./]*)`", text)
    assert len(paths) > 15
    for path in paths:
        assert (ROOT / path).exists(), path
    rooms = {path.name for path in (ROOT / "seqlight").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {f"seqlight/{name}/" for name in rooms} <= set(paths)
    files = re.findall(rf"`((?:{'|'.join(rooms)})/[\w/]*\.py)`", text)
    assert len(files) > 30
    for file in files:
        assert (ROOT / "seqlight" / file).exists(), file
