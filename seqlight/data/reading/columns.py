"""The roles of a table's columns: id, step, label, features."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from seqlight.data.reading.index_columns import is_index_name
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import Columns, DataError

_NAMES = {
    "id": ("id", "sequence_id", "sequence", "seq_id", "sample_id", "series_id", "case_id"),
    "step": ("step", "time", "t", "time_step", "timestep", "timestamp", "index"),
    "label": ("label", "target", "class", "y", "outcome"),
}


def names_of(columns: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """One name, several names or none, as a tuple."""
    return () if not columns else (columns,) if isinstance(columns, str) else columns


def resolve(path: Path, names: list[str], request: Columns, labelled: bool) -> tuple[Columns, tuple[str, ...]]:
    """The name of each column, and a line that lists the guesses.

    Raises:
        DataError: a column is missing, is named twice, or can't be guessed.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"{path}: expected columns with distinct names, got {shown(name)} {count} times")
    known, label, group = set(names), request.label, request.group
    if request.left_out is not None and group not in known:  # a file for a trained model, which needs no groups
        group = None
    if not labelled and not set(names_of(label)) <= known:
        label = None
    for role, wanted in (
        ("id", names_of(request.id)),
        ("step", names_of(request.step)),
        ("label", names_of(label)),
        ("features", names_of(request.features)),
        ("group", names_of(group)),
    ):
        for name in wanted:
            if name not in known:
                raise _error(path, names, f"expected a column {shown(name)}", role)
    taken = [
        *names_of(request.id),
        *names_of(request.step),
        *names_of(label),
        *names_of(request.features),
        *names_of(group),
    ]
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
    features, left_out = request.features, request.left_out
    if features is None:
        known_index = set(request.left_out or ())
        features = tuple(
            name
            for name in free
            if not (is_index_name(name) if request.left_out is None else name in known_index or not name)
        )
        if not features:
            raise _error(path, names, "expected columns with features besides id, step and label", "features")
        without = _without(free, features)
        left_out = tuple(without) or None
        index = f" without the index {_listed(without)}" if without else ""
        guesses.append(f"features {_listed(features)}{index}")
    return Columns(sequence_id, step, label, features, left_out, group), (
        f"{path}: {', '.join(guesses)}",
    ) if guesses else ()


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
