"""Parity of the number of ones."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class Parity(SequenceTask):
    """Parity of the number of ones.

    Random bits; label 1 if the number of ones is odd. Tokens 0 and 1 have equal probabilities, so the classes are
    balanced. A change of any single bit changes the label: no proper subset of the bits says anything about it. The
    number of ones does, but not to a linear model. Two states suffice. A network with a nonlinear recurrence can store
    them; one with a linear recurrence and positive coefficients cannot.

    Source: Minsky and Papert, "Perceptrons", 1969; for recurrent networks Hochreiter and Schmidhuber,
    "Long Short-Term Memory", 1997.

    Args:
        min_length: shortest length in time steps. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
    """

    min_length: int = 2
    max_length: int = 10

    vocab_size = 2
    measured = (({}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.5)),)
    example = TaskExample(task={"max_length": 20}, data={"num_train": 5000, "test_lengths": "21:200"}, max_epochs=20)

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        bits = draw_tokens(rng, lengths, self.max_length, 2)
        return to_batch(bits, bits.sum(axis=1) % 2 == 1, lengths)
