"""docs/ and CONTRIBUTING agree with the code."""

import contextlib
import io
import re
import sys
import types
from pathlib import Path

import pytest
import torch

from seqlight import GatedCell
from seqlight.kernels.recorder import UnsupportedUpdateError
from seqlight.kernels.trace import trace_update
from tests.documents.test_readme import PYTHON as README_PYTHON
from tests.documents.test_readme import README

ROOT = Path(__file__).parents[2]
KERNELS = (ROOT / "docs" / "kernels.md").read_text()
REFUSED = re.findall(r"^\| `(.*new.*)` \| `(.*?)`", KERNELS, re.MULTILINE)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", KERNELS, re.DOTALL)


def test_kernel_code_is_current(monkeypatch):
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


@pytest.mark.parametrize("page", ["README.md", "docs/kernels.md", "docs/reliability.md", ".github/SECURITY.md"])
def test_links_have_targets(page):
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    assert targets
    for target in targets:
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_each_guarantee_names_its_tests():
    [section] = re.findall(r"## Reliability guarantees\n(.*?)\n## ", README, re.DOTALL)
    guarantees = section.split("\n- ")[1:]
    assert len(guarantees) == 8
    for guarantee in guarantees:
        assert re.search(r"\(tests/\w+/test_\w+\.py\)", guarantee), guarantee


@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_python_of_reliability_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reliability.md").read_text(), re.DOTALL)
    exec(code, {})
    assert list(tmp_path.rglob("last.ckpt"))


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
