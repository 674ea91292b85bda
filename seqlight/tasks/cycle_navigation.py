"""Where on a circle do steps forth and back end?"""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask


@dataclass(frozen=True, kw_only=True)
class CycleNavigation(SequenceTask):
    """Where on a circle do steps forth and back end?

    Tokens 0, 1 and 2, with equal chances: stay, go forth, go back. The class is the place 0 to 4, on a circle of
    five, that is reached from place 0. From 10 steps on the classes are balanced to 0.002; after one step
    only three places can be. Five states and a nonlinear recurrence suffice, as for parity, and any
    single changed step changes the class.

    Source: Deletang et al., "Neural Networks and the Chomsky Hierarchy", 2023.

    Args:
        min_length: fewest time steps of a sequence. Lengths are uniform.
        max_length: most time steps of a sequence; the padded T.
    """

    min_length: int = 10
    max_length: int = 40

    vocab_size = 3
    target = "multiclass"
    num_outputs = 5
    measured = (({}, Baselines(majority=0.2, last_symbol=0.2, bag_of_symbols=0.2)),)

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        tokens = draw_tokens(rng, lengths, self.max_length, 3)
        places = (tokens == 1).sum(axis=1) - (tokens == 2).sum(axis=1)
        return to_batch(tokens, places % 5, lengths)
