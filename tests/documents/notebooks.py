"""The notebooks, run in a kernel, and their outputs as they are kept.

A code cell can have a tag: `parameters` for the first; `stable` if its outputs do not depend on the number of epochs,
so that each test compares them; `times` if all numbers in its outputs can differ.
"""

import base64
import contextlib
import io
import re
from collections.abc import Iterator

import nbformat
from nbclient import NotebookClient
from PIL import Image

from tests.documents.pages import ROOT, differences

FOLDER = ROOT / "notebooks"
NAMES = ("quickstart.ipynb", "new_cell.ipynb", "own_data.ipynb")

# Runs before each notebook. They share a kernel, which imports torch and Lightning once: this cell takes back the
# warning filters and the names of the notebook before.
_FRESH_START = f"""
import contextlib, os, warnings
os.chdir({str(FOLDER)!r})
shell = get_ipython()
getattr(shell, "filters", contextlib.ExitStack()).close()
shell.filters = contextlib.ExitStack()
shell.filters.enter_context(warnings.catch_warnings())
shell.reset()
"""


def read(name: str) -> nbformat.NotebookNode:
    """A notebook as it is kept."""
    return nbformat.read(FOLDER / name, as_version=4)


@contextlib.contextmanager
def running_kernel() -> Iterator[NotebookClient]:
    """A client with a running kernel. python3 is ipykernel's own: the interpreter that runs this."""
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=600,
        kernel_name="python3",
        shutdown_kernel="immediate",
        record_timing=False,
    )
    with client.setup_kernel():
        yield client


def run(
    client: NotebookClient, notebook: nbformat.NotebookNode, *, settings: str | None = None, checks: str = ""
) -> None:
    """Run a notebook, which gets its outputs. A cell that fails raises CellExecutionError, with the traceback.

    Args:
        client: the kernel.
        notebook: the notebook.
        settings: the parameters, in place of the notebook's own.
        checks: assertions that run after its last cell.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if settings is not None:
        cells[0].source = settings
    fresh, last = nbformat.v4.new_code_cell(_FRESH_START), nbformat.v4.new_code_cell(checks)
    client.nb = nbformat.v4.new_notebook(cells=[fresh, *cells, last])
    for index, cell in enumerate(client.nb.cells):
        client.execute_cell(cell, index)


def as_kept(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook that was run, without what differs from run to run or takes much space."""
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = number
        outputs: list[nbformat.NotebookNode] = []
        for output in cell.outputs:
            if output.output_type == "stream" and outputs and outputs[-1].get("name") == output.name:
                outputs[-1].text += output.text  # how a stream is split is up to chance
                continue
            outputs.append(output)
            if "execution_count" in output:
                output.execution_count = number
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _small(output.data["image/png"])
        cell.outputs = outputs
    return notebook


def _small(encoded: str) -> str:
    """A picture with 64 colours."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def changes(kept: nbformat.NotebookNode, found: nbformat.NotebookNode, *, tag: str | None = None) -> list[str]:
    """How the outputs of a run differ from those kept, apart from the contents of pictures.

    Args:
        kept: the notebook as it is kept.
        found: the same notebook after a run and `as_kept`.
        tag: the tag of the cells to compare; all if None.
    """
    cells = [pair for pair in zip(kept.cells, found.cells, strict=True) if pair[0].cell_type == "code"]
    texts = [
        (_text(before), _text(after), "times" in before.metadata.get("tags", []))
        for before, after in cells
        if tag is None or tag in before.metadata.get("tags", [])
    ]
    return [found for before, after, about in texts if (found := differences(before, after, about=about))]


def _text(cell: nbformat.NotebookNode) -> str:
    """The outputs of a cell: what is printed, and the kinds of everything else."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        parts.append(output.get("text") or data.get("text/markdown") or data.get("text/plain", ""))
        parts += sorted(kind for kind in data if kind.startswith("image"))
    return "\n".join(parts)


def printed(notebook: nbformat.NotebookNode, stream: str = "stdout") -> str:
    """What all cells have printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(each.text for each in outputs if each.output_type == "stream" and each.name == stream)


def commands(notebook: nbformat.NotebookNode) -> list[str]:
    """The commands of seqlight in the text."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"^    (seqlight .*)$", text, re.MULTILINE)
