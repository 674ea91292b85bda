"""The command that `seqlight tasks` shows for each task learns it, as well as docs/tasks.md says."""

import re
import shlex
from pathlib import Path

import pytest

import seqlight
from seqlight import SequenceTask
from seqlight.cli.listing import command_lines
from tests.cli.commands import run

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
ROWS = {
    name: [cell.strip() for cell in cells.split("|")]
    for name, cells in re.findall(r"^\| `(\w+)` \|( \w+Cell .*) \|$", PAGE, re.MULTILINE)
}
TASKS = {
    cls.__name__: cls
    for cls in (getattr(seqlight, name) for name in seqlight.__all__)
    if isinstance(cls, type)
    and issubclass(cls, SequenceTask)
    and cls is not SequenceTask
    and cls.target != "regression"
}


def test_page_has_a_row_for_each_task():
    assert sorted(ROWS) == sorted(TASKS)


@pytest.mark.parametrize("name", ROWS)
def test_row_agrees_with_the_example(name):
    cell, max_epochs, accuracy, *baselines, seconds = ROWS[name]
    example = TASKS[name].example
    assert (cell, int(max_epochs)) == (example.cell, example.max_epochs)
    assert float(accuracy) > float(baselines[0]) + 0.2
    assert TASKS[name]().solved_by_bag or float(accuracy) > max(map(float, baselines)) + 0.2
    assert float(seconds) < 120


@pytest.mark.long
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.usefixtures("user_folder")
def test_command_learns_its_task(name):
    command = " ".join(line.strip(" \\") for line in command_lines(name, TASKS[name].example))
    out = run(*shlex.split(command)[1:], "--device=cpu", "--trainer.enable_progress_bar=false")
    accuracy = float(re.search(r"^val +\S+ +(\S+)", out, re.MULTILINE)[1])
    found = re.search(r"baselines \(val\): majority (\S+), last step (\S+), bag of steps (\S+)", out)
    baselines = [float(value) for value in found.groups()]
    assert accuracy > baselines[0] + 0.2
    assert TASKS[name]().solved_by_bag or accuracy > max(baselines) + 0.2
    shown, *known = map(float, ROWS[name][2:6])
    assert accuracy == pytest.approx(shown, abs=0.02)
    assert baselines == pytest.approx(known, abs=0.01)
    if TASKS[name].example.data.get("test_lengths"):
        tested = run("test", f"--ckpt_path=runs/{name}-{ROWS[name][0]}", "--trainer.enable_progress_bar=false")
        buckets = re.findall(r"^\d+-\d+ +\d+ +(\S+)$", tested, re.MULTILINE)
        assert len(buckets) > 3
        assert min(map(float, buckets)) > 0.99
