"""Lists of labels: names, or a vector of 0 and 1."""

from collections.abc import Callable
from pathlib import Path

from seqlight.data.reading.names import TRUTH, is_whole_number
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError


class LabelVectors:
    """Decides whether the lists of labels of a file are names, or vectors with 0 or 1 for each label.

    They are vectors if all have the same length of at least 2, and contain nothing but 0 and 1 (or true and false).
    Read as names, such lists would name a label twice, or give both labels to every sequence.

    Args:
        expected: the number of labels in a vector, 0 for names, None to decide by the lists.
    """

    def __init__(self, expected: int | None = None) -> None:
        self._expected = expected
        self._places: dict[int, str] = {}  # of the first list of each length
        self._other: str | None = None
        self._repeated: tuple[tuple[str, ...], str] | None = None

    def add(self, label: tuple[str, ...], place: Callable[[], str]) -> None:
        """Note a list. `place` finds its position with the file, for messages."""
        if len(label) not in self._places:
            self._places[len(label)] = place()
        if self._other is None and any(part.lower() not in TRUTH for part in label):
            self._other = place()
        if self._repeated is None and len(set(label)) < len(label) and all(map(is_whole_number, label)):
            self._repeated = label, place()

    def width(self) -> int | None:
        """The number of labels in a vector; 0 if lists are names; None if there was no list.

        Raises:
            DataError: the lists are neither.
        """
        if not self._places:
            return None
        widths = list(self._places)
        if self._expected == 0 or (self._expected and (self._other or widths == [0])):
            return 0
        expected = self._expected or widths[0]
        if self._other is None:
            if widths == [expected] and expected > 1:
                return expected
            if self._expected or self._repeated:
                other = next(width for width in widths if width != expected)
                before = "the training data" if self._expected else _short(self._places[expected])
                values = f"{expected} values of 0 and 1 as label, as in {before}"
                raise DataError(f"{self._places[other]}: expected {values}, got {other}")
        if self._repeated:
            label, place = self._repeated
            got = shown([int(part) for part in label])
            raise DataError(
                f"{place}: expected a list of distinct labels, or 0 and 1 for each label, got {got}",
                f"{_short(self._other)} has other labels" if self._other and self._other != place else "",
                'If each step has a label: `label_per="step"`',
            )
        return 0


def names_of(vector: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the labels that are 1 in a vector: their positions, as in the columns of an array."""
    return tuple(str(position) for position, part in enumerate(vector) if TRUTH[part.lower()])


def vector_names(width: int | None) -> tuple[str, ...] | None:
    """The names of all labels of vectors of this width, or None if lists are names."""
    return tuple(map(str, range(width))) if width else None


def vectors_guessed(path: Path, width: int | None) -> tuple[str, ...]:
    """A line about lists that were read as vectors."""
    return (f"{path}: lists of 0 and 1 are read as vectors of {width} labels",) if width else ()


def _short(place: str) -> str:
    """A position without its file."""
    return place.rpartition(": ")[2]
