"""Modules of the user's folder that the command line names. Nothing else in that folder is imported.

Libraries try to import modules that need not be installed. If the current folder were on `sys.path`, such a name would
run a file that came with somebody's data.
"""

import contextlib
import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_VARIABLE = "SEQLIGHT_USER_MODULES"  # for processes that multiprocessing starts: the folder and the names
_IMPORTLIB = ("importlib", "_frozen_importlib", "_frozen_importlib_external")


class FolderFinder:
    """A finder for `sys.meta_path`, the last one: installed modules are found before those in the folder.

    It finds the modules that are named, and those that modules it has found import from beside them.

    Args:
        folder: the folder.
        names: the modules that are named, without parents or submodules.
    """

    def __init__(self, folder: str, names: Iterable[str] = ()) -> None:
        self.folder, self.names = folder, set(names)
        self._found: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec; None for a module that this finder does not serve."""
        if path is not None or not (name in self.names or _importing_module() in self._found):
            return None
        if spec := self.spec_here(name):
            self._found.add(name)
            os.environ[_VARIABLE] = f"{','.join(sorted(self._found))}:{self.folder}"
        return spec

    def spec_here(self, name: str) -> ModuleSpec | None:
        """The spec of a module in the folder, named or not."""
        spec = PathFinder.find_spec(name, [self.folder])
        if spec is not None and spec.submodule_search_locations is not None:
            # A package without __init__.py would search sys.path later.
            spec.submodule_search_locations = list(spec.submodule_search_locations)
        return spec


@contextlib.contextmanager
def folder_importable(folder: str) -> Iterator[None]:
    """Let modules that `allow` names be imported from the folder, here and in processes started from here."""
    finder, before = FolderFinder(folder), {name: os.environ.get(name) for name in (_VARIABLE, "PYTHONSAFEPATH")}
    sys.meta_path.append(finder)
    if not _is_program_folder(folder):
        os.environ["PYTHONSAFEPATH"] = "1"  # `python -m` and `python -c` would search the folder first
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def allow(path: str) -> None:
    """Let a module be imported from the folder, as `mycells` for `mycells.LeakyCell`."""
    for finder in finders():
        finder.names.add(path.partition(".")[0])


def import_in_child_process() -> None:
    """Let a process that multiprocessing has started import what its parent has imported from the folder."""
    names, _, folder = os.environ.get(_VARIABLE, "").partition(":")
    if folder and not finders():
        sys.meta_path.append(FolderFinder(folder, names.split(",")))


def finders() -> list[FolderFinder]:
    """The finders that are in use: one while a command runs."""
    return [finder for finder in sys.meta_path if isinstance(finder, FolderFinder)]


def _importing_module() -> str:
    """The top-level name of the module whose code runs the import: the first caller of importlib."""
    frame, inside = inspect.currentframe(), False
    while frame is not None:
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if inside and name not in _IMPORTLIB:
            return name
        inside = inside or name in _IMPORTLIB
        frame = frame.f_back
    return ""


def _is_program_folder(folder: str) -> bool:
    """Whether seqlight itself is imported from the folder, as in a checkout of its repository."""
    return os.path.realpath(folder) == os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
