"""Words of a formal language, and near-words that are outside it."""

from collections.abc import Callable

import numpy as np

Edit = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]


def draw_members(
    rng: np.random.Generator,
    lengths: np.ndarray,
    num_steps: int,
    *,
    draw: Callable[[np.random.Generator, np.ndarray], np.ndarray],
    contains: Callable[[np.ndarray, np.ndarray], np.ndarray],
    edit: Edit,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw words and, with equal probabilities, words that an edit took out of the language.

    If the edited word is still in the language, the word is drawn again in both classes. So the words before the edit
    have the same distribution in both classes, and anything that the edit preserves does not reveal the label. This
    distribution is that of `draw` weighted by the probability that an edit takes the word out of the language. Words
    that no edit takes out never occur.

    Args:
        rng: the source of all randomness.
        lengths: the lengths of the words, (B,); each length must have words that can be edited out of the language.
        num_steps: T, the padded length.
        draw: returns words of these lengths (N,), int64 (N, the longest) with padding 0.
        contains: whether words (N, any) of these lengths (N,) are in the language, bool (N,).
        edit: changes words (N, any) of these lengths (N,) in place, and returns them.

    Returns:
        Tokens, int64 (B, T) with padding 0, and whether they are words, bool (B,).
    """
    is_word = rng.random(len(lengths)) < 0.5
    tokens = np.zeros((len(lengths), num_steps), dtype=np.int64)
    missing = np.arange(len(lengths))
    while missing.size:
        words = draw(rng, lengths[missing])
        edited = edit(rng, words.copy(), lengths[missing])
        done = ~contains(edited, lengths[missing])
        rows = missing[done]
        tokens[rows, : words.shape[1]] = np.where(is_word[rows, None], words[done], edited[done])
        missing = missing[~done]
    return tokens, is_word


def swap_two(rng: np.random.Generator, words: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Exchange the symbols at two places of each word, which keeps its length and the counts of its symbols."""
    rows = np.arange(len(words))
    first, second = rng.integers(0, lengths), rng.integers(0, lengths)
    words[rows, first], words[rows, second] = words[rows, second], words[rows, first]
    return words


def flip_one(rng: np.random.Generator, words: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Flip one bit of each word."""
    words[np.arange(len(words)), rng.integers(0, lengths)] ^= 1
    return words


def step_chances(step: np.ndarray, ends: np.ndarray, longest: int) -> np.ndarray:
    """Probabilities of symbols that make all accepted words of one length equally likely.

    Args:
        step: the next state for each of the S states and K symbols, int (S, K).
        ends: the accepting states, bool (S,).
        longest: the maximum number of symbols left.

    Returns:
        The probability of each symbol for r symbols left and each state, float64 (longest + 1, S, K); 0 if no
        accepting state can be reached.
    """
    ways = ends.astype(np.float64)
    chances = np.zeros((longest + 1, *step.shape))
    for left in range(1, longest + 1):
        choices = ways[step]
        ways = choices.sum(axis=1)
        np.divide(choices, ways[:, None], out=chances[left], where=ways[:, None] > 0)
        ways /= ways.max()  # only ratios matter, and the counts would overflow
    return chances
