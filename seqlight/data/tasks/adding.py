"""Do the two marked values sum to more than 1?"""

from dataclasses import dataclass

import numpy as np
import torch

from seqlight.data.batch import Batch
from seqlight.data.task import SequenceTask
from seqlight.validation import check_at_least


@dataclass(frozen=True)
class Adding(SequenceTask):
    """Do the two values that a marker points at sum to more than 1? Label 1 if so.

    Values are uniform in [0, 1); the marker is 1 at two places, else 0. One place is uniform in the first
    half of the sequence, the other in the second half, so a cell must carry a real number over half the
    length on average. The classes are balanced by symmetry. LSTM and GRU solve it; a tanh network fails
    as the length grows.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, with the markers of Le, Jaitly and
    Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015; here the sum
    is compared with its mean in place of a regression.

    Args:
        length: time steps T of every sequence, at least 2.
    """

    length: int = 50

    input_size = 2

    def __post_init__(self) -> None:
        check_at_least("length", self.length, 2)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Inputs (B, T, 2) with features value and marker, targets (B,)."""
        rows, half = np.arange(num_samples), self.length // 2
        first = rng.integers(0, half, num_samples)
        second = rng.integers(half, self.length, num_samples)
        inputs = np.zeros((num_samples, self.length, 2), dtype=np.float32)
        inputs[..., 0] = rng.random((num_samples, self.length), dtype=np.float32)
        inputs[rows, first, 1] = 1
        inputs[rows, second, 1] = 1
        targets = inputs[rows, first, 0].astype(np.float64) + inputs[rows, second, 0] > 1
        return Batch(
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(targets.astype(np.float32)),
            lengths=torch.full((num_samples,), self.length),
        )
