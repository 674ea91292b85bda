"""Final position on a circle of five places."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class CycleNavigation(SequenceTask):
    """Final position on a circle of five places.

    Tokens 0, 1 and 2, with equal probabilities: stay, one step forward, one step back. The class is the final place,
    0 to 4, after a start at place 0. From 10 steps on the classes are balanced to 0.002; after one step only three
    places are possible. As for parity, five states and a nonlinear recurrence suffice, and a change of any single
    step changes the class.

    Source: Deletang et al., "Neural Networks and the Chomsky Hierarchy", 2023.

    Args:
        min_length: shortest length in time steps. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
    """

    min_length: int = 10
    max_length: int = 40

    vocab_size = 3
    target = "multiclass"
    num_outputs = 5
    measured = (({}, Baselines(majority=0.2, last_symbol=0.2, bag_of_symbols=0.2)),)
    example = TaskExample(task={"min_length": 1}, data={"num_train": 5000}, max_epochs=15)

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
