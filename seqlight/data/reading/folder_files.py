"""The files of a folder that has a file for each sequence."""

import os
from dataclasses import dataclass
from pathlib import Path

from seqlight.common.text import encodable
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError

_FORMATS = {".csv": "text", ".tsv": "text", ".csv.gz": "text", ".tsv.gz": "text", ".parquet": "parquet", ".npy": "npy"}
_LABELS = tuple(f"labels{suffix}" for suffix in _FORMATS if suffix != ".npy")
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "val": "val", "valid": "val"}
_SPLITS |= {"validation": "val", "dev": "val"}


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder, sorted by their names.

    Attributes:
        path: the folder.
        files: the files of sequences.
        ids: their paths within the folder, without suffix.
        format: "text" (cells between commas or other marks), "parquet" or "npy".
        labels: the file of labels; None if there is none.
        remarks: lines about the folder.
    """

    path: Path
    files: list[Path]
    ids: list[str]
    format: str
    labels: Path | None
    remarks: tuple[str, ...]

    def folders(self) -> dict[str, list[str]]:
        """The names of the folders that each file is in, below `path`: "folder", or "folder_1", "folder_2", ...

        Empty if files are directly in the folder, or at different depths.
        """
        parts = [name.split("/")[:-1] for name in self.ids]
        depth = len(parts[0])
        if any(len(each) != depth for each in parts):
            return {}
        names = ["folder"] if depth == 1 else [f"folder_{level + 1}" for level in range(depth)]
        return {name: [each[level] for each in parts] for level, name in enumerate(names)}

    def splits(self) -> dict[str, str]:
        """The sub-folder of each split, if the sub-folders are splits; else empty."""
        names = {name.partition("/")[0] for name in self.ids if "/" in name}
        found = {_SPLITS[name.lower()]: name for name in sorted(names) if name.lower() in _SPLITS}
        return found if len(found) == len(names) > 1 and "train" in found else {}


def folder_files(path: Path, labels: str | None = None) -> FolderFiles:
    """The files of a folder and its sub-folders.

    Args:
        path: the folder.
        labels: the file of labels; None takes `labels.csv`, or another table of this name, in the folder.

    Raises:
        DataError: there are none, they have different formats, or two have the same name.
    """
    found = _all_files(path)
    table = Path(labels) if labels is not None else _label_table(path, found)
    if table is not None and not table.is_file():
        raise DataError(f'{table}: there is no such file in {os.getcwd()}; `labels_file="FILE"` names another')
    skipped: dict[str, list[str]] = {}
    files: dict[str, Path] = {}
    formats: dict[str, Path] = {}
    for file in found:
        if table is not None and file.name == table.name and file.samefile(table):
            continue
        relative = file.relative_to(path)
        suffix = _suffix(file.name)
        if any(part.startswith(".") for part in relative.parts):
            skipped.setdefault("hidden", []).append(str(relative))
        elif suffix is None or not file.is_file():
            skipped.setdefault("with other suffixes" if suffix is None else "no file", []).append(str(relative))
        else:
            name = encodable(relative.as_posix()[: -len(suffix)])
            if name in files:
                raise DataError(f"{path}: expected files with distinct names, got {files[name].name} and {file.name}")
            files[name] = file
            formats.setdefault(_FORMATS[suffix], relative)
    listed = ", ".join(f"{len(names)} {what}, such as {shown(names[0])}" for what, names in skipped.items())
    if not files:
        suffixes = ", ".join(_FORMATS)
        raise DataError(f"{path}: expected a folder with files that end in {suffixes}, got {listed or 'none'}")
    if len(formats) > 1:
        one, other = list(formats.values())[:2]
        raise DataError(
            f"{path}: expected files of one format, got {one} and {other}.",
            f'If one of them has the labels of the others: `labels_file="{path / other}"`',
        )
    number = sum(map(len, skipped.values()))
    remarks = (f"{path}: {number} {'file is' if number == 1 else 'files are'} not read: {listed}",) if skipped else ()
    return FolderFiles(path, list(files.values()), list(files), next(iter(formats)), table, remarks)


def files_of(path: str, labels: str | None = None) -> list[str]:
    """The files of a folder that are read, with that of labels.

    Raises:
        DataError: as `folder_files`.
    """
    found = folder_files(Path(path), labels)
    return [str(file) for file in (*found.files, found.labels) if file is not None]


def without_suffix(name: str) -> str:
    """The name of a file without the suffix of a format that can be read."""
    return name[: -len(suffix)] if (suffix := _suffix(name)) else name


def _suffix(name: str) -> str | None:
    return max((suffix for suffix in _FORMATS if name.lower().endswith(suffix)), key=len, default=None)


def _label_table(path: Path, found: list[Path]) -> Path | None:
    names = {file.name for file in found if file.parent == path}
    return next((path / name for name in _LABELS if name in names), None)


def _all_files(path: Path) -> list[Path]:
    """All files, sorted by their paths. Links are followed, but not twice to the same folder."""
    found = []
    seen = set()
    for folder, subfolders, names in os.walk(path, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        found += [Path(folder, name) for name in names]
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())
