"""The report on splits before they are used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seqlight.common.text import one_line
from seqlight.data.encoding import SequenceEncoding
from seqlight.data.sequences import Sequences
from seqlight.data.summary import describe, describe_encoding, overlaps, shared_groups
from seqlight.data.true_labels import LabelColumns


@dataclass(frozen=True)
class LoadedSplit:
    """A split in memory, with lines for the report: guesses about the training file, and remarks."""

    sequences: Sequences
    ids: Sequence[int | str]
    source: str
    remarks: tuple[str, ...] = ()
    groups: Sequence[str] | None = None
    labels: LabelColumns | None = None  # those of `predict` as they were read
    steps: Sequence[str] | None = None  # their names, if each has a label
    guesses: tuple[str, ...] = ()


class SplitReport(NamedTuple):
    """The lines of a report on splits.

    Attributes:
        sizes: for each split its source, size, lengths and classes.
        guesses: what was guessed when the training data were read; the first line is about columns, if they have names.
        remarks: on each split.
        encoding: the kinds of inputs and target.
        shared: on sequences and groups that are in two splits.
    """

    sizes: list[str]
    guesses: list[str]
    remarks: list[str]
    encoding: str
    shared: list[str]

    def __str__(self) -> str:
        return "\n".join([*self.sizes, *self.guesses, *self.remarks, self.encoding, *self.shared])


def report_on(
    shown: Mapping[str, LoadedSplit],
    compared: Mapping[str, LoadedSplit],
    encoding: SequenceEncoding,
    group_column: str | None,
    not_compared: Sequence[str] = (),
) -> SplitReport:
    """The report on some splits.

    Args:
        shown: the splits to describe.
        compared: the splits in which sequences and groups can be the same.
        encoding: that of all splits.
        group_column: the column with the group of a sequence, if there is one.
        not_compared: lines on splits that can't be compared.
    """
    sizes = [f"{split:8}{each.source}: {describe(each.sequences, encoding)}" for split, each in shown.items()]
    guesses = [guess for each in shown.values() for guess in each.guesses]
    remarks = [remark for each in shown.values() for remark in each.remarks]
    shared = [*not_compared, *overlaps({split: each.sequences for split, each in compared.items()})]
    shared += shared_groups({split: each.groups for split, each in compared.items()}, group_column)
    lines = [[*map(one_line, part)] for part in (sizes, guesses, remarks, shared)]
    return SplitReport(lines[0], lines[1], lines[2], one_line(describe_encoding(encoding)), lines[3])
