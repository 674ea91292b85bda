"""What tasks share when they draw samples."""

import numpy as np
import torch

from seqlight.common.batch import Batch
from seqlight.common.validation import check_at_least


def allowed_lengths(
    min_length: int | None, max_length: int, *, fewest: int = 1, first: int = 1, step: int = 1
) -> range:
    """The lengths from `min_length` (None: `max_length`) to `max_length` that a task has sequences of.

    Args:
        min_length: fewest time steps asked for.
        max_length: most time steps asked for.
        fewest: below it, the definition of the task makes no sense.
        first: the shortest length that there are sequences of; the others follow each `step`.
        step: from one such length to the next.

    Raises:
        ValueError: for lengths below `fewest`, or if there is none in the range.
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
            f"which there are sequences of; got {min_length} to {max_length}"
        )
    return lengths


def draw_lengths(rng: np.random.Generator, num_samples: int, allowed: range) -> np.ndarray:
    """Uniform over the allowed lengths, int64 (B,); where there is but one, `rng` stays as it is."""
    return allowed.start + allowed.step * rng.integers(0, len(allowed), num_samples)


def true_steps(lengths: np.ndarray, num_steps: int) -> np.ndarray:
    """Which of the `num_steps` time steps are no padding, bool (B, T)."""
    return np.arange(num_steps) < lengths[:, None]


def draw_tokens(rng: np.random.Generator, lengths: np.ndarray, num_steps: int, vocab_size: int) -> np.ndarray:
    """Independent tokens with equal chances, int64 (B, T) with padding 0."""
    tokens = rng.integers(0, vocab_size, (len(lengths), num_steps))
    tokens *= true_steps(lengths, num_steps)
    return tokens


def to_batch(inputs: np.ndarray, targets: np.ndarray, lengths: np.ndarray) -> Batch:
    """A batch that shares the arrays' memory; targets that are bool become the floats of a binary task."""
    if targets.dtype == bool:
        targets = targets.astype(np.float32)
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(lengths))
