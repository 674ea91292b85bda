import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import seqlight_run
from tests.data.test_files import write_lines, write_table

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("seqlight")
]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FEW_BATCHES = " --trainer.limit_train_batches 2 --trainer.limit_val_batches 2"
FAST = FEW_BATCHES + " --data.num_train 64 --data.num_val 64"


def seqlight_command(command):
    """Exit status and standard error of a README line; `> file` is served."""
    command, _, target = command.partition(" > ")
    status, out, err = seqlight_run(*shlex.split(command)[1:])
    if target:
        Path(target).write_text(out)
    return status, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder after the README's first command, shortened, with its mycells.py."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "mycells.py").write_text(PYTHON[1] + PYTHON[2])
    (folder / "mydata.py").write_text(PYTHON[4])
    for seed, name in enumerate("ac"):
        write_table(folder / f"{name}.csv", seed=seed)
    write_lines(folder / "d.jsonl", [{"inputs": [[0.1, 2.0], [0.3, 1.5]]}, {"inputs": [[0.4, 0.9]]}])
    with contextlib.chdir(folder):
        status, err = seqlight_command("seqlight fit --trainer.max_epochs 1" + FAST)
    assert status == 0, err
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command, folder, monkeypatch, command_line_state):
    if "--device gpu" in command:
        pytest.skip("needs a GPU; test_cli covers the machine without one")
    monkeypatch.chdir(folder)
    if " fit " in command and ">" not in command:
        if "max_epochs" not in command:
            command += " --trainer.max_epochs 2"
        command += FEW_BATCHES if "SequenceFiles" in command else FAST
    status, err = seqlight_command(command)
    assert status == 0, err


def test_there_are_commands_and_blocks():
    assert len(COMMANDS) >= 12
    assert len(PYTHON) == 5


def test_the_cell_is_ten_lines(folder):
    body = PYTHON[1].split("class ")[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= 10


def test_python_block_runs(folder):
    program = PYTHON[3].replace("max_epochs=10", "max_epochs=1, limit_train_batches=3, enable_progress_bar=False")
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert re.search(r"tensor\(\[\d\S+, \d\S+\]\)", result.stdout)


def test_files_from_python(folder):
    """After the README's commands for files."""
    result = subprocess.run([sys.executable, "-c", PYTHON[0]], cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"probability of dog: tensor\(\[0\.\d+, 0\.\d+, 0\.\d+\]\)\n", result.stdout)
    assert (folder / "p.csv").read_text().splitlines()[0] == "id,probability_cat,probability_dog,prediction"


def test_a_file_that_can_not_be_used(folder, monkeypatch):
    frame = write_table(folder / "bad.csv").astype({"x0": object}).rename(columns={"x0": "x"})
    frame.loc[16, "x"] = "abc"
    frame.to_csv(folder / "bad.csv", index=False)
    monkeypatch.chdir(folder)
    status, err = seqlight_command("seqlight fit --data SequenceFiles --data.train bad.csv")
    assert status == 2
    [expected] = re.findall(r"seqlight: error: a\.csv: row 17.*", README)
    assert err.splitlines()[0].removesuffix(".") == expected.replace("a.csv", "bad.csv")


@pytest.mark.parametrize(
    "flags",
    [
        "--model.cell mycells.LeakyCell --model.cell.leak 0.5",
        "--data.task mydata.LargestSum",
        "--data mydata.MySequences",
    ],
)
@pytest.mark.usefixtures("command_line_state")
def test_own_classes_serve(flags, folder, monkeypatch):
    monkeypatch.chdir(folder)
    status, err = seqlight_command(f"seqlight fit {flags} --trainer.max_epochs 1 --trainer.limit_train_batches 2")
    assert status == 0, err


def test_links_lead_somewhere():
    root = Path(__file__).parents[2]
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (root / target).exists(), target
