"""Temporary files and folders beside the place of a result, and their removal after a process was killed."""

import contextlib
import os
import re
import shutil
import socket
from pathlib import Path

import psutil


def draft_suffix() -> str:
    """The end of the names of this process's drafts: `.<machine>.<process>.part`."""
    return f".{_machine()}.{os.getpid()}.part"


def draft_of(path: Path) -> Path:
    """The file that this process writes before it renames it to `path`."""
    return path.with_name(f".{path.name}{draft_suffix()}")


def remove_abandoned(*folders: Path) -> None:
    """Remove the drafts in these folders whose process has ended. Those of other machines stay, since it may live."""
    pattern = re.compile(rf".*\.{re.escape(_machine())}\.(\d+)\.part", re.DOTALL)
    for folder in folders:
        with contextlib.suppress(OSError):  # the folder is missing, or not this user's
            for path in folder.iterdir():
                found = pattern.fullmatch(path.name)
                if found and not psutil.pid_exists(int(found[1])):
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink(missing_ok=True)


def _machine() -> str:
    return re.sub(r"\W", "-", socket.gethostname())
