"""Is the number of ones odd?"""

from dataclasses import dataclass

import numpy as np
import torch

from seqlight.data.batch import Batch
from seqlight.data.task import SequenceTask
from seqlight.validation import check_at_least


@dataclass(frozen=True)
class Parity(SequenceTask):
    """Random bits; label 1 if the number of ones is odd.

    Lengths are uniform in `min_length..max_length`, tokens are 0 and 1 with equal chance, so the
    classes are balanced. Any single changed bit changes the label: no proper subset of the bits says
    anything about it. Two states suffice, and a network with a nonlinear recurrence can hold them;
    one whose recurrence is linear with positive coefficients cannot.

    Source: Minsky and Papert, "Perceptrons", 1969; for recurrent networks Hochreiter and Schmidhuber,
    "Long Short-Term Memory", 1997.

    Args:
        min_length: fewest time steps of a sequence.
        max_length: most time steps of a sequence; the padded T.
    """

    min_length: int = 2
    max_length: int = 10

    vocab_size = 2

    def __post_init__(self) -> None:
        check_at_least("min_length", self.min_length, 1)
        check_at_least("max_length", self.max_length, self.min_length, "min_length")

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = rng.integers(self.min_length, self.max_length, num_samples, endpoint=True)
        bits = rng.integers(0, 2, (num_samples, self.max_length))
        bits *= np.arange(self.max_length) < lengths[:, None]
        return Batch(
            inputs=torch.from_numpy(bits),
            targets=torch.from_numpy((bits.sum(axis=1) % 2).astype(np.float32)),
            lengths=torch.from_numpy(lengths),
        )
