"""Which symbol came first, before the noise?"""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.common.validation import check_at_least
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask


@dataclass(frozen=True, kw_only=True)
class DelayedRecall(SequenceTask):
    """Which symbol came first, before the noise?

    Random symbols, all with equal chances; the class is the first one, and the others are noise over which it must
    be remembered. They are of the same kinds, so their counts say little of the first, and no step but the
    first says anything. Gates that shut after the first step solve it at any length; a tanh network forgets.

    Source: the latching of Bengio, Simard and Frasconi, "Learning Long-Term Dependencies with Gradient Descent is
    Difficult", 1994, and experiment 2 of Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; here with
    several symbols, and with noise of the same ones.

    Args:
        min_length: fewest time steps of a sequence, the symbol and its noise. Lengths are uniform.
        max_length: most time steps of a sequence; the padded T.
        num_symbols: the number of classes, at least 2.
    """

    min_length: int = 20
    max_length: int = 40
    num_symbols: int = 4

    target = "multiclass"
    measured = (({}, Baselines(majority=0.25, last_symbol=0.25, bag_of_symbols=0.35)),)

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        """The symbols."""
        return self.num_symbols

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """A class for each symbol."""
        return self.num_symbols

    def __post_init__(self) -> None:
        check_at_least("num_symbols", self.num_symbols, 2)
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, fewest=2)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        tokens = draw_tokens(rng, lengths, self.max_length, self.num_symbols)
        return to_batch(tokens, tokens[:, 0].copy(), lengths)
