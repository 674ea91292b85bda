"""The header of an ARFF file: names and kinds of attributes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seqlight.data.reading.arff_row import cells_of, unescaped
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError

Kind = Literal["numeric", "nominal", "string", "relational"]

_KINDS: dict[str, Kind] = {"numeric": "numeric", "real": "numeric", "integer": "numeric"}
_KINDS |= {"string": "string", "relational": "relational"}
_ATTRIBUTE = re.compile(
    r"""@attribute\s+(?:'((?:[^'\\]++|\\.)*+)'|"((?:[^"\\]++|\\.)*+)"|([^\s{'"]++))\s*(\{.*|\S+)""", re.IGNORECASE
)


@dataclass(frozen=True)
class Attribute:
    """An attribute.

    Attributes:
        name: its name.
        kind: what it holds.
        values: the values of a nominal attribute.
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()


class Header:
    """The header, read line by line.

    Attributes:
        attributes: the attributes, without those within a relational attribute.
    """

    def __init__(self, path: Path) -> None:
        self.attributes: list[Attribute] = []
        self._path = path
        self._within: str | None = None

    def add(self, line: str, place: str) -> bool:
        """Add a line; return whether it is the last one, @data.

        Raises:
            DataError: it is no line of a header, or has a kind of attribute that can't be read.
        """
        tag = line.split(None, 1)[0].lower()
        if tag == "@data":
            return True
        if tag == "@end":
            self._within = None
        elif tag == "@attribute":
            attribute = _attribute(line, place)
            if self._within is None:
                if any(attribute.name == other.name for other in self.attributes):
                    raise DataError(
                        f"{place}: expected attributes with distinct names, got {shown(attribute.name)} again"
                    )
                self.attributes.append(attribute)
            elif attribute.kind != "numeric":
                raise DataError(f"{place}: expected numeric attributes in {shown(self._within)}, got {attribute.kind}")
            if attribute.kind == "relational":
                self._within = attribute.name
        elif tag != "@relation":
            raise DataError(f"{place}: expected @attribute or @data before the first sequence, got {shown(line)}")
        return False


def _attribute(line: str, place: str) -> Attribute:
    found = _ATTRIBUTE.match(line)
    if found is None:
        raise DataError(f"{place}: expected @attribute with a name and a type, got {shown(line)}")
    name = unescaped(next(part for part in found.groups()[:3] if part is not None))
    kind = found[4].strip()
    if kind.startswith("{"):
        if not kind.endswith("}"):
            raise DataError(f"{place}: expected the classes between braces, got {shown(kind)}")
        inner = kind[1:-1].strip()
        return Attribute(name, "nominal", tuple(cells_of(inner, place)) if inner else ())
    if kind.lower() not in _KINDS:
        raise DataError(f"{place}: expected numbers, classes, text or a relational attribute, got {shown(kind)}")
    return Attribute(name, _KINDS[kind.lower()])
