"""Write the outputs in README, docs and notebooks anew.

python -m tests.documents.regenerate [README.md docs/cli.md notebooks/quickstart.ipynb ...]
"""

import sys
import tempfile
from pathlib import Path

import nbformat

from tests.documents import notebooks, pages

ALL = (*pages.NAMES, *(f"notebooks/{name}" for name in notebooks.NAMES))


def main(names: list[str]) -> None:
    """Run pages and notebooks, and write those that change.

    Args:
        names: their paths; all if empty.
    """
    chosen = names or ALL
    if unknown := set(chosen) - set(ALL):
        sys.exit(f"expected some of {', '.join(ALL)}; got {', '.join(sorted(unknown))}")
    known: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "pages"
        shared.mkdir()
        for name in chosen:
            path = pages.ROOT / name
            before = path.read_text()
            path.write_text(_notebook(path.name) if path.suffix == ".ipynb" else _page(name, shared, known))
            print(name, "is current" if path.read_text() == before else "is written anew", flush=True)


def _page(name: str, folder: Path, known: dict[str, str]) -> str:
    page = pages.Page(name)
    return pages.regenerated(page, pages.run_page(page, folder, known, long=True))


def _notebook(name: str) -> str:
    notebook = notebooks.read(name)
    with notebooks.running_kernel() as client:
        notebooks.run(client, notebook)
    return nbformat.writes(notebooks.as_kept(notebook)) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
