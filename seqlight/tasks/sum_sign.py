"""Sign of the sum of a sequence."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, to_batch, true_steps
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class SumSign(SequenceTask):
    """Sign of the sum of a sequence.

    Independent standard normal values; label 1 if their sum is greater than 0. The classes are balanced by
    symmetry. Every time step matters equally, so a cell must remember all of them. A single linear unit that
    adds up its inputs solves the task, and so does the baseline that has the sum.

    Source: the task of the tutorial listing that this project grew from.

    Args:
        min_length: shortest length in time steps; None for `max_length`. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
    """

    min_length: int | None = None
    max_length: int = 10

    input_size = 1
    solved_by_bag = True
    measured = (({}, Baselines(majority=0.5, last_symbol=0.6, bag_of_symbols=1.0)),)
    example = TaskExample(data={"num_train": 5000})

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Inputs (B, T, 1), targets (B,)."""
        values = rng.standard_normal((num_samples, self.max_length, 1), dtype=np.float32)
        lengths = draw_lengths(rng, num_samples, self._lengths())
        values *= true_steps(lengths, self.max_length)[..., None]
        targets = values.sum(axis=(1, 2), dtype=np.float64) > 0
        return to_batch(values, targets, lengths)
