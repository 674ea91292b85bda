"""The columns of a wide table, in which a row is a sequence: x_0, x_1, ... are the steps of the feature x."""

import re
from dataclasses import dataclass
from pathlib import Path

from seqlight.data.reading.columns import check_distinct, guess, names_of, not_found, present
from seqlight.data.reading.names import class_name, is_whole_number
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import Columns, DataError

_FEATURE_AND_STEP = re.compile(r"(.*?)[ _.\-]?[\[(]?(\d+)[\])]?", re.ASCII | re.DOTALL)
_WITHOUT_NAME = "value"


@dataclass(frozen=True)
class WideColumns:
    """The roles of columns.

    Attributes:
        id: the column with the name of each sequence, or several columns; None if there is none.
        label: the column with the label, or several columns of 0 and 1; None if there is none.
        steps: for each feature, its columns in the order of time.
        group: the column with the group of each sequence; None if there is none.
    """

    id: str | tuple[str, ...] | None
    label: str | tuple[str, ...] | None
    steps: dict[str, list[str]]
    group: str | None = None

    def as_columns(self) -> Columns:
        """The roles without the steps."""
        return Columns(self.id, "", self.label, tuple(self.steps), group=self.group)


def resolve_wide(
    path: Path, names: list[str], request: Columns, labelled: bool, first_row: list[str] | None
) -> tuple[WideColumns, tuple[str, ...]]:
    """The roles of columns, and a line that lists the guesses.

    Args:
        path: the file, for messages.
        names: the names of all columns; numbers from 1 on if the file has no header.
        request: the names that are known; `features` are names of features, without steps.
        labelled: whether there must be a label.
        first_row: the first row, if the file has no header. The label is then in the first column, if it is not named.

    Raises:
        DataError: a column is missing, or the steps of features can't be found.
    """
    if request.step:
        raise DataError(f"{path}: expected no step column, since a row is a sequence, got {shown(request.step)}")
    check_distinct(path, names)
    known, label, sequence_id, group = set(names), request.label, request.id, request.group
    if group not in known and (request.left_out is not None or not labelled):  # a trained model needs no groups
        group = None
    if not labelled:
        label = present(label, known)
    for role, wanted in (("id", names_of(sequence_id)), ("label", names_of(label)), ("group", names_of(group))):
        for name in wanted:
            if name not in known:
                raise not_found(path, names, f"expected a column {shown(name)}", role)
    free = [name for name in names if name not in {*names_of(sequence_id), *names_of(label), group}]
    guesses, headerless = [], first_row is not None
    if sequence_id is None and not headerless:
        sequence_id = guess("id", free)
        guesses.append("no ids" if sequence_id is None else f"sequence id in column {sequence_id!r}")
    if label is None and (labelled or request.label is None):
        label = None if headerless else guess("label", free)
        if first_row and labelled:
            if not is_whole_number(class_name(float(first_row[0]))):
                got = shown(first_row[0])
                raise DataError(
                    f"{path}: expected a class in the first column, since there is no header, got {got}.",
                    f'Columns are named by their numbers, as in `label_column="{len(names)}"`',
                )
            label = free.pop(0)
        if label is None and labelled:
            raise not_found(path, names, "expected a column with the label of each sequence", "label")
        where = " (the first, since there is no header)" if headerless and label else ""
        guesses.append("no labels" if label is None else f"label {', '.join(map(shown, names_of(label)))}{where}")
    steps = {_WITHOUT_NAME: free} if headerless else _steps(path, free, request.features)
    longest = len(next(iter(steps.values())))
    guesses.append(f"features {', '.join(map(shown, [*steps][:20]))}, of {longest} steps in a row")
    return WideColumns(sequence_id, label, steps, group), (f"{path}: {', '.join(guesses)}",)


def _steps(path: Path, names: list[str], features: tuple[str, ...] | None) -> dict[str, list[str]]:
    """For each feature, its columns in the order of their numbers."""
    found: dict[str, dict[int, str]] = {}
    others = []
    for name in names:
        parts = _FEATURE_AND_STEP.fullmatch(name.strip())
        feature = parts and (parts[1] or _WITHOUT_NAME)
        if parts is None or (features is not None and feature not in features):
            others.append(name)
            continue
        numbers = found.setdefault(str(feature), {})
        if int(parts[2]) in numbers:
            raise DataError(f"{path}: expected each step once, got {shown(numbers[int(parts[2])])} and {shown(name)}")
        numbers[int(parts[2])] = name
    for feature in features or ():
        if feature not in found:
            raise DataError(
                f"{path}: expected columns such as {feature}_0, {feature}_1 for the feature {shown(feature)}"
            )
    if features is None and (others or not found):
        got = f"got {shown(others[0])}" if others else "got none"
        raise DataError(
            f"{path}: expected columns with the number of a step, such as x_0, x_1, besides id and label, {got}.",
            'Name the features without the numbers: `feature_columns=["x"]`' if found else "",
        )
    first, *rest = found
    for other in rest:
        if found[other].keys() != found[first].keys():
            raise DataError(
                f"{path}: expected the same steps of all features, got {len(found[first])} of {shown(first)} and "
                f"{len(found[other])} of {shown(other)}, or other numbers"
            )
    return {feature: [found[feature][step] for step in sorted(found[feature])] for feature in features or found}
