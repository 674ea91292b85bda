"""The more frequent bit of a sequence."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class Majority(SequenceTask):
    """The more frequent bit of a sequence.

    Random bits; label 1 if more than half of them are ones. If there are as many ones as zeros, one random bit is
    flipped, so there are no ties and the classes are balanced by symmetry. The count alone solves the task, and so
    does the baseline that has it; a cell must learn to count. An LSTM and a relu network can count without bound, a
    GRU and a tanh network only within the precision of a bounded state.

    Source: Minsky and Papert, "Perceptrons", 1969; on counting Weiss, Goldberg and Yahav, "On the Practical
    Computational Power of Finite Precision RNNs for Language Recognition", 2018.

    Args:
        min_length: shortest length in time steps. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
    """

    min_length: int = 2
    max_length: int = 40

    vocab_size = 2
    solved_by_bag = True
    measured = (({}, Baselines(majority=0.5, last_symbol=0.62, bag_of_symbols=1.0)),)
    example = TaskExample()

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        bits = draw_tokens(rng, lengths, self.max_length, 2)
        ties = np.flatnonzero(2 * bits.sum(axis=1) == lengths)
        bits[ties, rng.integers(0, lengths[ties])] ^= 1
        return to_batch(bits, 2 * bits.sum(axis=1) > lengths, lengths)
