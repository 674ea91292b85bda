"""Parity of the number of ones so far, at each time step."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch, true_steps
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class RunningParity(SequenceTask):
    """Parity of the number of ones so far, at each time step.

    Random bits; the label of a step is 1 if the number of ones up to and including it is odd. It is `Parity` with an
    answer after each step instead of one at the end. These answers show a network what to store from step to step, so
    that it learns from far fewer sequences.

    Source: the last label of a sequence is that of `Parity`, with its sources. That intermediate targets make parity
    easy to learn: Wies, Levine and Shashua, "Sub-Task Decomposition Enables Learning in Sequence to Sequence Tasks",
    2023.

    Args:
        min_length: shortest length in time steps. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
    """

    min_length: int = 2
    max_length: int = 40

    vocab_size = 2
    label_per = "step"
    measured = (({}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.5)),)
    example = TaskExample(data={"test_lengths": "41:200"}, max_epochs=20)

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) and targets (B, T), both with padding 0."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        bits = draw_tokens(rng, lengths, self.max_length, 2)
        odd = (bits.cumsum(axis=1) % 2 == 1) & true_steps(lengths, self.max_length)
        return to_batch(bits, odd, lengths)
