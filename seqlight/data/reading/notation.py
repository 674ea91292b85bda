"""How numbers are written in text: with decimal points or commas, as percentages, with units, or not at all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from seqlight.common.text import encodable
from seqlight.data.reading.arrow import is_text, plain
from seqlight.data.reading.missing import HINT, MARKERS
from seqlight.data.reading.place import Place, first, shown

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_WHOLE = r"^\s*[+-]?\d+\s*$"
_DECIMAL_POINT = r"^\s*[+-]?\d*\.\d*([eE][+-]?\d+)?\s*$"
_DECIMAL_COMMA = r"^(\s*[+-]?\d*),(\d*([eE][+-]?\d+)?\s*)$"
_MAYBE_THOUSANDS = r"^\s*[+-]?[1-9]\d{0,2}(,\d{3})+\s*$"
# Thousands separators, percentages, amounts of money; decimals with a unit.
_OTHER_NOTATION = (
    r"^\s*([+\-\x{2212}]?\s?[$€£¥]?\s?\d[\d.,'_ ]*\s?[%‰$€£¥]?|[+\-\x{2212}]?\d+[.,]\d+\s?[\pL°µ/²³]{1,6})\s*$"
)


@dataclass(frozen=True)
class Notation:
    """How the numbers of a table's text are written.

    Attributes:
        decimal_comma: whether 1,5 is one and a half.
    """

    decimal_comma: bool = False

    def with_points(self, column: pa.Array, name: str, place: Place) -> pa.Array:
        """The column with decimal points.

        Raises:
            DataError: a number has a decimal point where numbers have decimal commas.
        """
        column = plain(column)
        if not self.decimal_comma or not is_text(column.type):
            return column
        if (index := first(_matches(column, _DECIMAL_POINT))) >= 0:
            expected = "a number with a decimal comma, as in other rows"
            raise place.error(index, name, expected, shown(column[index].as_py()))
        return pc.replace_substring_regex(column, _DECIMAL_COMMA, r"\1.\2")


def notation_of(
    batch: pa.RecordBatch, names: list[str], separator: str, path: Path
) -> tuple[Notation, tuple[str, ...]]:
    """The notation of the numbers in columns of text, and a line about it if it is not the usual one.

    Decimal commas are recognised if no number has a decimal point, and no other reading is possible.

    Args:
        batch: the first rows of a table.
        names: the columns that may have numbers.
        separator: what is between columns. Spreadsheets write semicolons where they write decimal commas, so between
            semicolons 1,234 is a number with three decimals; elsewhere it may be a thousand.
        path: the file, for messages.
    """
    columns = [column for name in names if is_text((column := plain(batch[name])).type)]
    example, maybe_thousands = None, True
    for column in columns:
        if not pc.any(pc.match_substring(column, ",")).as_py():
            continue
        commas = _matches(column, _DECIMAL_COMMA) & _matches(column, r"\d")
        if not (commas | _matches(column, _WHOLE) | _matches(column, MARKERS)).all():
            return Notation(), ()
        example = example or column[first(commas)].as_py().strip()
        maybe_thousands &= bool(_matches(column.filter(pa.array(commas)), _MAYBE_THOUSANDS).all())
    if example is None or (maybe_thousands and separator != ";"):
        return Notation(), ()
    if any(_matches(column, _DECIMAL_POINT).any() for column in columns):
        return Notation(), ()
    return Notation(decimal_comma=True), (f"{path}: numbers have decimal commas, such as {example}",)


def kind_of(column: pa.Array) -> Literal["integers", "numbers", "tokens"]:
    """The kind of a column of text, from its first rows, with decimal points.

    Words are tokens, and so are words and some integers. If there are decimals, or as many integers as words, the
    column has numbers, among which the words are mistakes. Missing values decide nothing.
    """
    missing = _matches(column, MARKERS)
    whole, numbers = _matches(column, _WHOLE), _matches(column, _NUMBER)
    others = _matches(column, _OTHER_NOTATION) & ~numbers
    words = ~(numbers | others | missing)
    if not words.any():
        return "integers" if whole.any() and (whole | missing).all() else "numbers"
    if (others | (numbers & ~whole)).any() or whole.sum() >= words.sum():
        return "numbers"
    return "tokens"


def numbers_as_tokens(texts: list[str], path: Path) -> tuple[str, ...]:
    """A line about tokens that are numbers with decimals, which are probably no tokens."""
    sample = pa.array([encodable(text) for text in texts[:1000]], pa.string())
    if kind_of(sample) != "numbers" or (example := first_decimal(sample.to_pylist())) is None:
        return ()
    return (f"{path}: text such as {shown(example)} is read as tokens; to be a feature, it must be stored as numbers",)


def first_decimal(texts: list[str]) -> str | None:
    """The first text that is a number with decimals, or in another notation of numbers."""
    column = pa.array(texts, pa.string())
    found = (_matches(column, _NUMBER) | _matches(column, _OTHER_NOTATION)) & ~_matches(column, _WHOLE)
    return texts[index] if (index := first(found)) >= 0 else None


def hint(text: str) -> str:
    """A line about text that stands for a number, but can't be read as one; empty for other text."""
    column = pa.array([text], pa.string())
    if _matches(column, MARKERS)[0]:
        return HINT
    if not _matches(column, _OTHER_NOTATION)[0]:
        return ""
    if "," in text and _matches(column, r"^[\s\d+\-.,]*$")[0]:
        return "Write numbers with a decimal point, and without commas between thousands"
    return "Write numbers as digits with a decimal point: no percent signs, units, or marks between thousands"


def _matches(column: pa.Array, pattern: str) -> Bool[np.ndarray, " rows"]:
    return np.asarray(pc.match_substring_regex(column, pattern).fill_null(False).to_numpy(zero_copy_only=False))
