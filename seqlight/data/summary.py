"""Descriptions of sequences, and remarks on likely mistakes, for the report before they are used."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import numpy as np
import torch

from seqlight.common.text import one_line
from seqlight.data.channels import name_in, unknown_features
from seqlight.data.encoding import UNKNOWN, SequenceEncoding
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError, RawSequences
from seqlight.data.scale import lost_in_float32
from seqlight.data.sequences import Sequences

_MOST_CLASSES = 12  # listed one by one


def describe(sequences: Sequences, encoding: SequenceEncoding) -> str:
    """The number, lengths and classes of sequences."""
    lengths = sequences.lengths
    shortest, longest = int(lengths.min()), int(lengths.max())
    steps = f"{longest} steps"
    if shortest < longest:
        steps = f"{shortest} to {longest} steps (median {int(lengths.median())})"
    counts = class_counts(sequences, encoding)
    classes = ""
    if counts and len(counts) <= _MOST_CLASSES:
        unit = "steps: " if encoding.label_per == "step" else ""
        classes = f"; {unit}" + ", ".join(f"{_quoted(name)} {count}" for name, count in counts.items())
    elif counts:
        classes = f"; {len(counts)} classes of {min(counts.values())} to {max(counts.values())} {encoding.label_per}s"
    return f"{len(lengths)} sequences of {steps}{classes}{_ranges(sequences, encoding)}"


def describe_encoding(encoding: SequenceEncoding) -> str:
    """The kinds of inputs and target."""
    if encoding.vocabulary is not None:
        inputs = f"tokens, a vocabulary of {len(encoding.vocabulary)}"
    else:
        number = f"{encoding.num_features} feature{'' if encoding.num_features == 1 else 's'}"
        inputs = f"{number}, {'not ' if encoding.mean is None else ''}standardised"
        added = (encoding.input_size or 0) - (encoding.num_features or 0)
        inputs += f", and {added} added channels" if added else ""
    if encoding.target == "regression":
        several = f"{len(encoding.class_names)} numbers" if len(encoding.class_names) > 1 else "1 number"
        classes = f"regression, {several}, standardised"
    elif encoding.target == "binary":
        classes = "binary, {!r} is 0 and {!r} is 1".format(*encoding.class_names)
    else:
        kind = "labels" if encoding.target == "multilabel" else "classes"
        classes = f"{encoding.target}, {len(encoding.class_names)} {kind}"
    if encoding.class_weights is not None and len(encoding.class_names) <= _MOST_CLASSES:
        weights = zip(encoding.class_names, encoding.class_weights, strict=True)
        classes += "; weights: " + ", ".join(f"{_quoted(name)} {weight:.4g}" for name, weight in weights)
    return f"inputs: {inputs}; target: {classes}"


def doubts(sequences: Sequences, encoding: SequenceEncoding) -> tuple[str, ...]:
    """Remarks on training data that were perhaps misread."""
    remarks = []
    if len(sequences.lengths) > 1 and int(sequences.lengths.max()) == 1:
        remarks.append(
            "every sequence has a single time step: a table must have one row per step, and the same id in all rows of "
            'a sequence; if that is in another column: `id_column="NAME"`; if each row is a sequence: `layout="wide"`'
        )
    if sequences.values.is_floating_point():
        lowest, highest = torch.aminmax(sequences.values, dim=0)
        equal = (lowest == highest).nonzero().flatten().tolist()
        constant = [feature_name(feature, encoding) for feature in equal]
        if constant:
            remarks.append(
                f'constant feature: {", ".join(constant[:10])}; to choose the features: `feature_columns=["NAME"]`'
            )
    counts = class_counts(sequences, encoding)
    if encoding.target == "binary" and counts[encoding.class_names[1]] < counts[encoding.class_names[0]]:
        other, rarer = encoding.class_names
        remarks.append(
            f"F1 and AUROC are about {rarer!r}, the rarer class; about the other: `positive_class={other!r}`"
        )
    if encoding.target == "multilabel" and bool((sequences.own_targets().sum(-1) == 1).all()):
        remarks.append(
            f'every {encoding.label_per} has exactly one label: if labels are classes, `target="multiclass"`'
        )
    return tuple(remarks)


def absent_classes(sequences: Sequences, encoding: SequenceEncoding, split: str) -> tuple[str, ...]:
    """A remark on classes or labels that a split lacks, so that its metrics say nothing about them."""
    absent = [_quoted(name) for name, count in class_counts(sequences, encoding).items() if count == 0]
    kind = "label" if encoding.target == "multilabel" else "class"
    names = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
    return (
        (f"{split} has no {encoding.label_per} of {kind} {names}: its metrics say nothing about it",) if absent else ()
    )


def coarse_features(raw: RawSequences, encoding: SequenceEncoding) -> tuple[str, ...]:
    """A remark on features that are not standardised and too large for float32 to tell their values apart."""
    if encoding.num_features is None or encoding.mean is not None:
        return ()
    lost = lost_in_float32(raw.values)
    names = [f"{feature_name(feature, encoding)} {share:.0%}" for feature, share in [*lost.items()][:10]]
    text = f"float32 rounds by more than 1 % of a feature's standard deviation: {', '.join(names)}; `standardise=True`"
    return (f"{text} avoids it",) if lost else ()


def feature_name(feature: int, encoding: SequenceEncoding) -> str:
    """A feature's column, quoted, or its number from 1 on; or what an added channel says."""
    channel = feature - (encoding.num_features or 0)
    if channel >= 0 and encoding.channels is not None:
        return encoding.channels.name(channel, encoding.columns)
    return name_in(encoding.columns, feature)


def missing_values(raw: RawSequences, encoding: SequenceEncoding, path: str) -> tuple[str, ...]:
    """Remarks on the missing values of a file, which have not been replaced yet."""
    if encoding.missing == "refuse" or encoding.channels is None or raw.tokens is not None:
        return ()
    counts = unknown_features(raw.values)
    if not counts.any():
        return ()
    found = np.flatnonzero(counts).tolist()
    listed = [f"{feature_name(feature, encoding)} {counts[feature]}" for feature in found[:20]]
    more = f", and {len(found) - 20} more features" if len(found) > 20 else ""
    remarks = [f"{path}: missing values in {len(raw.values)} steps: {', '.join(listed)}{more}"]
    if new := [feature_name(feature, encoding) for feature in found if feature not in encoding.channels.masked]:
        remarks.append(f"{path}: missing here, but never in the training data: {', '.join(new[:20])}; no channels")
    last_steps = raw.values[np.cumsum(raw.lengths) - 1]
    if raw.columns is None and (number := int(np.isnan(last_steps).all(1).sum())):
        remarks.append(
            f"{path}: {number} of {len(raw.lengths)} sequences end in steps without any value; if these are padding, "
            "give the lengths"
        )
    return tuple(remarks)


def unknown_tokens(sequences: Sequences, source: str) -> tuple[str, ...]:
    """A remark on tokens that are not in the training data, if there are any.

    Raises:
        DataError: if no token is in the training data.
    """
    if sequences.values.is_floating_point():
        return ()
    count = sum(int((steps == UNKNOWN).sum()) for steps in _each(sequences))
    total = int(sequences.lengths.sum())
    if count == total:
        raise DataError(f"{source}: none of the tokens is in the training data")
    return (f"{source}: {count} of {total} tokens are not in the training data",) if count else ()


def overlaps(splits: Mapping[str, Sequences]) -> list[str]:
    """Remarks on inputs that are in more than one split, compared as they were read."""
    digests = {
        split: list(map(tuple, sequences.digests.tolist()))
        for split, sequences in splits.items()
        if sequences.digests is not None
    }
    remarks = []
    for first, second in combinations(digests, 2):
        common = set(digests[first])
        number = sum(digest in common for digest in digests[second])
        if number:
            remarks.append(f"{number} of {len(digests[second])} sequences in {second} are also in {first}")
    return remarks


def shared_groups(groups: Mapping[str, Iterable[str] | None], column: str | None) -> list[str]:
    """Remarks on groups that have sequences in more than one split, and on splits whose groups are unknown."""
    if column is None:
        return []
    known = {split: list(names) for split, names in groups.items() if names is not None}
    remarks = [
        f"{split} has no column {shown(column)}: not compared by group" for split in groups if split not in known
    ]
    for first, second in combinations(known, 2):
        common = set(known[first]) & set(known[second])
        if common:
            number = sum(name in common for name in known[second])
            names = ", ".join(sorted(common)[:5]) + (", ..." if len(common) > 5 else "")
            remarks.append(
                f"{number} of {len(known[second])} sequences in {second} are of a group that is also in {first} "
                f"({shown(column)}: {names})"
            )
    return remarks


def _ranges(sequences: Sequences, encoding: SequenceEncoding) -> str:
    """The range of each number to predict; empty if there are none, or they are unknown."""
    targets = sequences.own_targets()
    if encoding.target_mean is None or encoding.target_scale is None or not bool(targets.isfinite().all()):
        return ""
    scale, mean = (torch.tensor(each, dtype=torch.float64) for each in (encoding.target_scale, encoding.target_mean))
    numbers = targets.double() * scale + mean
    numbers = numbers.where(numbers.abs() > 1e-6 * scale, 0)  # what rounding leaves of 0
    lowest, highest = torch.aminmax(numbers, dim=0)
    parts = zip(encoding.class_names, lowest.tolist(), highest.tolist(), strict=True)
    texts = [f"{_quoted(name)} {low:.6g} to {high:.6g}" for name, low, high in parts]
    return "; " + ", ".join(texts[:_MOST_CLASSES])


def _quoted(name: str) -> str:
    return name if name.strip() == name == one_line(name) and name and "," not in name else repr(name)


def class_counts(sequences: Sequences, encoding: SequenceEncoding) -> dict[str, int]:
    """The number of sequences of each class or label; empty if targets are unknown."""
    targets = sequences.own_targets()
    if encoding.target == "regression" or not bool((targets >= 0).all()):
        return {}
    if encoding.target == "multilabel":
        counts = (targets > 0).sum(0)
    else:
        counts = torch.bincount(targets.long(), minlength=len(encoding.class_names))
    return dict(zip(encoding.class_names, counts.tolist(), strict=True))


def _each(sequences: Sequences) -> Iterator[np.ndarray]:
    """The values of each sequence."""
    values = sequences.values.numpy()
    for start, length in zip(sequences.starts.tolist(), sequences.lengths.tolist(), strict=True):
        yield values[start : start + length]
