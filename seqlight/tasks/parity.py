"""Is the number of ones odd?"""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask


@dataclass(frozen=True, kw_only=True)
class Parity(SequenceTask):
    """Is the number of ones odd?

    Random bits; label 1 if the number of ones is odd. Tokens are 0 and 1 with equal chance, so the
    classes are balanced. Any single changed bit changes the label: no proper subset of the bits says
    anything about it, and their number of ones does, though to no linear model. Two states suffice, and a
    network with a nonlinear recurrence can hold them; one whose recurrence is linear with positive coefficients
    cannot.

    Source: Minsky and Papert, "Perceptrons", 1969; for recurrent networks Hochreiter and Schmidhuber,
    "Long Short-Term Memory", 1997.

    Args:
        min_length: fewest time steps of a sequence. Lengths are uniform.
        max_length: most time steps of a sequence; the padded T.
    """

    min_length: int = 2
    max_length: int = 10

    vocab_size = 2
    measured = (({}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.5)),)

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        bits = draw_tokens(rng, lengths, self.max_length, 2)
        return to_batch(bits, bits.sum(axis=1) % 2 == 1, lengths)
