"""Words of a language, and others that are nearly words."""

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
    """Words and, with equal chances, words that an edit has put out of the language.

    A word that its edit leaves in the language is drawn anew, whichever of the two is wanted: thus the words before the
    edit have the same distribution in both classes, and what the edit does not change tells nothing. It is not quite
    that of `draw`: each word weighs as much as the chance that an edit puts it out, and where none can it never comes.

    Args:
        rng: all randomness.
        lengths: of the words, (B,); each must have words that can be edited out of the language.
        num_steps: T, to which the words are padded.
        draw: gives words of these lengths (N,), int64 (N, the longest) with padding 0.
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
    """Exchange the symbols at two places of each word: it keeps its length, and how often each symbol occurs."""
    rows = np.arange(len(words))
    first, second = rng.integers(0, lengths), rng.integers(0, lengths)
    words[rows, first], words[rows, second] = words[rows, second], words[rows, first]
    return words


def flip_one(rng: np.random.Generator, words: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Turn over one bit of each word."""
    words[np.arange(len(words)), rng.integers(0, lengths)] ^= 1
    return words


def step_chances(step: np.ndarray, ends: np.ndarray, longest: int) -> np.ndarray:
    """How a walk chooses among its steps so that all walks of a length that end well have the same chance.

    Args:
        step: the state that each of the S states comes to by each of the K symbols, int (S, K).
        ends: in which states a walk may end, bool (S,).
        longest: the most steps that may be left.

    Returns:
        The chance of each symbol where r steps are left, float64 (longest + 1, S, K); 0 where there is no way.
    """
    ways = ends.astype(np.float64)
    chances = np.zeros((longest + 1, *step.shape))
    for left in range(1, longest + 1):
        choices = ways[step]
        ways = choices.sum(axis=1)
        np.divide(choices, ways[:, None], out=chances[left], where=ways[:, None] > 0)
        ways /= ways.max()  # only ratios count, and the numbers of ways outgrow floats
    return chances
