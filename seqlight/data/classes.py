"""The classes of files' sequences: learned from labels, looked up by name, and compared."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from seqlight.data.reading.names import TRUTH
from seqlight.data.reading.raw import DataError, Label, RawSequences
from seqlight.tasks.task import Target

_MISSING = {"na", "n/a", "nan", "null", "?", "#n/a", "<na>"}  # as R, pandas, SQL and spreadsheets write them
_BOTH = ["False", "True"]
_MANY_NUMBERS = 10  # more classes that are numbers are doubtful: digits are ten


class ClassIndex:
    """The positions of classes.

    True, TRUE, true and 1 are the same class if the two classes are a true and a false one, however they are spelled.

    Args:
        class_names: the names of the classes, in the order of positions.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        # Names with blanks around them are from checkpoints of earlier versions, which kept the blanks.
        self._positions = {name.strip(): place for place, name in enumerate(class_names)}
        self._positions |= {name: place for place, name in enumerate(class_names)}
        self._names = class_names
        truths = [TRUTH.get(name.lower()) for name in class_names]
        self._truths = {truth: place for place, truth in enumerate(truths)} if sorted(map(str, truths)) == _BOTH else {}

    def get(self, name: str) -> int | None:
        """The position of a class, or None if it is unknown."""
        position = self._positions.get(name)
        return self._truths.get(TRUTH.get(name.lower())) if position is None else position

    def unknown(self, name: str) -> str:
        """A message about a class that is unknown."""
        known = ", ".join(map(repr, self._names[:20])) + (", ..." if len(self._names) > 20 else "")
        alike = next((other for other in self._names if _folded(other) == _folded(name)), None)
        hint = f"; write it as {alike!r}, from which it differs by case or blanks only" if alike else ""
        return f"label {name!r} is unknown; the training data have {known}{hint}"


def learn_classes(raw: RawSequences, path: str, target: Target | Literal["auto"]) -> tuple[Target, tuple[str, ...]]:
    """The kind of target, and the names of classes or labels in order.

    Args:
        raw: labelled sequences.
        path: the file, for messages.
        target: as for `SequenceFiles`.

    Raises:
        DataError: there is nothing to learn, or the labels do not fit the target.
    """
    assert raw.labels is not None
    several = any(isinstance(label, tuple) for label in raw.labels)
    if several and target not in ("auto", "multilabel") and any(len(names_of(label)) != 1 for label in raw.labels):
        raise DataError(f"{path}: sequences have several labels each, so the target can't be {target!r}")
    names = raw.label_names
    if names is None:
        names = _in_order({name for label in raw.labels for name in names_of(label)})
    if target == "multilabel" or (several and target == "auto"):
        if not names:
            raise DataError(f"{path}: no sequence has any label")
        if len({frozenset(names_of(label)) for label in raw.labels}) == 1 < len(raw.labels):
            same = ", ".join(map(repr, sorted(set(names_of(raw.labels[0])))[:10])) or "none"
            raise DataError(f"{path}: all sequences have the same labels, {same}; expected labels that differ")
        return "multilabel", names
    names = _one_spelling(raw.labels, names)
    if len(names) == 1:
        raise DataError(f"{path}: all sequences have the label {names[0]!r}; expected at least two classes")
    if len(names) > 50 and 2 * len(names) > len(raw.labels):
        raise DataError(
            f"{path}: {len(names)} different labels in {len(raw.labels)} {raw.label_per}s, "
            f"such as {names[0]!r} and {names[1]!r}{_column(raw)}{_or_numbers(names)}"
        )
    if target == "binary" and len(names) > 2:
        raise DataError(f"{path}: a binary target has two classes, got {len(names)}: {', '.join(names[:10])}")
    found: Target = "binary" if len(names) == 2 and target != "multiclass" else "multiclass"
    return found, names


def names_of(label: Label) -> tuple[str, ...]:
    """The names of a sequence's labels."""
    assert label is not None  # reading with labelled=True ensures it
    return label if isinstance(label, tuple) else (label,)


def label_doubts(labels: Iterable[Label], class_names: Sequence[str], path: str) -> tuple[str, ...]:
    """Remarks on labels that may be misspelled, or that may say that a label is missing.

    Args:
        labels: the labels of the training file.
        class_names: the classes that were learned from them.
        path: the file, for messages.
    """
    counts = Counter(name for label in labels for name in names_of(label))

    def listed(names: Iterable[str]) -> str:
        return ", ".join(f"{name!r} ({counts[name]})" for name in list(names)[:10])

    remarks = []
    if other := sorted(counts.keys() - set(class_names)):  # spellings of true and false
        remarks.append(f"{path}: labels {listed(other)} are read as {' or '.join(map(repr, class_names))}")
    alike: dict[str, list[str]] = {}
    for name in class_names:
        alike.setdefault(_folded(name), []).append(name)
    if groups := [names for names in alike.values() if len(names) > 1]:
        shown = " and ".join(map(listed, groups[:3])) + (" and others" if len(groups) > 3 else "")
        remarks.append(
            f"{path}: classes that differ only by case or blanks: {shown}; if they are one, write them alike in the "
            "file, for example with `.str.strip().str.lower()` of pandas"
        )
    if missing := [name for name in class_names if name.lower() in _MISSING]:
        remarks.append(
            f"{path}: {listed(missing)} is read as a class; if it stands for a missing label, leave out its sequences"
        )
    if len(class_names) > _MANY_NUMBERS and all(map(_is_number, class_names)):
        remarks.append(
            f"{path}: {len(class_names)} numbers from {class_names[0]} to {class_names[-1]} are read as classes"
            f"{_or_numbers(class_names)}"
        )
    if all(name[:1] == "[" and name[-1:] == "]" for name in class_names):
        remarks.append(
            f"{path}: {class_names[0]!r} is read as the name of a class; if it is a list of labels, give each label "
            'a column of 0 and 1: `label_column=["NAME", "NAME"]`'
        )
    return tuple(remarks)


def _column(raw: RawSequences) -> str:
    """The end of a message about labels that are not classes."""
    label = None if raw.columns is None else raw.columns.label
    if not isinstance(label, str):
        return "; expected classes"
    return f', in column {label!r}; expected classes: `label_column="NAME"` names their column'


def _or_numbers(names: Sequence[str]) -> str:
    """The end of a message about many classes, if they are numbers."""
    return '; if they are numbers to predict: `target="regression"`' if all(map(_is_number, names)) else ""


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _one_spelling(labels: Sequence[Label], names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, or if all of them are spellings of true and false, the most frequent spelling of each."""
    truths = {name: TRUTH.get(name.lower()) for name in names}
    if None in truths.values() or len(names) < 2:
        return names
    counts = Counter(name for label in labels for name in names_of(label))
    by_truth = ([name for name in names if truths[name] is truth] for truth in (False, True))
    return tuple(max(spellings, key=lambda name: counts[name]) for spellings in by_truth if spellings)


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Numbers first, then text in alphabetical order."""

    def key(name: str) -> tuple[float, str]:
        try:
            number = float(name)
        except ValueError:
            number = math.inf
        return (math.inf if math.isnan(number) else number), name  # NaN can't be ordered

    return tuple(sorted(names, key=key))


def _folded(name: str) -> str:
    """The name without differences of case, blanks, or Unicode's ways of writing a character."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())
