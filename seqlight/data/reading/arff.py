"""ARFF, the format of Weka, as the UCR/UEA archive uses it: one sequence per line.

Numeric attributes are the steps of a sequence with one feature. With several features, each line of a relational
attribute is a feature, and the attributes in it are the steps. `scipy.io.arff` reads no relational attributes and no
text, and liac-arff has had no release since 2020. Specification: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

import os
import re
from contextlib import closing
from pathlib import Path

from seqlight.data.reading.arff_header import Attribute, Header
from seqlight.data.reading.arff_row import cells_of
from seqlight.data.reading.collect import Collector
from seqlight.data.reading.columns import guess, names_of
from seqlight.data.reading.names import class_name
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.series_lines import check_series, series_lines
from seqlight.data.reading.ts_series import series

_PADDING = re.compile(r"(?:(?:^|,)\s*(?:\?|nan)\s*)+$", re.IGNORECASE)


def read_arff(path: Path, request: Columns, options: Options) -> RawSequences:
    """Read series with one feature or several. Missing values at the end of all features are not a part of a sequence.

    Args:
        path: the file.
        request: `label` and `group` can name attributes. Without a label, it is the only nominal attribute.
        options: what the caller asks for.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    check_series(path, options)
    sequences = Collector(path, os.path.getsize(path), options)
    header, roles = Header(path), None
    num_sequences = num_padded = 0
    with closing(series_lines(path, comment="%")) as lines:
        for number, line, num_bytes in lines:
            if roles is None:
                if header.add(line, f"{path}: line {number}"):
                    roles = _Roles(path, header.attributes, request, options)
                continue
            place = f"{path}: sequence {num_sequences} (line {number})"
            num_sequences += 1
            cells = cells_of(line, place)
            if len(cells) != len(header.attributes):
                raise DataError(
                    f"{place}: expected {len(header.attributes)} values, one for each attribute, got {len(cells)}"
                )
            features = roles.features(cells)
            kept = _without_padding(features)
            num_padded += kept != features
            if not any(kept):
                sequences.add_empty(place)
                continue
            sequences.add_features(series(kept, place, options.missing), place)
            name = sequences.add_label(roles.label(cells, place), place)
            roles.check_class(name, place)
            if roles.group is not None:
                sequences.add_group(_known(cells[roles.group]), place)
            sequences.done(num_bytes)
    if roles is None:
        raise DataError(f"{path}: expected a line @data with sequences after it, got none")
    found = sequences.finish()
    if num_padded:
        found.remarks += (f"{path}: missing values at the end of a sequence are not a part of it",)
    return found


class _Roles:
    """The roles of attributes.

    Attributes:
        group: the place of the attribute with the group; None if there is none.

    Raises:
        DataError: it is not clear which one has the label, or there are no numbers.
    """

    def __init__(self, path: Path, attributes: list[Attribute], request: Columns, options: Options) -> None:
        names = [attribute.name for attribute in attributes]
        self.group = names.index(request.group) if request.group in names else None
        label = _label(path, attributes, request, options)
        self._label = None if label is None else names.index(label)
        others = [place for place in range(len(attributes)) if place not in (self.group, self._label)]
        self._relational = next((place for place in others if attributes[place].kind == "relational"), None)
        self._numbers = [place for place in others if attributes[place].kind == "numeric"]
        for place in others:
            if place != self._relational and (attributes[place].kind != "numeric" or self._relational is not None):
                raise DataError(
                    f"{path}: expected numeric attributes and a label, or one relational attribute and a label, got "
                    f"{shown(names[place])} ({attributes[place].kind})"
                )
        if not others:
            raise DataError(f"{path}: expected attributes with numbers besides the label, got none")
        self._classes = {} if self._label is None else dict.fromkeys(map(class_name, attributes[self._label].values))

    def features(self, cells: list[str]) -> list[str]:
        """The values of each feature, between commas."""
        if self._relational is None:
            return [",".join(cells[place] for place in self._numbers)]
        text = cells[self._relational]
        return [] if text == "?" else [line.strip() for line in text.splitlines() if line.strip()]

    def label(self, cells: list[str], place: str) -> str | None:
        """The label; None if it is unknown."""
        return None if self._label is None else _known(cells[self._label])

    def check_class(self, name: object, place: str) -> None:
        """Raise DataError if a nominal attribute does not list this class."""
        if name is not None and self._classes and name not in self._classes:
            listed = ", ".join([*self._classes][:20])
            raise DataError(f"{place}: expected a class of the header, {listed}, got {shown(name)}")


def _label(path: Path, attributes: list[Attribute], request: Columns, options: Options) -> str | None:
    """The attribute with the label; None if there is none."""
    names = [attribute.name for attribute in attributes]
    if request.label is not None and set(names_of(request.label)) <= set(names):
        if not isinstance(request.label, str):
            raise DataError(f"{path}: expected one label for each sequence, got {', '.join(request.label)}")
        return request.label
    free = [attribute for attribute in attributes if attribute.name != request.group]
    nominal = [attribute.name for attribute in free if attribute.kind in ("nominal", "string")]
    found = nominal[0] if len(nominal) == 1 else guess("label", nominal or [attribute.name for attribute in free])
    if request.label is not None and request.left_out is None and options.labelled:
        found = None
    if found is None and options.labelled:
        listed = ", ".join(map(shown, (nominal or names)[:20]))
        got = f"attributes {listed}" if nominal or names else "none"
        raise DataError(f'{path}: expected an attribute with the label (`label_column="NAME"`), got {got}')
    return found


def _without_padding(features: list[str]) -> list[str]:
    """The features without the missing values at the end of all."""
    if not features or not all(map(_PADDING.search, features)):
        return features
    lengths = [text.count(",") + 1 for text in features]
    kept = max(_PADDING.sub("", text).count(",") + 1 if _PADDING.sub("", text) else 0 for text in features)
    if len(set(lengths)) > 1:
        return features
    return [",".join(text.split(",")[:kept]) for text in features]


def _known(cell: str) -> str | None:
    return None if cell == "?" else cell
