"""The first symbol, recalled after noise."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.common.validation import check_at_least
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class DelayedRecall(SequenceTask):
    """The first symbol, recalled after noise.

    Random symbols, all with equal probabilities. The class is the first one; the others are noise. Noise has the same
    symbols, so counts say little about the first symbol, and no other step says anything. Gates that close after the
    first step solve the task at any length; a tanh network forgets.

    Source: the latching task of Bengio, Simard and Frasconi, "Learning Long-Term Dependencies with Gradient Descent is
    Difficult", 1994, and experiment 2 of Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; here with
    several symbols, and noise of the same symbols.

    Args:
        min_length: shortest length in time steps, the symbol and its noise. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
        num_symbols: the number of classes, at least 2.
    """

    min_length: int = 20
    max_length: int = 40
    num_symbols: int = 4

    target = "multiclass"
    measured = (({}, Baselines(majority=0.25, last_symbol=0.25, bag_of_symbols=0.35)),)
    example = TaskExample(task={"min_length": 2}, data={"num_train": 5000}, cell="GRUCell")

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        """The number of symbols."""
        return self.num_symbols

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """One class per symbol."""
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
