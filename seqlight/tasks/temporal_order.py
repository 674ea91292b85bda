"""Order of two symbols X or Y among noise."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, draw_tokens, to_batch
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample

_X, _START, _END = 4, 6, 7  # Y is 5


@dataclass(frozen=True, kw_only=True)
class TemporalOrder(SequenceTask):
    """Order of two symbols X or Y among noise.

    Tokens: 0 to 3 are noise, 4 is X, 5 is Y, 6 starts and 7 ends every sequence. With T = `min_length`, one X or Y
    is at a step uniform from T/10 to 2T/10, another from 5T/10 to 6T/10; all else is noise. The four classes are
    the two symbols in their order, with equal probabilities. Counts reveal XX and YY, but do not separate XY from YX.
    LSTM solves the task at T = 100; a tanh network fails, since the noise is ten times as long.
    The places depend on `min_length`, not on the length of a sequence. With test lengths 41:200 they are at steps 4 to
    24, and longer sequences only have more noise at the end. For places further apart raise `min_length` too, as
    in 200:220.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, experiment 6a, which calls the classes Q, R, S
    and U.

    Args:
        min_length: shortest length in time steps, at least 10. Lengths are uniform.
        max_length: longest length in time steps; the padded length.
    """

    min_length: int = 100
    max_length: int = 110

    vocab_size = 8
    target = "multiclass"
    num_outputs = 4
    class_names = ("XX", "XY", "YX", "YY")
    measured = (({}, Baselines(majority=0.25, last_symbol=0.25, bag_of_symbols=0.75)),)
    example = TaskExample(task={"min_length": 10}, data={"num_train": 5000}, cell="GRUCell")

    def __post_init__(self) -> None:
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, fewest=10)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        rows, unit = np.arange(num_samples), self.min_length
        lengths = draw_lengths(rng, num_samples, self._lengths())
        tokens = draw_tokens(rng, lengths, self.max_length, _X)
        classes = rng.integers(0, 4, num_samples)
        tokens[rows, rng.integers(unit // 10, 2 * unit // 10, num_samples, endpoint=True)] = _X + classes // 2
        tokens[rows, rng.integers(5 * unit // 10, 6 * unit // 10, num_samples, endpoint=True)] = _X + classes % 2
        tokens[:, 0] = _START
        tokens[rows, lengths - 1] = _END
        return to_batch(tokens, classes, lengths)
