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
from seqlight.kernels.expressions import UnsupportedUpdateError
from seqlight.kernels.trace import trace_update
from tests.documents.test_readme import PYTHON as README_PYTHON
from tests.documents.test_readme import README

ROOT = Path(__file__).parents[2]
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


@pytest.mark.parametrize("page", ["README.md", "docs/kernels.md", "docs/reliability.md", ".github/SECURITY.md"])
def test_links_lead_somewhere(page):
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    assert targets
    for target in targets:
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_what_is_guaranteed_names_its_tests():
    [section] = re.findall(r"## What seqlight guarantees\n(.*?)\n## ", README, re.DOTALL)
    promises = section.split("\n- ")[1:]
    assert len(promises) == 8
    for promise in promises:
        assert re.search(r"\(tests/\w+/test_\w+\.py\)", promise), promise


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:The number of training batches")
def test_python_of_reliability_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reliability.md").read_text(), re.DOTALL)
    exec(code, {})
    assert list(tmp_path.rglob("last.ckpt"))


def test_paths_of_contributing_are_there():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:seqlight|tests|docs|notebooks|benchmarks)/[\w./]*)`", text)
    assert len(paths) > 15
    for path in paths:
        assert (ROOT / path).exists(), path
    folders = {path.name for path in (ROOT / "seqlight").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {f"seqlight/{name}/" for name in folders} <= set(paths)
