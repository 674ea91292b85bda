"""Functions that tasks use to draw samples."""

import numpy as np
import torch

from seqlight.common.batch import Batch
from seqlight.common.validation import check_at_least


def allowed_lengths(
    min_length: int | None, max_length: int, *, fewest: int = 1, first: int = 1, step: int = 1
) -> range:
    """The lengths of a task's sequences, from `min_length` to `max_length`.

    Args:
        min_length: the user's minimum number of time steps; `max_length` if None.
        max_length: the user's maximum number of time steps.
        fewest: the minimum for which the task is defined.
        first: the shortest length that has sequences.
        step: the distance between lengths that have sequences.

    Raises:
        ValueError: if a length is below `fewest`, or no length in the range has sequences.
    """
    if min_length is None:
        check_at_least("max_length", max_length, fewest)
        min_length = max_length
    check_at_least("min_length", min_length, fewest)
    check_at_least("max_length", max_length, min_length, "min_length")
    skipped = max(0, -(-(min_length - first) // step))
    lengths = range(first + skipped * step, max_length + 1, step)
    if not lengths:
        raise ValueError(
            f"min_length to max_length must include one of {first}, {first + step}, {first + 2 * step}, ..., "
            f"the lengths that have sequences; got {min_length} to {max_length}"
        )
    return lengths


def draw_lengths(rng: np.random.Generator, num_samples: int, allowed: range) -> np.ndarray:
    """Uniform over the allowed lengths, int64 (B,); if there is only one, `rng` does not change."""
    return allowed.start + allowed.step * rng.integers(0, len(allowed), num_samples)


def true_steps(lengths: np.ndarray, num_steps: int) -> np.ndarray:
    """A mask of the `num_steps` time steps, bool (B, T): False for padding."""
    return np.arange(num_steps) < lengths[:, None]


def draw_tokens(rng: np.random.Generator, lengths: np.ndarray, num_steps: int, vocab_size: int) -> np.ndarray:
    """Independent tokens with equal probabilities, int64 (B, T) with padding 0."""
    tokens = rng.integers(0, vocab_size, (len(lengths), num_steps))
    tokens *= true_steps(lengths, num_steps)
    return tokens


def to_batch(inputs: np.ndarray, targets: np.ndarray, lengths: np.ndarray) -> Batch:
    """A batch that shares the arrays' memory; bool targets become the float targets of a binary task."""
    if targets.dtype == bool:
        targets = targets.astype(np.float32)
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(lengths))
