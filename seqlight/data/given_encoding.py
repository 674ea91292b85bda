"""Arguments and files that must fit a trained model's encoding."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from seqlight.data.encoding import SequenceEncoding
from seqlight.data.reading.index_columns import is_index_name
from seqlight.data.reading.names import class_name
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.scale import chunks


def check_arguments(encoding: SequenceEncoding, arguments: Mapping[str, Any]) -> None:
    """Raise ValueError if one of a data module's arguments contradicts the encoding."""
    changed = []
    if arguments["target"] not in ("auto", encoding.target):
        changed.append("target")
    if arguments["label_per"] != encoding.label_per:
        changed.append("label_per")
    kind = "kind" if "kind" in arguments else "inputs"
    if arguments[kind] not in ("auto", "features" if encoding.vocabulary is None else "tokens"):
        changed.append(kind)
    if encoding.vocabulary is None and arguments["standardise"] != (encoding.mean is not None):
        changed.append("standardise")
    if encoding.vocabulary is None and arguments["missing"] != encoding.missing:
        changed.append("missing")
    if encoding.vocabulary is None and arguments["time_delta"] != encoding.time_delta:
        changed.append("time_delta")
    given = arguments["class_weights"]
    weights = tuple(given) if isinstance(given, list) else encoding.class_weights
    if weights != encoding.class_weights or (given is None) != (weights is None):
        changed.append("class_weights")
    positive = arguments["positive_class"]
    if positive is not None and (encoding.target != "binary" or class_name(positive) != encoding.class_names[1]):
        changed.append("positive_class")
    for name in changed:
        raise ValueError(f"{name} can't change after training, got {arguments[name]!r}")


def reorder_features(raw: RawSequences, names: tuple[str, ...], path: str) -> None:
    """Sort the features of a file into the order of the training data, in place, to save memory.

    Raises:
        DataError: if a feature is missing, or the training data have no such feature.
    """
    assert raw.columns is not None
    found = {name: index for index, name in enumerate(raw.columns.features or ())}
    known = set(names)
    missing = [name for name in names if name not in found]
    extra = [name for name in found if name not in known and not is_index_name(name)]
    if missing or extra:
        differences = [f"{' and '.join(map(repr, missing))} missing"] if missing else []
        differences += [f"{' and '.join(map(repr, extra))} not in the training data"] if extra else []
        raise DataError(f"{path}: feature columns differ from training: {', '.join(differences)}")
    places = [found[name] for name in names]
    if len(places) < raw.values.shape[1]:  # an index is left out
        raw.values = np.ascontiguousarray(raw.values[:, places])
        return
    for chunk in chunks(raw.values):
        raw.values[chunk] = raw.values[chunk][:, places]


def assumed_order(encoding: SequenceEncoding, raw: RawSequences, path: str) -> tuple[str, ...]:
    """A remark on features without names, if those of the training data have names."""
    learned = encoding.columns
    if learned is None or raw.columns is not None or not encoding.has_order:
        return ()
    names = [repr(name) for name in (learned.features or ())[:20]]
    more = ", ..." if len(learned.features or ()) > 20 else ""
    return (f"{path}: features without names are read in the order of training: {', '.join(names)}{more}",)


def columns_to_read(asked: Columns, learned: Columns | None) -> Columns:
    """The columns of a new file: those that are named, else those of the training data.

    Args:
        asked: the named columns.
        learned: the columns of the training data; None if they had no names.
    """
    if learned is None:
        return asked
    return replace(
        asked,
        id=asked.id or learned.id,
        step=learned.step if asked.step is None else asked.step,
        label=asked.label or learned.label,
        left_out=learned.left_out or (),
    )
