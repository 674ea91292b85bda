"""Sign of the sum of two values marked early."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, to_batch, true_steps
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class EarlyAdding(SequenceTask):
    """Sign of the sum of two values marked early.

    Values are uniform in [-1, 1). The marker is 1 at two places, -1 at the first and the last step, else 0. With
    T = `min_length`, one place is uniform in the first 10 steps, and the other, a different one, in the first T/2 - 1.
    If the first step is chosen, its marker stays -1 and its value counts as 0. Label 1 if the sum of the values with
    marker 1 is greater than 0; the classes are balanced by symmetry. Both places lie in the first half, so the sum
    must be remembered over more than T/2 steps of noise. LSTM solves the task at T = 1000.
    The places depend on `min_length`, not on the length of a sequence. With test lengths 41:200 they are among the
    first 19 steps, and longer sequences only have more noise at the end. For later places raise `min_length` too, as
    in 200:220.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, experiment 4, with the sign instead of
    a regression; the paper's `max_length` is T + T/10. `Adding` is the later definition.

    Args:
        min_length: shortest length in time steps, at least 12. Lengths are uniform.
        max_length: longest length in time steps; the padded length.
    """

    min_length: int = 50
    max_length: int = 55

    input_size = 2
    measured = (({}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.57)),)
    example = TaskExample(data={"num_train": 20000}, cell="GRUCell")

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, fewest=12)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Inputs (B, T, 2) with features value and marker, targets (B,)."""
        rows, half = np.arange(num_samples), self.min_length // 2 - 1
        lengths = draw_lengths(rng, num_samples, self._lengths())
        first = rng.integers(0, 10, num_samples)
        # One of the first `half` steps, excluding the first choice.
        second = rng.integers(0, half - (first < half))
        second += second >= first
        inputs = np.zeros((num_samples, self.max_length, 2), dtype=np.float32)
        inputs[..., 0] = 2 * rng.random((num_samples, self.max_length), dtype=np.float32) - 1
        inputs[..., 0] *= true_steps(lengths, self.max_length)
        inputs[rows, first, 1] = 1
        inputs[rows, second, 1] = 1
        inputs[:, 0, 1] = -1
        inputs[rows, lengths - 1, 1] = -1
        targets = (inputs[..., 0] * (inputs[..., 1] == 1)).sum(axis=1, dtype=np.float64) > 0
        return to_batch(inputs, targets, lengths)
