"""Write the outputs in README and docs anew: `python -m tests.documents.regenerate [page ...]`."""

import sys
import tempfile
from pathlib import Path

from tests.documents.pages import NAMES, Page, regenerated, run_page


def main(names: list[str]) -> None:
    """Run the pages (all if none are named), and write those that change."""
    known: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or NAMES:
            page = Page(name)
            text = regenerated(page, run_page(page, Path(folder), known))
            print(name, "is current" if text == page.text else "is written anew")
            page.path.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
