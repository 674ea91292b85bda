"""The search for runs: the unfinished one of a training, and the newest in a folder."""

import contextlib
import hashlib
import itertools
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from seqlight.checkpoints.numbered_folders import versions
from seqlight.checkpoints.resume import LAST
from seqlight.checkpoints.run_folder import STATE, finished_meanwhile, read_state

BEST, ENSEMBLE = "best.ckpt", "ensemble.ckpt"


def describe_training(
    configuration: dict[str, str],
    classes: Iterable[type],
    files: Iterable[str | None],
    folders: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, str]:
    """Everything that a training depends on, by name.

    Args:
        configuration: the settings, as text.
        classes: the classes in use; modules outside seqlight and torch are added with their SHA-256.
        files: data files, which are added with their SHA-256; paths that are not files are left out.
        folders: folders of data files, with the files that are used; one SHA-256 is added for all files of a folder.
    """
    training = dict(configuration)
    modules = {cls.__module__ for cls in classes if not cls.__module__.startswith(("seqlight.", "torch."))}
    sources = [getattr(sys.modules.get(name), "__file__", None) for name in modules]
    for path in sorted({str(path) for path in (*sources, *files) if path and os.path.isfile(path)}):
        training[os.path.basename(path)] = _sha256(path)
    for folder, paths in (folders or {}).items():
        lines = (f"{_sha256(path)} {os.path.relpath(path, folder)}\n" for path in sorted(paths))
        digest = hashlib.sha256("".join(lines).encode(errors="surrogateescape"))
        training[os.path.join(folder, "")] = digest.hexdigest()
    return training


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unfinished_run(
    parent: Path, training: dict[str, str], ignored: tuple[str, ...] = (), *, since: float = float("inf")
) -> Path | None:
    """The newest run in a folder with this training; None if that run is finished, or if there is none.

    Args:
        parent: the folder.
        training: what is trained, from `describe_training`.
        ignored: beginnings of names that earlier versions wrote, and that results do not depend on.
        since: the time at which this command was started.

    Raises:
        RunInUseError: if the run was finished after that time.
    """
    for _, path in sorted(versions(parent), reverse=True):
        state = read_state(path)
        if _without(state.get("training"), ignored) == training:
            if not state.get("finished"):
                return path
            if (path / STATE).stat().st_mtime > since:
                raise finished_meanwhile(path)
            return None
    return None


def other_unfinished_run(
    parent: Path, training: dict[str, str], ignored: tuple[str, ...] = ()
) -> tuple[Path, list[str]] | None:
    """The newest run in a folder and the names that differ, if it trains something else and was interrupted.

    The arguments are those of `unfinished_run`.
    """
    path = max(versions(parent), default=(0, None))[1]
    state = {} if path is None else read_state(path)
    before = _without(state.get("training"), ignored)
    process = state.get("process")
    if path is None or not (isinstance(before, dict) and isinstance(process, int)) or state.get("finished"):
        return None
    if psutil.pid_exists(process):
        return None
    names = [name for name in {**before, **training} if before.get(name) != training.get(name)]
    return (path, names) if names else None


def _without(training: Any, ignored: tuple[str, ...]) -> Any:
    if not isinstance(training, dict):
        return training
    return {name: value for name, value in training.items() if not name.startswith(ignored)}


def few_validation(checkpoint: Path) -> int | None:
    """The number of validation sequences of the run with this checkpoint if they are too few to choose the best one.

    None if there are enough, if the run is not finished, or if an earlier version trained it.
    """
    found = read_state(checkpoint.parents[1]).get("few_validation")
    return found if type(found) is int else None


def newest_run(parent: Path) -> Path | None:
    """The folder `<parent>/<name>` with the best checkpoint that was written last; None if there is none."""
    newest, written = None, -1.0
    with contextlib.suppress(OSError):
        found = (parent.glob(f"*/version_*/checkpoints/{name}") for name in (BEST, ENSEMBLE))
        for best in itertools.chain(*found):
            if best.stat().st_mtime > written:
                newest, written = best.parents[2], best.stat().st_mtime
    return newest


def checkpoint_in(folder: Path) -> Path | None:
    """The checkpoint to use of the newest version in a run's folder, `.../<name>` or `.../<name>/version_<n>`.

    It is that of an ensemble, or the best one, or the last one if there are too few validation sequences to choose the
    best.
    """
    for version in [folder, *(path for _, path in sorted(versions(folder), reverse=True))]:
        if (ensemble := version / "checkpoints" / ENSEMBLE).is_file():
            return ensemble
        if (best := version / "checkpoints" / BEST).is_file():
            last = best.with_name(LAST)
            return last if last.is_file() and few_validation(last) is not None else best
    return None
