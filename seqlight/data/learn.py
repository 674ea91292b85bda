"""Learn an encoding from training data."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from seqlight.data.channels import learn_channels, require_times, require_values
from seqlight.data.classes import learn_classes, names_of
from seqlight.data.encoding import SequenceEncoding
from seqlight.data.numbers import moments_of_numbers, names_of_numbers
from seqlight.data.reading.names import TRUTH, class_name
from seqlight.data.reading.options import Missing
from seqlight.data.reading.raw import DataError, RawSequences
from seqlight.data.scale import moments
from seqlight.data.targets import encode_targets
from seqlight.tasks.task import Target


def learn_encoding(
    raw: RawSequences,
    rows: Int[np.ndarray, " rows"],
    path: str,
    *,
    target: Target | Literal["auto"] = "auto",
    standardise: bool = True,
    class_weights: Literal["balanced"] | Sequence[float] | None = None,
    positive_class: str | None = None,
    missing: Missing = "refuse",
    time_delta: bool = False,
) -> SequenceEncoding:
    """Learn the encoding from training data.

    Args:
        raw: labelled sequences. The classes are learned from all of them.
        rows: the sequences from which vocabulary, mean, scale and class weights are learned.
        path: the file, for messages.
        target: as for `SequenceFiles`.
        standardise: whether features get mean 0 and standard deviation 1.
        class_weights: as for `SequenceFiles`.
        positive_class: as for `SequenceFiles`.
        missing: as for `SequenceFiles`.
        time_delta: as for `SequenceFiles`.

    Raises:
        DataError: if there is nothing to learn, for example with only one class, or there is no such positive class.
    """
    found: Target
    if target == "regression":
        if class_weights is not None or positive_class is not None:
            name = "class_weights" if class_weights is not None else "positive_class"
            raise DataError(f'{path}: expected no {name} with `target="regression"`, which has no classes')
        found, names = "regression", names_of_numbers(raw, path)
    else:
        found, names = learn_classes(raw, path, target)
        names = _positive_last(raw, path, names, found, positive_class)
    used = np.zeros(len(raw.lengths), dtype=bool)
    used[rows] = True
    chosen = used if raw.label_per == "sequence" else np.repeat(used, raw.lengths)
    target_mean, target_scale = moments_of_numbers(raw, chosen, path) if found == "regression" else (None, None)
    steps = slice(None) if used.all() else np.repeat(used, raw.lengths)
    encoding: SequenceEncoding
    make = partial(
        SequenceEncoding,
        found,
        names,
        columns=raw.columns,
        label_vectors=raw.label_vectors,
        longest=int(raw.lengths[rows].max()),
        label_per=raw.label_per,
        target_mean=target_mean,
        target_scale=target_scale,
    )
    if raw.tokens is not None:
        tokens = np.unique(raw.values[steps])
        vocabulary = tuple(raw.tokens[token] for token in tokens)
        encoding = make(vocabulary=vocabulary)
    else:
        mean, scale = moments(raw.values, steps) if standardise or missing == "mask" else (None, None)
        if missing == "mask" and mean is not None:
            require_values(raw, mean, path)
        if time_delta:
            require_times(raw, path)
        fill = mean if missing == "mask" else None
        channels = learn_channels(raw, steps, fill, time_delta=time_delta) if missing == "mask" or time_delta else None
        encoding = make(
            num_features=raw.values.shape[1],
            mean=mean if standardise else None,
            scale=scale if standardise else None,
            channels=channels,
        )
    if class_weights is None:
        return encoding
    weights = class_weights
    if class_weights == "balanced":
        weights = balanced_weights(encode_targets(encoding, raw, path)[torch.from_numpy(chosen)], encoding)
    return replace(encoding, class_weights=tuple(map(float, weights)))


def balanced_weights(targets: Tensor, encoding: SequenceEncoding) -> tuple[float, ...]:
    """Weights that give each class the same influence: sequences / (classes * sequences of the class).

    For multilabel, the weight of a label that is 1: sequences without the label / sequences with it.
    """
    if encoding.target == "multilabel":
        positive = (targets > 0).sum(0).clamp(min=1)  # not of floats, which can't count beyond 2^24
        return tuple(((len(targets) - positive).clamp(min=1) / positive).tolist())
    counts = torch.bincount(targets.long(), minlength=len(encoding.class_names)).clamp(min=1)
    return tuple((len(targets) / (len(counts) * counts)).tolist())


def _positive_last(
    raw: RawSequences, path: str, names: tuple[str, ...], target: Target, positive: str | None
) -> tuple[str, ...]:
    """The classes of a binary target with the positive one last: by default true or 1, else the rarer one."""
    if target != "binary":
        if positive is not None:
            raise DataError(
                f"{path}: expected two classes for `positive_class={positive!r}`, got a {target} target, "
                f"{len(names)} {'labels' if target == 'multilabel' else 'classes'}"
            )
        return names
    assert raw.labels is not None
    if positive is None and [TRUTH.get(name.lower()) for name in names] == [False, True]:
        return names
    if positive is None:
        firsts = sum(names[0] in names_of(label) for label in raw.labels)
        return names if 2 * firsts >= len(raw.labels) else names[::-1]
    positive = class_name(positive)
    if positive not in names:
        raise DataError(
            f"{path}: expected one of the classes {names[0]!r} and {names[1]!r} as positive_class, got {positive!r}"
        )
    return names if positive == names[1] else names[::-1]
