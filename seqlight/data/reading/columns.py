"""The roles of a table's columns: id, step, label, features."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from seqlight.data.reading.index_columns import is_index_name
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import Columns, DataError

_NAMES = {
    "id": ("id", "sequence_id", "sequence", "seq_id", "sample_id", "series_id", "case_id"),
    "step": ("step", "time", "t", "time_step", "timestep", "timestamp", "index"),
    "label": ("label", "target", "class", "y", "outcome"),
}
# Columns that name sequences, if the column named id does not.
_GROUPS = (
    *("subject", "patient", "person", "participant", "user", "animal", "device", "machine", "unit", "sensor"),
    *("trial", "session", "recording", "record", "series", "episode", "run", "window", "segment"),
)

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|(?i:\s*nan\s*)", re.ASCII)


def requested(
    id_column: str | list[str] | None,
    step_column: str | None,
    label_column: str | list[str] | None,
    feature_columns: list[str] | None,
    group_column: str | None = None,
) -> Columns:
    """The columns that a data module's arguments ask for.

    Raises:
        ValueError: if a list is empty.
    """
    if [] in (id_column, label_column, feature_columns):
        raise ValueError("id_column, label_column and feature_columns must name columns, got an empty list")
    ids = tuple(id_column) if isinstance(id_column, list) else id_column
    labels = tuple(label_column) if isinstance(label_column, list) else label_column
    features = None if feature_columns is None else tuple(feature_columns)
    return Columns(ids, step_column, labels, features, group=group_column)


def names_of(columns: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """One name, several names or none, as a tuple."""
    return () if not columns else (columns,) if isinstance(columns, str) else columns


def id_of(names: Iterable[str]) -> str | None:
    """The column whose name says that it has the sequence a row belongs to: "id" or the only "..._id"; None if none."""
    spelled = {name.strip().lower(): name for name in names}
    ids = [name for name in spelled if name.endswith("_id")]
    found = next((name for name in _NAMES["id"] if name in spelled), ids[0] if len(ids) == 1 else None)
    return None if found is None else spelled[found]


def resolve(
    path: Path, names: list[str], request: Columns, labelled: bool, repeats: Callable[[list[str]], set[str]] = set
) -> tuple[Columns, tuple[str, ...]]:
    """The name of each column, and lines that list the guesses.

    Args:
        path: the file, for messages.
        names: the names of all columns.
        request: the names that are known.
        labelled: whether there must be a label.
        repeats: finds those of the given columns in which some value is in several rows.

    Raises:
        DataError: a column is missing, is named twice, or can't be guessed.
    """
    check_distinct(path, names)
    known, label, group = set(names), request.label, request.group
    if group not in known and (request.left_out is not None or not labelled):  # a trained model needs no groups
        group = None
    if not labelled:
        label = present(label, known)
    for role, wanted in (
        ("id", names_of(request.id)),
        ("step", names_of(request.step)),
        ("label", names_of(label)),
        ("features", names_of(request.features)),
        ("group", names_of(group)),
    ):
        for name in wanted:
            if name not in known:
                raise not_found(path, names, f"expected a column {shown(name)}", role)
    taken = [
        *names_of(request.id),
        *names_of(request.step),
        *names_of(label),
        *names_of(request.features),
        *names_of(group),
    ]
    left_out = tuple(name for name in request.left_out or () if name in known and name not in taken)
    for name, count in Counter(taken).items():
        if count > 1:
            raise DataError(f"{path}: expected each column for one purpose, got {shown(name)} {count} times")
    free = _without(names, (*taken, *left_out))
    guesses, remarks = [], []
    sequence_id, step = request.id, request.step
    if sequence_id is None:
        sequence_id = guess("id", free)
        if sequence_id is None:
            raise not_found(path, names, "expected a column with the sequence each row belongs to", "id")
        sequence = _that_makes_sequences(path, sequence_id, free, repeats)
        if sequence != sequence_id:
            free.remove(sequence)
            left_out += (sequence_id,)
            remarks.append(
                f"{path}: {sequence_id!r} has another value in each row, so {sequence!r} is taken as the sequence id; "
                f'if each row is a sequence: `id_column="{sequence_id}"`'
            )
            sequence_id = sequence
        guesses.append(f"sequence id in column {sequence_id!r}")
    if step is None:
        step = guess("step", free) or ""
        guesses.append(f"steps sorted by {step!r}" if step else "rows in the order of the file")
    if label is None and (labelled or request.label is None):
        several = tuple(name for name in free if name.strip().lower().startswith("label_"))
        label = guess("label", free)
        if label is None and len(several) > 1:
            label = several
            free = _without(free, several)
        if label is None and labelled:
            raise not_found(path, names, "expected a column with the label of each sequence", "label")
        guesses.append("no labels" if label is None else f"label {_listed(names_of(label))}")
    features = request.features
    if features is None:
        features = tuple(name for name in free if name and not (request.left_out is None and is_index_name(name)))
        if not features:
            raise not_found(path, names, "expected columns with features besides id, step and label", "features")
        without = _without(free, features)
        left_out += tuple(without)
        index = f" without the index {_listed(without)}" if without else ""
        guesses.append(f"features {_listed(features)}{index}")
    lines = [f"{path}: {', '.join(guesses)}"] if guesses else []
    return Columns(sequence_id, step, label, features, left_out or None, group), (*lines, *remarks)


def present(label: str | tuple[str, ...] | None, known: set[str]) -> str | tuple[str, ...] | None:
    """The columns of labels that a file has which needs none."""
    if isinstance(label, tuple):
        return tuple(name for name in label if name in known) or None
    return label if label in known else None


def check_distinct(path: Path, names: list[str]) -> None:
    """Raise DataError if two columns have the same name."""
    for name, count in Counter(names).items():
        if count > 1:
            hint = (
                'If the file has no header and each row is a sequence: `layout="wide"`' if is_headerless(names) else ""
            )
            end = "." if hint else ""
            raise DataError(f"{path}: expected columns with distinct names, got {shown(name)} {count} times{end}", hint)


def is_headerless(names: list[str], fewest: int = 2) -> bool:
    """Whether the first row of a file has no names, but numbers, as in the .tsv files of the UCR archive.

    Args:
        names: the cells of the first row.
        fewest: with fewer columns than this, they are names.
    """
    return len(names) >= fewest and all(map(_NUMBER.fullmatch, names))


def guess(role: str, free: list[str]) -> str | None:
    """The column for a role by its name, taken out of the free columns; None if there is none."""
    spelled = {name.strip().lower(): name for name in reversed(free)}
    found = next((spelled[name] for name in _NAMES[role] if name in spelled), None)
    ids = [name for name in spelled if name.endswith("_id")]
    if found is None and role == "id" and len(ids) == 1:
        found = spelled[ids[0]]
    if found is not None:
        free.remove(found)
    return found


def _that_makes_sequences(path: Path, found: str, free: list[str], repeats: Callable[[list[str]], set[str]]) -> str:
    """The column found by its name, or if that numbers the rows, another one that names sequences.

    Raises:
        DataError: there are several others.
    """
    spelled = {name: name.strip().lower() for name in free}
    others = [name for name, text in spelled.items() if text in _NAMES["id"] or text.endswith("_id")]
    others += [name for name, text in spelled.items() if text in _GROUPS]
    if not others:
        return found
    repeated = repeats([found, *others])
    others = [name for name in others if name in repeated]
    if found in repeated or not others:
        return found
    if len(others) > 1:
        listed = ", ".join(f'"{name}"' for name in others[:3])
        raise DataError(
            f"{path}: column {found!r} has another value in each row, so it does not say which rows are a sequence.",
            f"Name the column that does, or several that do together: `id_column=[{listed}]`",
        )
    return others[0]


def label_hint(names: list[str], request: Columns, label: str | tuple[str, ...]) -> str:
    """A line about a label that varies within a sequence."""
    if request.label is not None or not isinstance(label, str):
        return 'If this is not the label, name its column: `label_column="NAME"`'
    other = next((name for name in names if name.strip().lower() in _NAMES["label"] and name != label), None)
    others = "no other column looks like a label" if other is None else f"the label may also be {other!r}"
    return (
        f"That {shown(label)} is the label was guessed by its name; {others}. "
        f'The column with the label: `label_column="{other or "NAME"}"`'
    )


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """The names that are not among the others. A table can have many: a search in a list would be too slow."""
    left_out = set(others)
    return [name for name in names if name not in left_out]


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = [f"and {len(names) - 20} more"] if len(names) > 20 else []
    return ", ".join([*map(shown, names[:20]), *more])


def not_found(path: Path, names: list[str], expected: str, role: str) -> DataError:
    """An error about a column that is not in the table."""
    argument = f'{role}_column="NAME"' if role != "features" else 'feature_columns=["NAME"]'
    numbered = sum(name[-1:].isdigit() for name in names)
    hint = 'If each row is a sequence: `layout="wide"`' if role == "id" and 2 * numbered > len(names) > 2 else ""
    if len(names) == 1:
        hint = "Columns are separated by commas, semicolons, tabs or |"
    end = "." if hint else ""
    return DataError(f"{path}: {expected} (`{argument}`), got columns {_listed(names)}{end}", hint)
