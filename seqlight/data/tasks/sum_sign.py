"""Is the sum of the sequence positive?"""

from dataclasses import dataclass

import numpy as np
import torch

from seqlight.data.batch import Batch
from seqlight.data.task import SequenceTask
from seqlight.validation import check_at_least


@dataclass(frozen=True)
class SumSign(SequenceTask):
    """`length` independent standard normal values; label 1 if their sum is greater than 0.

    The classes are balanced by symmetry. Every time step matters equally, so a cell must remember all
    of them; a single linear unit that adds up its inputs solves the task.

    Source: the task of the tutorial listing that this project grew from.

    Args:
        length: time steps T of every sequence.
    """

    length: int = 10

    input_size = 1

    def __post_init__(self) -> None:
        check_at_least("length", self.length, 1)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Inputs (B, T, 1), targets (B,)."""
        values = rng.standard_normal((num_samples, self.length, 1), dtype=np.float32)
        targets = values.sum(axis=(1, 2), dtype=np.float64) > 0
        return Batch(
            inputs=torch.from_numpy(values),
            targets=torch.from_numpy(targets.astype(np.float32)),
            lengths=torch.full((num_samples,), self.length),
        )
