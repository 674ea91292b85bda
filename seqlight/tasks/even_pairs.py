"""Parity of the number of changes between bits."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class EvenPairs(SequenceTask):
    """Parity of the number of changes between bits.

    Random bits; label 1 if the total number of pairs 01 and 10 is even. This is equivalent to an equal first and last
    bit, so it is enough to remember the first. The classes are balanced from length 2 on. Any gated cell solves the
    task; the length makes it hard.

    Source: Deletang et al., "Neural Networks and the Chomsky Hierarchy", 2023.

    Args:
        min_length: shortest length in time steps, at least 2. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
    """

    min_length: int = 2
    max_length: int = 40

    vocab_size = 2
    measured = (({}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.5)),)
    example = TaskExample(data={"num_train": 5000}, cell="GRUCell")

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, fewest=2)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        bits = draw_tokens(rng, lengths, self.max_length, 2)
        return to_batch(bits, bits[:, 0] == bits[np.arange(num_samples), lengths - 1], lengths)
