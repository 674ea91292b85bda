"""The notebooks run from top to bottom, and are kept with their outputs."""

import re
import tomllib

import nbformat
import pytest

from tests.documents.notebooks import FOLDER, NAMES, as_kept, changes, commands, printed, read, run, running_kernel
from tests.documents.pages import Page, accuracies, run_command

# For each notebook: values for its parameters that take less time, and assertions that run after its last cell.
QUICKSTART = (
    "EPOCHS, NUM_SAMPLES, NUM_LONGER, LENGTH, ADDING_LENGTH = 3, 1000, 300, 10, 8",
    """
import math
assert probabilities.shape == (3,)
assert probabilities[0] > 0.7 > 0.2 > probabilities[1], probabilities
assert test_accuracy > 0.8, test_accuracy
assert list(accuracies) == ["RNN", "LSTM", "GRU"] and min(accuracies.values()) > 0.6, accuracies
steps, values = curves["train/loss"]
assert len(steps) >= EPOCHS and values[-1] < values[0], values
assert len(curves["val/loss"][0]) == EPOCHS
assert list(influences) == list(accuracies)
for curve in influences.values():
    assert curve.shape == (ADDING_LENGTH,) and math.isfinite(curve.sum()) and curve.min() > 0
assert best_path.is_file() and Path("runs").is_dir()
""",
)
NEW_CELL = (
    "EPOCHS, NUM_SAMPLES, MAX_LENGTH, HIDDEN_SIZE = 8, 1000, 4, 32",
    """
from pathlib import Path
import math
assert {row.name: row.status for row in report.rows}["eager = kernel"] == "holds", report
assert "kernel" in str(report.rows[-1]) and "nn.GRU" in str(report.rows[-1]), report
assert largest_error < 1e-12, largest_error
assert min(accuracies.values()) > 0.9, accuracies
assert list(memory_curves) == list(accuracies)
for curve in memory_curves.values():
    assert curve.shape == (MAX_LENGTH,) and math.isfinite(curve.sum()) and curve[0] > 0
assert {"forget\\ngate", "new\\ngate"} < {axis.get_ylabel() for axis in figure.axes}
assert type(loaded.recurrent.layers[0].cell) is MinimalGatedUnit
assert loaded.recurrent.layers[0].cell.hidden_size == HIDDEN_SIZE
assert after.shape == (3,) and torch.equal(before, after)
assert Path("minimal_gated_unit.ckpt").is_file() and Path("runs").is_dir()
""",
)
OWN_DATA = (
    "EPOCHS, NUM_PICTURES, HIDDEN_SIZE = 3, 1797, 32",
    """
from pathlib import Path
assert data.class_names == tuple("0123456789")
assert data.input_size == 8 and data.encoding.columns.id == "id" and data.encoding.columns.step == "step"
assert test_accuracy > 0.75, test_accuracy
assert len(predictions) == 36 and list(predictions.index[:2]) == ["picture 0", "picture 50"], predictions
assert predictions.filter(like="probability_").sum(axis=1).sub(1).abs().max() < 1e-5
assert abs((test_predictions["prediction"] == labels).mean() - test_accuracy) < 1e-6
assert Path(best_path).is_file()
""",
)
QUICK = dict(zip(NAMES, (QUICKSTART, NEW_CELL, OWN_DATA), strict=True))


@pytest.fixture(scope="module")
def client():
    with running_kernel() as client:
        yield client


def files():
    return {path for path in FOLDER.rglob("*") if "__pycache__" not in path.parts}


def test_all_notebooks_are_tested():
    assert {path.name for path in FOLDER.glob("*.ipynb")} == set(NAMES)
    size = sum(len(picture) for name in NAMES for picture in re.findall(r'"image/png": "([^"]*)"', text_of(name)))
    assert 0 < size < 500_000


def text_of(name):
    return (FOLDER / name).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_kept_with_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    silent = [index for index, cell in enumerate(code) if not cell.outputs]
    assert silent[:2] == [0, 1]  # parameters and imports
    assert len(silent) <= 3  # and a class
    assert not printed(notebook, "stderr")
    assert not re.search(r" at 0x|/tmp/|/home/|/Users/", text_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_first_cell_says_how_to_open_the_notebook(name):
    first = read(name).cells[0].source
    assert f"`pip install -c constraints.txt -e '.[notebook]' && jupyter lab notebooks/{name}`" in first
    extras = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(package.startswith("jupyterlab") for package in extras["notebook"])


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name, client):
    notebook, before = read(name), files()
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.metadata.tags == ["parameters"]
    settings, checks = QUICK[name]
    names = {line.partition(" =")[0] for line in first.source.splitlines()}
    assert names == {word.strip() for word in settings.partition("=")[0].split(",")}
    run(client, notebook, settings=settings, checks=checks)
    # Lightning prints warnings without their category.
    assert not re.search(r"Warning|\.py:\d+: ", printed(notebook, "stderr"))
    assert files() == before
    assert not changes(read(name), as_kept(notebook), tag="stable")


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_current(name, client):
    notebook = read(name)
    run(client, notebook)
    assert not changes(read(name), as_kept(notebook))


def test_quickstart_ends_with_the_lesson_of_the_readme():
    kept = dict(
        re.findall(r"^(\w+) +validation accuracy at length 20: ([\d.]+)$", printed(read(NAMES[0])), re.MULTILINE)
    )
    shown = {match["run"]: match["number"] for match in Page("README.md").accuracies}
    assert kept == {name: shown[name.lower()] for name in ("RNN", "LSTM", "GRU")}
    assert float(kept["RNN"]) < 0.65
    assert min(float(kept["LSTM"]), float(kept["GRU"])) > 0.9


def test_commands_of_quickstart_are_those_of_the_readme():
    readme = [command for block in Page("README.md").of_language("bash") for command in block.commands]
    assert commands(read("quickstart.ipynb")) == ["seqlight fit --name sum", *readme[:3]]


def test_commands_of_new_cell_train_the_cell(tmp_path):
    folder = make(tmp_path)
    [code] = [cell.source for cell in read("new_cell.ipynb").cells if cell.source.startswith("class ")]
    (folder / "mycells.py").write_text(f"import torch\nfrom seqlight import GatedCell\n\n\n{code}\n")
    found = run_all(read("new_cell.ipynb"), folder)
    assert found["val", "parity"] > 0.95
    assert found["test", "parity"] > 0.95


def test_commands_of_own_data_train_a_classifier(tmp_path, monkeypatch):
    folder, cells = make(tmp_path), read("own_data.ipynb").cells
    [code] = [cell.source for cell in cells if ".to_csv(" in cell.source]
    imports = "import pandas as pd\nfrom sklearn.datasets import load_digits\nNUM_PICTURES = 1797\n"
    monkeypatch.chdir(folder)
    exec(imports + code, {})
    found = run_all(read("own_data.ipynb"), folder)
    assert found["test", "digits"] > 0.93
    assert (folder / "p.csv").read_text().startswith("id,probability_0,")


def make(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def run_all(notebook, folder):
    """The accuracies that all commands of a notebook print."""
    found = {}
    for command in commands(notebook):
        found |= accuracies(command, run_command(command, folder, {}, quick=False))
    return found


def test_notebooks_share_their_set_up():
    for name in NAMES:
        sources = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")
        assert "notebook_setup.start()" in sources
        assert "set_num_threads" not in sources
        assert "EventAccumulator" not in sources
