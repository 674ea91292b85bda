"""The roles of a table's columns: id, step, label, features."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import Columns, DataError

_NAMES = {
    "id": ("id", "sequence_id", "sequence", "seq_id", "sample_id", "series_id", "case_id"),
    "step": ("step", "time", "t", "time_step", "timestep", "timestamp", "index"),
    "label": ("label", "target", "class", "y", "outcome"),
}


def requested(
    id_column: str | None,
    step_column: str | None,
    label_column: str | list[str] | None,
    feature_columns: list[str] | None,
) -> Columns:
    """The columns that a data module's arguments ask for.

    Raises:
        ValueError: if a list is empty.
    """
    if label_column == [] or feature_columns == []:
        raise ValueError("label_column and feature_columns must name columns, got an empty list")
    labels = tuple(label_column) if isinstance(label_column, list) else label_column
    return Columns(id_column, step_column, labels, None if feature_columns is None else tuple(feature_columns))


def names_of(columns: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """One name, several names or none, as a tuple."""
    return () if not columns else (columns,) if isinstance(columns, str) else columns


def id_of(names: Iterable[str]) -> str | None:
    """The column whose name says that it has the sequence a row belongs to: "id" or the only "..._id"; None if none."""
    spelled = {name.strip().lower(): name for name in names}
    ids = [name for name in spelled if name.endswith("_id")]
    found = next((name for name in _NAMES["id"] if name in spelled), ids[0] if len(ids) == 1 else None)
    return None if found is None else spelled[found]


def resolve(path: Path, names: list[str], request: Columns, labelled: bool) -> tuple[Columns, tuple[str, ...]]:
    """The name of each column, and a line that lists the guesses.

    Raises:
        DataError: a column is missing, is named twice, or can't be guessed.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"{path}: expected columns with distinct names, got {shown(name)} {count} times")
    known, label = set(names), request.label
    if not labelled and not set(names_of(label)) <= known:
        label = None
    for role, wanted in (
        ("id", names_of(request.id)),
        ("step", names_of(request.step)),
        ("label", names_of(label)),
        ("features", names_of(request.features)),
    ):
        for name in wanted:
            if name not in known:
                raise _error(path, names, f"expected a column {shown(name)}", role)
    taken = [*names_of(request.id), *names_of(request.step), *names_of(label), *names_of(request.features)]
    for name, count in Counter(taken).items():
        if count > 1:
            raise DataError(f"{path}: expected each column for one purpose, got {shown(name)} {count} times")
    free = _without(names, taken)
    guesses = []

    def guess(role: str) -> str | None:
        spelled = {name.strip().lower(): name for name in reversed(free)}
        found = next((spelled[name] for name in _NAMES[role] if name in spelled), None)
        ids = [name for name in spelled if name.endswith("_id")]
        if found is None and role == "id" and len(ids) == 1:
            found = spelled[ids[0]]
        if found is not None:
            free.remove(found)
        return found

    sequence_id, step = request.id, request.step
    if sequence_id is None:
        sequence_id = guess("id")
        if sequence_id is None:
            raise _error(path, names, "expected a column with the sequence each row belongs to", "id")
        guesses.append(f"sequence id in column {sequence_id!r}")
    if step is None:
        step = guess("step") or ""
        guesses.append(f"steps sorted by {step!r}" if step else "rows in the order of the file")
    if label is None and (labelled or request.label is None):
        several = tuple(name for name in free if name.strip().lower().startswith("label_"))
        label = guess("label")
        if label is None and len(several) > 1:
            label = several
            free = _without(free, several)
        if label is None and labelled:
            raise _error(path, names, "expected a column with the label of each sequence", "label")
        guesses.append("no labels" if label is None else f"label {_listed(names_of(label))}")
    features = request.features
    if features is None:
        # pandas writes a frame's index as a column with this prefix.
        features = tuple(name for name in free if name and not name.startswith("__index_level_"))
        if not features:
            raise _error(path, names, "expected columns with features besides id, step and label", "features")
        without = _without(free, features)
        index = f" without pandas' index {_listed(without)}" if without else ""
        guesses.append(f"features {_listed(features)}{index}")
    return Columns(sequence_id, step, label, features), (f"{path}: {', '.join(guesses)}",) if guesses else ()


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """The names that are not among the others. A table can have many: a search in a list would be too slow."""
    left_out = set(others)
    return [name for name in names if name not in left_out]


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = [f"and {len(names) - 20} more"] if len(names) > 20 else []
    return ", ".join([*map(shown, names[:20]), *more])


def _error(path: Path, names: list[str], expected: str, role: str) -> DataError:
    argument = f'{role}_column="NAME"' if role != "features" else 'feature_columns=["NAME"]'
    return DataError(f"{path}: {expected} (`{argument}`), got columns {_listed(names)}")
