"""Is the number of changes between neighbours even?"""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask


@dataclass(frozen=True, kw_only=True)
class EvenPairs(SequenceTask):
    """Is the number of changes between neighbours even?

    Random bits; label 1 if the pairs 01 and 10 are, together, of an even number. That is so where the first bit
    equals the last: it is enough to remember the first. The classes are balanced from length 2 on. Any
    gated cell solves it; what makes it hard is the length.

    Source: Deletang et al., "Neural Networks and the Chomsky Hierarchy", 2023.

    Args:
        min_length: fewest time steps of a sequence, at least 2. Lengths are uniform.
        max_length: most time steps of a sequence; the padded T.
    """

    min_length: int = 2
    max_length: int = 40

    vocab_size = 2
    measured = (({}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.5)),)

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, fewest=2)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        bits = draw_tokens(rng, lengths, self.max_length, 2)
        return to_batch(bits, bits[:, 0] == bits[np.arange(num_samples), lengths - 1], lengths)
