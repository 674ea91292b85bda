"""Folders with numbers in their names, as `version_3`."""

import re
from pathlib import Path

from seqlight.common.errors import WriteError
from seqlight.common.files import make_folder, sync_folder


def new_folder(parent: Path, stem: str, *, first: int) -> Path:
    """Make the folder `<stem>_<n>` with the number after the highest; two processes never get the same one.

    Args:
        parent: the folder in which it is made.
        stem: the beginning of its name.
        first: 0 for `<stem>_0`, or 1 for `<stem>`, if there is none.

    Raises:
        WriteError: if it can't be made.
    """
    try:
        make_folder(parent)
        number = max((1 + number for number, _ in _numbered(parent, stem)), default=first)
        while True:
            path = parent / (stem if number == first == 1 else f"{stem}_{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                sync_folder(parent)
                return path
    except OSError as error:
        raise WriteError(f"can't write {parent}: {error.strerror}") from error


def versions(parent: Path) -> list[tuple[int, Path]]:
    """The numbers and folders of all runs in a folder."""
    return _numbered(parent, "version") if parent.is_dir() else []


def _numbered(parent: Path, stem: str) -> list[tuple[int, Path]]:
    """The files and folders `<stem>_<n>`, and `<stem>` with the number 1."""
    found = ((re.fullmatch(rf"{stem}(?:_(\d+))?", path.name), path) for path in parent.iterdir())
    return [(int(match[1] or 1), path) for match, path in found if match]
