"""The values in a line of an ARFF file: between commas, in quotes where they need them."""

import re

from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError

# A quoted value ends at a quote without a backslash.
_CELL = re.compile(r"""\s*(?:'((?:[^'\\]++|\\.)*+)'|"((?:[^"\\]++|\\.)*+)"|([^,'"]*+))\s*(?:(,)|\Z)""")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


def cells_of(line: str, place: str) -> list[str]:
    """The values in a line.

    Args:
        line: the line, without blanks around it.
        place: its position, for messages.

    Raises:
        DataError: a quote is not closed, or the row is sparse.
    """
    if line[0] == "{":
        raise DataError(f"{place}: expected values between commas, got a sparse row, {shown(line)}")
    if "'" not in line and '"' not in line:
        return [cell.strip() for cell in line.split(",")]
    cells = []
    start = 0
    while True:
        found = _CELL.match(line, start)
        if found is None:
            got = shown(line[start : start + 40])
            raise DataError(f"{place}: expected a closing quote and a comma after each value, got {got}")
        quoted = found[1] if found[1] is not None else found[2]
        cells.append(found[3].strip() if quoted is None else unescaped(quoted))
        if found[4] is None:
            return cells
        start = found.end()


def unescaped(text: str) -> str:
    """Text without its backslashes; a backslash and n is the end of a line."""
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text) if "\\" in text else text
