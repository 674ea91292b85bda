"""The tables of `seqlight data`, at most 80 columns wide."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import numpy as np

from seqlight.common.text import one_line
from seqlight.data.feature_summary import FeatureSummary
from seqlight.data.reading.columns import names_of
from seqlight.data.reading.raw import Columns

_MOST_ROWS = 20
_NAME = 22  # characters of a name
_GUESS = 28
# The argument that names each column.
_ARGUMENTS = {
    "id": ("sequence id", 'id_column="NAME"'),
    "step": ("steps sorted by", 'step_column="NAME"'),
    "label": ("label", 'label_column="NAME"'),
    "features": ("features", 'feature_columns=["NAME"]'),
}


def short(name: str, width: int = _NAME) -> str:
    """A name of at most `width` characters. Its end is kept too: long names often begin with the same words."""
    name = one_line(name)
    half = (width - 3) // 2
    return name if len(name) <= width else f"{name[: width - 3 - half]}...{name[-half:]}"


def feature_table(features: Sequence[FeatureSummary], others: Sequence[tuple[str, str]] = ()) -> str:
    """Name, kind, range and number of missing values of each feature."""
    header = ("feature", "kind", "min", "mean", "max", "missing")
    rows = [
        (short(each.name), each.kind, *map(_number, (each.lowest, each.mean, each.highest)), str(each.missing))
        for each in features[:_MOST_ROWS]
    ]
    lines = [
        f"{row[0]:{_NAME}}  {row[1]:14}" + "".join(f"{cell:>11}" for cell in row[2:5]) + f"{row[5]:>8}"
        for row in [header, *rows]
    ]
    return "\n".join([*lines, *_more(len(features), "features")])


def length_table(lengths: Mapping[str, np.ndarray]) -> str:
    """The number of sequences of each split, and the quartiles of their lengths."""
    header = ("lengths", "sequences", "min", "25 %", "median", "75 %", "max")
    rows = [
        (split, str(len(each)), *(f"{value:g}" for value in np.percentile(each, (0, 25, 50, 75, 100)).tolist()))
        for split, each in lengths.items()
    ]
    return "\n".join(f"{row[0]:12}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in [header, *rows])


def class_table(counts: Mapping[str, Mapping[str, int]], totals: Mapping[str, int], kind: str, unit: str) -> str:
    """For each class, the most frequent first, its sequences or steps in each split.

    Args:
        counts: for each split, the sequences or steps of each class.
        totals: for each split, its sequences or steps.
        kind: "class" or "label".
        unit: "sequences" or "steps".
    """
    sums = {name: sum(of_split[name] for of_split in counts.values()) for name in next(iter(counts.values()))}
    names = sorted(sums, key=lambda name: -sums[name])
    lines = [f"{kind + ' (' + unit + ')':{_NAME}}" + "".join(f"{split:>16}" for split in counts)]
    for name in names[:_MOST_ROWS]:
        cells = (f"{of[name]:>8} {of[name] / max(totals[split], 1):>5.1%}" for split, of in counts.items())
        lines.append(f"{short(name):{_NAME}}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join([*lines, *_more(len(names), f"{kind}es" if kind == "class" else f"{kind}s")])


def token_lines(tokens: Iterable[tuple[str, int]], number: int) -> str:
    """The most frequent tokens, with the number of time steps of each.

    Args:
        tokens: tokens and numbers, the most frequent first.
        number: the number of different tokens.
    """
    listed = [f"{short(token)!r} {count}" for token, count in islice(tokens, _MOST_ROWS)]
    more = [f"and {number - _MOST_ROWS} more"] if number > _MOST_ROWS else []
    return f"{number} different tokens; the most frequent: {', '.join([*listed, *more])}"


def guess_table(guessed: Columns) -> str:
    """The columns that were guessed, and the flags that name others."""
    rows = []
    for role, (text, argument) in _ARGUMENTS.items():
        found = getattr(guessed, role)
        if found is None:
            continue
        names = names_of(found)
        listed = ", ".join(map(repr, names)) or "none, in the file's order"
        listed = listed if len(listed) <= _GUESS or len(names) < 2 else f"{len(names)} columns"
        rows.append((text, short(listed, _GUESS), f"`{argument}`"))
    lines = [f"{row[0]:17}{row[1]:{_GUESS}}  {row[2]}" for row in [("guessed", "", "otherwise"), *rows]]
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _more(number: int, things: str) -> list[str]:
    return [f"... and {number - _MOST_ROWS} more {things}, {number} in all"] if number > _MOST_ROWS else []
