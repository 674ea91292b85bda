"""The notebooks run from top to bottom, and are kept without outputs."""

import re
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"

# For each notebook: small values for its parameters, and assertions that run after its last cell.
QUICKSTART = (
    "EPOCHS, NUM_SAMPLES, LENGTH, SHORT_LENGTH, LONG_LENGTH = 3, 300, 6, 8, 30",
    """
import math
assert probabilities.shape == (3,)
assert probabilities[0] > 0.7 > 0.2 > probabilities[1], probabilities
assert test_accuracy > 0.8, test_accuracy
assert list(accuracies) == ["RNN", "LSTM", "GRU"] and min(accuracies.values()) > 0.6, accuracies
steps, values = curves["train/loss"]
assert len(steps) >= EPOCHS and values[-1] < values[0], values
assert len(curves["val/loss"][0]) == EPOCHS
assert list(memory_curves) == list(accuracies)
for curve in memory_curves.values():
    assert curve.shape == (LONG_LENGTH,) and math.isfinite(curve.sum()) and curve[0] > 0
assert best_path.is_file() and Path("runs").is_dir()
""",
)
NEW_CELL = (
    "EPOCHS, NUM_SAMPLES, MAX_LENGTH, HIDDEN_SIZE = 8, 1000, 4, 16",
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
    "EPOCHS, NUM_PICTURES, HIDDEN_SIZE = 6, 600, 32",
    """
from pathlib import Path
assert data.class_names == tuple("0123456789")
assert data.input_size == 8 and data.encoding.columns.id == "id" and data.encoding.columns.step == "step"
assert test_accuracy > 0.75, test_accuracy
assert len(predictions) == 12 and list(predictions.index[:2]) == ["picture 0", "picture 50"], predictions
assert predictions.filter(like="probability_").sum(axis=1).sub(1).abs().max() < 1e-5
assert abs((test_predictions["prediction"] == labels).mean() - test_accuracy) < 1e-6
assert Path(best_path).is_file()
""",
)
NOTEBOOKS = {"quickstart.ipynb": QUICKSTART, "new_cell.ipynb": NEW_CELL, "own_data.ipynb": OWN_DATA}

# Runs before each notebook. They share a kernel, which imports torch and Lightning once: this cell takes back the
# warning filters and the names of the notebook before.
FRESH_START = """
import contextlib, os, warnings
os.chdir({folder!r})
shell = get_ipython()
getattr(shell, "filters", contextlib.ExitStack()).close()
shell.filters = contextlib.ExitStack()
shell.filters.enter_context(warnings.catch_warnings())
shell.reset()
"""


@pytest.fixture(scope="module")
def client():
    """A client with a running kernel. python3 is ipykernel's own: the interpreter that runs this test."""
    empty = nbformat.v4.new_notebook()
    client = NotebookClient(empty, timeout=120, kernel_name="python3", shutdown_kernel="immediate")
    with client.setup_kernel():
        yield client


def test_all_notebooks_are_tested():
    assert {path.name for path in FOLDER.glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_kept_without_outputs(name):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_first_cell_says_how_to_open_the_notebook(name):
    first = nbformat.read(FOLDER / name, as_version=4).cells[0].source
    assert f"`pip install -c constraints.txt -e '.[notebook]' && jupyter lab notebooks/{name}`" in first
    extras = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(package.startswith("jupyterlab") for package in extras["notebook"])


@pytest.mark.parametrize(
    ("name", "settings", "checks"),
    [(name, *parts) for name, parts in NOTEBOOKS.items()],
    ids=list(NOTEBOOKS),
)
def test_notebook_runs(name, settings, checks, client, tmp_path):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    [parameters] = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert code[0] is parameters
    names = {line.partition(" =")[0] for line in parameters.source.splitlines()}
    assert names == {word.strip() for word in settings.partition("=")[0].split(",")}
    parameters.source = settings
    start = nbformat.v4.new_code_cell(FRESH_START.format(folder=str(tmp_path)))
    notebook.cells = [start, *code, nbformat.v4.new_code_cell(checks)]
    client.nb = notebook
    for index, cell in enumerate(notebook.cells):
        client.execute_cell(cell, index)  # raises CellExecutionError, with the traceback
    printed = "".join(
        output.text
        for cell in notebook.cells
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    )
    assert not re.search(r"Warning|\.py:\d+: ", printed)  # Lightning prints warnings without their category
