"""Membership in one of Tomita's seven languages."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from seqlight.common.batch import Batch
from seqlight.tasks.languages import draw_members, flip_one, step_chances, swap_two
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, to_batch
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample

# For each language: the next states for 0 and 1, from state 0 on; the accepting states; the shortest length
# that has pairs of a word and a near-word, and the distance between such lengths.
_LANGUAGES = {
    1: ([(1, 0), (1, 1)], [0], 1, 1),
    2: ([(2, 1), (0, 2), (2, 2)], [0], 2, 2),
    3: ([(0, 1), (2, 0), (3, 4), (2, 1), (4, 4)], [0, 1, 3], 2, 1),
    4: ([(1, 0), (2, 0), (3, 0), (3, 3)], [0, 1, 2], 4, 1),
    5: ([(1, 2), (0, 3), (3, 0), (2, 1)], [0], 2, 2),
    6: ([(1, 2), (2, 0), (0, 1)], [0], 2, 1),
    7: ([(0, 1), (2, 1), (2, 3), (4, 3), (4, 4)], [0, 1, 2, 3], 4, 1),
}
_BY_COUNT = (1, 5, 6)


@dataclass(frozen=True, kw_only=True)
class Tomita(SequenceTask):
    """Membership in one of Tomita's seven languages.

    Bits; label 1 for words of the language

    1. 1*
    2. (10)*
    3. no odd run of 1s is followed by an odd run of 0s
    4. no 000
    5. even numbers of 0s and of 1s
    6. the numbers of 0s and 1s are equal modulo 3
    7. 0*1*0*1*

    Half of the sequences are words; the others are words with two bits exchanged, so neither length nor counts reveal
    the label. Among words of one length, the probability is proportional to the number of exchanges that take the word
    out of the language, in both halves. Words that no exchange takes out never occur, such as words without a 0 in 4.
    In 1, 5 and 6 the counts define the label, so one bit is flipped instead. A linear model of the counts solves 1,
    and no linear model solves 5 and 6. Lengths without such pairs are left out, such as odd lengths in 2. All
    languages are regular, with 2 to 5 states, and second-order and gated cells learn them from short words.

    Source: Tomita, "Dynamic construction of finite-state automata from examples using hill-climbing", 1982; number 5
    as in Watrous and Kuhn, "Induction of Finite-State Languages Using Second-Order Recurrent Networks", 1992.

    Args:
        min_length: shortest length in time steps. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
        number: the number of the language, 1 to 7.
    """

    min_length: int = 2
    max_length: int = 40
    number: int = 3

    vocab_size = 2
    measured = (
        ({}, Baselines(majority=0.5, last_symbol=0.53, bag_of_symbols=0.5)),
        ({"number": 1}, Baselines(majority=0.5, last_symbol=0.54, bag_of_symbols=1.0)),
        ({"number": 2}, Baselines(majority=0.5, last_symbol=0.59, bag_of_symbols=0.5)),
        ({"number": 4}, Baselines(majority=0.5, last_symbol=0.54, bag_of_symbols=0.5)),
        ({"number": 5}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.5)),
        ({"number": 6}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.5)),
        ({"number": 7}, Baselines(majority=0.5, last_symbol=0.57, bag_of_symbols=0.5)),
    )
    example = TaskExample(data={"num_train": 5000})

    @property
    def solved_by_bag(self) -> bool:  # type: ignore[override]
        """Whether a count of zeros decides."""
        return self.number == 1

    def __post_init__(self) -> None:
        if self.number not in _LANGUAGES:
            raise ValueError(f"number must be from 1 to 7, got {self.number}")
        self._lengths()

    def _lengths(self) -> range:
        _, _, first, step = _LANGUAGES[self.number]
        return allowed_lengths(self.min_length, self.max_length, first=first, step=step)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        tokens, is_word = draw_members(
            rng,
            lengths,
            self.max_length,
            draw=self._draw,
            contains=self._contains,
            edit=flip_one if self.number in _BY_COUNT else swap_two,
        )
        return to_batch(tokens, is_word, lengths)

    def _draw(self, rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
        """Words of these lengths, all with equal probabilities."""
        step, _ = _automaton(self.number)
        chance_of_one = _chances(self.number, self.max_length)
        words = np.zeros((int(lengths.max()), len(lengths)), dtype=np.int64)
        chances = rng.random(words.shape)
        state = np.zeros_like(lengths)
        for place, word in enumerate(words):
            np.less(chances[place], chance_of_one[np.maximum(lengths - place, 0), state], out=word)
            state = step[state, word]
        return np.ascontiguousarray(words.T)

    def _contains(self, words: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        step, ends = _automaton(self.number)
        state = np.zeros_like(lengths)
        for place, symbols in enumerate(words.T.copy()):
            state = np.where(place < lengths, step[state, symbols], state)
        inside: np.ndarray = ends[state]
        return inside


def _automaton(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The next state for each state and bit (S, 2), and the accepting states (S,)."""
    table, ends, _, _ = _LANGUAGES[number]
    return np.array(table), np.isin(np.arange(len(table)), ends)


@lru_cache(maxsize=32)
def _chances(number: int, longest: int) -> np.ndarray:
    """The probability of a 1 for r bits left and each state, (longest + 1, S)."""
    return step_chances(*_automaton(number), longest)[..., 1].copy()
