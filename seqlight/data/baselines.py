"""Accuracies of models without a network, measured on the data that a network is trained on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from seqlight.common.batch import Batch
from seqlight.common.label_per import LabelPer
from seqlight.data.logistic_regression import logistic_regression
from seqlight.data.sequences import Sequences, sequences_of
from seqlight.data.step_tables import num_affordable, step_tables
from seqlight.data.streams import Purpose, generator
from seqlight.tasks.task import Baselines, Target

MOST_SEQUENCES = 20_000
_MOST_STEPS = 2**24  # values that are read
_MOST_COLUMNS = 1000  # more tokens share one column
_MOST_NUMBERS = 2**22  # in a table of sequences and columns
_MOST_PRODUCTS = 2**24  # in one step of a linear model
_CHUNK = 2**20  # values that are padded at a time


class MeasuredBaselines(NamedTuple):
    """Baselines, and the numbers of sequences behind them.

    Attributes:
        baselines: the accuracies.
        num_train: the sequences of the training data.
        num_fitted: those of them to which the models were fitted.
        num_split: the sequences of the split that is shown.
        num_evaluated: those of them that the models predicted.
        label_per: "step" if all these are time steps. The last step is then the step itself, and the bag of steps that
            of the steps so far.
    """

    baselines: Baselines
    num_train: int
    num_fitted: int
    num_split: int
    num_evaluated: int
    label_per: LabelPer = "sequence"


class Tables(NamedTuple):
    """One row per sequence: its last time step, the bag of its steps, and its target."""

    last: np.ndarray
    bag: np.ndarray
    targets: np.ndarray


def measure_baselines(
    train: Batch | Sequences,
    evaluated: Batch | Sequences,
    *,
    target: Target,
    num_outputs: int,
    vocab_size: int | None,
    label_per: LabelPer = "sequence",
) -> MeasuredBaselines:
    """The accuracies of simple models on one split after fitting to another.

    Large splits are represented by at most 20 000 sequences, chosen at random, or fewer if they are long or have many
    features or classes; all tokens but the 1000 most frequent ones count as one.

    Args:
        train: the sequences to fit to.
        evaluated: the sequences to predict.
        target: "binary", "multiclass" or "multilabel".
        num_outputs: 1 for binary, else the number of classes or labels.
        vocab_size: the number of tokens; None for features.
        label_per: whether a sequence has a label, or each of its steps.
    """
    fitted, predicted = tables_of(train, evaluated, num_outputs, vocab_size, label_per)
    totals = [num_targets(data, label_per) for data in (train, evaluated)]
    truth = _one_hot(fitted.targets, target, num_outputs)
    majority = np.broadcast_to(truth.mean(axis=0), (len(predicted.targets), truth.shape[1]))
    last = logistic_regression(fitted.last, truth, predicted.last, target)
    bag = logistic_regression(fitted.bag, truth, predicted.bag, target)
    accuracies = [_accuracy(scores, predicted.targets, target) for scores in (majority, last, bag)]
    baselines = Baselines(majority=accuracies[0], last_symbol=accuracies[1], bag_of_symbols=accuracies[2])
    return MeasuredBaselines(baselines, totals[0], len(truth), totals[1], len(predicted.targets), label_per)


def tables_of(
    train: Batch | Sequences,
    evaluated: Batch | Sequences,
    num_outputs: int,
    vocab_size: int | None,
    label_per: LabelPer,
) -> tuple[Tables, Tables]:
    """Tables of two splits, or of parts that are small enough; the arguments are those of `measure_baselines`."""
    if label_per == "step":
        return _tables_of_steps(train, evaluated, num_outputs, vocab_size)
    some, others = (_affordable(data, num_outputs, vocab_size) for data in (train, evaluated))
    columns = None if vocab_size is None else _token_columns(some, vocab_size)
    return _tables(some, columns), _tables(others, columns)


def num_targets(data: Batch | Sequences, label_per: LabelPer) -> int:
    """The number of sequences, or of their steps."""
    return int(data.lengths.sum()) if label_per == "step" else len(data.lengths)


def some_of(data: Batch | Sequences, at_most: int) -> Batch | Sequences:
    """A random choice of samples, the same in each call, or all if there are no more than that."""
    total = len(data.lengths)
    if total <= at_most:
        return data
    chosen = generator(Purpose.BASELINES, seed=0).choice(total, at_most, replace=False)
    return rows_of(data, torch.from_numpy(np.sort(chosen)))


def rows_of(data: Batch | Sequences, rows: Int64[Tensor, " rows"]) -> Batch | Sequences:
    """The samples of these rows, (B,), on the host."""
    if isinstance(data, Sequences):
        return data.subset(rows)
    return data.take(rows, rows.to(data.targets.device))


def _affordable(data: Batch | Sequences, num_outputs: int, vocab_size: int | None) -> Batch | Sequences:
    """A choice of samples that can be read and fitted to in about a second."""
    values = data.values if isinstance(data, Sequences) else data.inputs
    width = 1 if vocab_size is not None else values.shape[-1]
    columns = 2 * width + 1 if vocab_size is None else min(vocab_size, _MOST_COLUMNS) + 1
    steps = max(1, int(data.lengths.sum()) // len(data.lengths)) * width
    limits = (MOST_SEQUENCES, _MOST_STEPS // steps, _MOST_NUMBERS // columns, _MOST_PRODUCTS // (columns * num_outputs))
    return some_of(data, max(100, min(limits)))


def _token_columns(data: Batch | Sequences, vocab_size: int) -> np.ndarray:
    """The column of each token, (V,): the most frequent ones have their own, and the others share one."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for _, _, tokens, mask in _chunks(data):
        counts += np.bincount(tokens[mask], minlength=vocab_size)
    columns = np.full(vocab_size, min(vocab_size, _MOST_COLUMNS))
    frequent = np.argsort(-counts, kind="stable")[:_MOST_COLUMNS]
    columns[frequent] = np.arange(len(frequent))
    return columns


def _tables(data: Batch | Sequences, token_columns: np.ndarray | None) -> Tables:
    lengths = data.lengths.numpy().astype(np.float64)[:, None]
    tables: tuple[np.ndarray, np.ndarray] | None = None
    for rows, ends, values, mask in _chunks(data):
        if token_columns is None:
            values = np.nan_to_num(np.where(mask[..., None], values, 0).astype(np.float64), posinf=0, neginf=0)
            last, bag = values[np.arange(len(rows)), ends], values.sum(axis=1)
        else:
            size = int(token_columns.max()) + 1
            places = token_columns[values]
            last = np.eye(size)[places[np.arange(len(rows)), ends]]
            places += size * np.arange(len(rows))[:, None]
            bag = np.bincount(places[mask], minlength=size * len(rows)).reshape(len(rows), size).astype(np.float64)
        if tables is None:
            tables = np.empty((len(lengths), last.shape[1])), np.empty((len(lengths), bag.shape[1]))
        tables[0][rows], tables[1][rows] = last, bag
    assert tables is not None
    last, bag = tables
    bag = np.hstack([lengths, bag] if token_columns is not None else [lengths, bag, bag / lengths])
    return Tables(last, bag, data.targets.cpu().numpy())


def _tables_of_steps(
    train: Batch | Sequences, evaluated: Batch | Sequences, num_outputs: int, vocab_size: int | None
) -> tuple[Tables, Tables]:
    """Tables with one row per time step."""
    splits = [data if isinstance(data, Sequences) else sequences_of(data, "step") for data in (train, evaluated)]
    width = splits[0].values.shape[-1] if vocab_size is None else min(vocab_size, _MOST_COLUMNS + 1)
    num_columns = 2 * width + 1 if vocab_size is None else width + 1
    rows = max(100, min(MOST_SEQUENCES, _MOST_NUMBERS // num_columns, _MOST_PRODUCTS // (num_columns * num_outputs)))
    some, others = (some_of(data, num_affordable(data, width)) for data in splits)
    token_columns = None if vocab_size is None else _token_columns(some, vocab_size)
    assert isinstance(some, Sequences)
    assert isinstance(others, Sequences)
    return Tables(*step_tables(some, token_columns, rows)), Tables(*step_tables(others, token_columns, rows))


def _chunks(data: Batch | Sequences) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of similar length, their last steps (B,), their padded inputs (B, T, ...), and a mask of true steps (B, T).

    A single chunk would be padded to the longest sequence.
    """
    width = 1
    if (values := data.values if isinstance(data, Sequences) else data.inputs).is_floating_point():
        width = values.shape[-1]
    order = torch.argsort(data.lengths, stable=True)
    lengths = data.lengths[order].numpy()
    first = 0
    while first < len(order):
        size = np.arange(1, len(order) - first + 1) * lengths[first:] * width
        last = first + max(1, int(np.searchsorted(size, _CHUNK, side="right")))
        rows = order[first:last]
        batch = data.take(rows, rows.to(data.targets.device))
        mask = np.arange(batch.inputs.shape[1]) < batch.lengths.numpy()[:, None]
        yield rows.numpy(), batch.lengths.numpy() - 1, batch.inputs.cpu().numpy(), mask
        first = last


def _one_hot(targets: np.ndarray, target: Target, num_outputs: int) -> np.ndarray:
    """The targets as numbers from 0 to 1, (N, outputs)."""
    return np.eye(num_outputs)[targets] if target == "multiclass" else targets.reshape(len(targets), -1).astype(float)


def _accuracy(scores: np.ndarray, targets: np.ndarray, target: Target) -> float:
    """The fraction of right predictions of probabilities (N, outputs); of labels, for multilabel."""
    if target == "multiclass":
        return float((scores.argmax(axis=1) == targets).mean())
    return float(((scores > 0.5) == (targets.reshape(scores.shape) > 0.5)).mean())
