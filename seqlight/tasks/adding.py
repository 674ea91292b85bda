"""The sum of two marked values, compared with 1."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, to_batch, true_steps
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class Adding(SequenceTask):
    """The sum of two marked values, compared with 1.

    Label 1 if the sum is greater than 1. Values are uniform in [0, 1); the marker is 1 at two places, else 0. One
    place is uniform in the first half of the sequence, the other in the second half. So a cell must remember a real
    number over half the length on average. The classes are balanced by symmetry. LSTM and GRU solve the task; a tanh
    network fails as the length grows.

    Source: Le, Jaitly and Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
    2015, and Arjovsky, Shah and Bengio, "Unitary Evolution Recurrent Neural Networks", 2016; here the sum is
    compared with its mean instead of predicted. The definition of 1997 is `EarlyAdding`.

    Args:
        min_length: shortest length in time steps, at least 2; None for `max_length`. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
    """

    min_length: int | None = None
    max_length: int = 50

    input_size = 2
    measured = (({}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.57)),)
    example = TaskExample(data={"num_train": 5000}, cell="GRUCell")

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, fewest=2)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Inputs (B, T, 2) with features value and marker, targets (B,)."""
        inputs, sums, lengths = draw_marked(num_samples, rng, self._lengths(), self.max_length)
        return to_batch(inputs, sums > 1, lengths)


def draw_marked(
    num_samples: int, rng: np.random.Generator, allowed: range, num_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (B, T, 2) with two marked values, one in each half; their sums in float64 (B,); and lengths (B,)."""
    rows = np.arange(num_samples)
    lengths = draw_lengths(rng, num_samples, allowed)
    first = rng.integers(0, lengths // 2)
    second = rng.integers(lengths // 2, lengths)
    inputs = np.zeros((num_samples, num_steps, 2), dtype=np.float32)
    inputs[..., 0] = rng.random((num_samples, num_steps), dtype=np.float32)
    inputs[..., 0] *= true_steps(lengths, num_steps)
    inputs[rows, first, 1] = 1
    inputs[rows, second, 1] = 1
    return inputs, inputs[rows, first, 0].astype(np.float64) + inputs[rows, second, 0], lengths
