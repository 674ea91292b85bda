"""The sum of two marked values."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.adding import draw_marked
from seqlight.tasks.sampling import allowed_lengths, to_batch
from seqlight.tasks.task import SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class AddingRegression(SequenceTask):
    """The sum of two marked values, as a number.

    The adding problem as it is mostly published; `Adding` asks only whether the sum is greater than 1. Values are
    uniform in [0, 1); the marker is 1 at two places, else 0: one uniform in the first half of the sequence, the other
    in the second half. The target is the sum of both values. A network that always answers 1 has a mean squared error
    of 1/6 = .167, the variance of the sum; a network has learnt the task if it is far below.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, experiment 4, introduced the problem, with
    values in [-1, 1]; in this form Le, Jaitly and Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified
    Linear Units", 2015, and Arjovsky, Shah and Bengio, "Unitary Evolution Recurrent Neural Networks", 2016.

    Args:
        min_length: shortest length in time steps, at least 2; None for `max_length`. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
    """

    min_length: int | None = None
    max_length: int = 50

    input_size = 2
    target = "regression"
    example = TaskExample(data={"num_train": 5000}, cell="GRUCell")

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, fewest=2)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Inputs (B, T, 2) with features value and marker, targets (B, 1)."""
        inputs, sums, lengths = draw_marked(num_samples, rng, self._lengths(), self.max_length)
        return to_batch(inputs, sums[:, None].astype(np.float32), lengths)
