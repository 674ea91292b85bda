"""Balanced brackets of bounded depth."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from seqlight.common.batch import Batch
from seqlight.common.validation import check_at_least
from seqlight.tasks.languages import draw_members, step_chances, swap_two
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, to_batch, true_steps
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class Dyck(SequenceTask):
    """Balanced brackets of bounded depth.

    With k = `num_kinds`, tokens 0 to k-1 open a bracket of each kind, and tokens k to 2k-1 close it. Label 1 for words
    of Dyck-(k, m): each bracket is closed by one of its kind, in order, and at most m = `max_depth` are open at a time.
    Half of the sequences are words; the others are words with two symbols exchanged, so neither length nor counts
    reveal the label. Among words of one length, the probability is proportional to the number of exchanges that take
    the word out of the language, in both halves. Lengths are even. A stack of depth m is enough: a recurrent network
    can store it in O(m log k) units, and for k = 1 it is a counter.

    Source: Chomsky and Schuetzenberger, "The Algebraic Theory of Context-Free Languages", 1963; with bounded depth
    Hewitt et al., "RNNs can generate bounded hierarchical languages with optimal memory", 2020.

    Args:
        min_length: shortest length in time steps. Lengths are uniform over the even ones.
        max_length: longest length in time steps; the padded T.
        num_kinds: kinds of brackets.
        max_depth: the maximum number of open brackets.
    """

    min_length: int = 2
    max_length: int = 40
    num_kinds: int = 2
    max_depth: int = 4

    measured = (({}, Baselines(majority=0.5, last_symbol=0.58, bag_of_symbols=0.5)),)
    example = TaskExample(data={"num_train": 5000}, max_epochs=20)

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        """An opening and a closing bracket of each kind."""
        return 2 * self.num_kinds

    def __post_init__(self) -> None:
        check_at_least("num_kinds", self.num_kinds, 1)
        check_at_least("max_depth", self.max_depth, 1)
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, first=2, step=2)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        tokens, is_word = draw_members(
            rng, lengths, self.max_length, draw=self._draw, contains=self._contains, edit=swap_two
        )
        return to_batch(tokens, is_word, lengths)

    def _draw(self, rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
        """Words of these lengths."""
        chance_of_opening = _chances(min(self.max_depth, self.max_length // 2), self.max_length)
        opens = np.zeros((int(lengths.max()), len(lengths)), dtype=bool)
        chances = rng.random(opens.shape)
        depth = np.zeros_like(lengths)
        for place, opening in enumerate(opens):
            left = np.maximum(lengths - place, 0)
            np.less(chances[place], chance_of_opening[left, depth], out=opening)
            depth += np.where(left > 0, 2 * opening.astype(np.int64) - 1, 0)
        opens = np.ascontiguousarray(opens.T)
        pairs = _pairs(_levels(opens, lengths))
        kinds = rng.integers(0, self.num_kinds, (len(lengths), pairs.shape[1] // 2))
        words = np.empty(opens.shape, dtype=np.int64)
        np.put_along_axis(words, pairs, np.repeat(kinds, 2, axis=1), axis=1)
        words += self.num_kinds * ~opens
        words[~true_steps(lengths, words.shape[1])] = 0
        return words

    def _contains(self, words: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        opens = (words < self.num_kinds) & true_steps(lengths, words.shape[1])
        levels = _levels(opens, lengths)
        fits = (levels >= 1) & (levels <= self.max_depth)
        shape = (fits | ~true_steps(lengths, words.shape[1])).all(axis=1) & (2 * opens.sum(axis=1) == lengths)
        # `_pairs` gives pairs of partners only if the shape is right, so the kinds matter only then.
        kinds = np.take_along_axis(words % self.num_kinds, _pairs(levels), axis=1)
        inside: np.ndarray = shape & (kinds[:, ::2] == kinds[:, 1::2]).all(axis=1)
        return inside


def _levels(opens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The number of open brackets at each bracket, including itself, (B, T); padding has the highest level."""
    small = np.int16 if opens.shape[1] < np.iinfo(np.int16).max else np.int32  # numpy sorts 16 bits fastest
    levels: np.ndarray = np.cumsum(np.where(opens, small(1), small(-1)), axis=1, dtype=small) + ~opens
    levels[~true_steps(lengths, opens.shape[1])] = np.iinfo(small).max
    return levels


def _pairs(levels: np.ndarray) -> np.ndarray:
    """Places of brackets in an order where each is followed by its partner, padding last, (B, T).

    On one level, opening and closing brackets alternate, so a stable sort by level puts partners side by side.
    """
    return np.argsort(levels, axis=1, kind="stable")


@lru_cache(maxsize=32)
def _chances(max_depth: int, longest: int) -> np.ndarray:
    """Probability of an opening bracket, for r symbols left and d open brackets, (longest + 1, max_depth + 2)."""
    depths = np.arange(max_depth + 2)
    # The last state is an absorbing state for everything out of bounds.
    outside = max_depth + 1
    step = np.stack([np.minimum(depths + 1, outside), np.where(depths > 0, depths - 1, outside)], axis=1)
    step[outside] = outside
    return step_chances(step, depths == 0, longest)[..., 0].copy()
