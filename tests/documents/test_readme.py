import contextlib
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import seqlight_run
from tests.data.test_files import write_lines, write_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
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
    """Run a command of the README, also with `> file`; returns exit status and standard error."""
    command, _, target = command.partition(" > ")
    status, out, err = seqlight_run(*shlex.split(command)[1:])
    if target:
        Path(target).write_text(out)
    return status, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder with the files that the README names, after its first command, shortened."""
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


@pytest.mark.parametrize(
    "command", [pytest.param(each, marks=pytest.mark.gpu if "--device gpu" in each else ()) for each in COMMANDS]
)
def test_command_runs(command, folder, monkeypatch, command_line_state):
    monkeypatch.chdir(folder)
    if " fit " in command and ">" not in command:
        command += " --trainer.max_epochs 2"  # in place of a number that the command itself gives
        command += FEW_BATCHES if "SequenceFiles" in command else FAST
    status, err = seqlight_command(command)
    assert status == 0, err


def test_readme_has_commands_and_python_blocks():
    assert len(COMMANDS) >= 12
    assert len(PYTHON) == 5


def test_cell_has_at_most_ten_lines():
    body = PYTHON[1].split("class ")[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= 10


@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_python_block_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(PYTHON[3].replace("max_epochs=10", "max_epochs=1, limit_train_batches=3, enable_progress_bar=False"), {})
    assert re.search(r"tensor\(\[\d\S+, \d\S+\]\)", capsys.readouterr().out)


def test_python_block_predicts_from_files(folder, monkeypatch, capsys):
    """Runs after the README's commands for files."""
    monkeypatch.chdir(folder)
    exec(PYTHON[0], {})
    assert re.fullmatch(r"probability of dog: tensor\(\[0\.\d+, 0\.\d+, 0\.\d+\]\)\n", capsys.readouterr().out)
    assert (folder / "p.csv").read_text().splitlines()[0] == "id,probability_cat,probability_dog,prediction"


def test_error_in_a_file_has_the_message_shown(folder, monkeypatch):
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
def test_own_classes_can_be_trained(flags, folder, monkeypatch):
    monkeypatch.chdir(folder)
    status, err = seqlight_command(f"seqlight fit {flags} --trainer.max_epochs 1 --trainer.limit_train_batches 2")
    assert status == 0, err


def test_links_have_targets():
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (ROOT / target).exists(), target
