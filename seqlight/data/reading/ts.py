"""The format of the UCR/UEA archive: a header, then one sequence per line.

A series is read by `ts_series`; the class comes last, after ':'. Every library that reads this format
requires pandas, scikit-learn and older NumPy. Specification: https://www.aeon-toolkit.org, "ts file format".
"""

import os
from contextlib import closing
from pathlib import Path

from seqlight.data.reading.collect import Collector
from seqlight.data.reading.names import class_name
from seqlight.data.reading.options import Options
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError, RawSequences
from seqlight.data.reading.series_lines import check_series, series_lines
from seqlight.data.reading.ts_series import between_colons, series, timed_series


def read_ts(path: Path, options: Options) -> RawSequences:
    """Read series of equal or unequal length, with one or several dimensions.

    Raises:
        DataError: the file can't be used; the message gives the reason.
    """
    check_series(path, options)
    sequences = Collector(path, os.path.getsize(path), options)
    header: dict[str, list[str]] = {}
    classes: dict[str, None] | None = None
    with_times = False
    num_sequences = 0
    with closing(series_lines(path, comment="#%")) as lines:
        for number, line, num_bytes in lines:
            if "data" not in header:
                if not line.startswith("@"):
                    raise DataError(
                        f"{path}: line {number}: expected @data before the first sequence, got {shown(line)}"
                    )
                tag, *values = line[1:].split()
                header[tag.lower()] = values
                if tag.lower() == "data":
                    classes, with_times = _classes(path, header, options), _is_true(header, "timestamps")
                continue
            place = f"{path}: sequence {num_sequences} (line {number})"
            dimensions = between_colons(line)
            label = None if classes is None else dimensions.pop()
            if not dimensions:
                raise DataError(f"{place}: expected values, ':' and a class, got {shown(line)}")
            if not any(text.strip() for text in dimensions):
                sequences.add_empty(place)
                num_sequences += 1
                continue
            if with_times:
                read, times = timed_series(dimensions, place, options.missing)
                sequences.add_features(read, place, times)
            else:
                sequences.add_features(series(dimensions, place, options.missing), place)
            name = sequences.add_label(label and label.strip(), place)
            if name is not None and classes and not options.numbers and name not in classes:
                raise DataError(
                    f"{place}: expected a class of @classLabel, {', '.join([*classes][:20])}, got {shown(name)}"
                )
            num_sequences += 1
            sequences.done(num_bytes)
    if "data" not in header:
        raise DataError(f"{path}: expected a line @data with sequences after it, got none")
    return sequences.finish()


def _classes(path: Path, header: dict[str, list[str]], options: Options) -> dict[str, None] | None:
    """The names of the classes, as keys for quick searches; none for numbers; None if there are no labels."""
    if _is_true(header, "targetlabel"):
        if not options.numbers:
            raise DataError(
                f'{path}: expected classes (@classLabel), got numbers (@targetLabel true): `target="regression"`'
            )
        return {}
    return dict.fromkeys(map(class_name, header["classlabel"][1:])) if _is_true(header, "classlabel") else None


def _is_true(header: dict[str, list[str]], tag: str) -> bool:
    return [value.lower() for value in header.get(tag, [])[:1]] == ["true"]
