"""Value of an arithmetic expression modulo a number."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.common.validation import check_at_least
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, to_batch, true_steps
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample


@dataclass(frozen=True, kw_only=True)
class ModularArithmetic(SequenceTask):
    """Value of an arithmetic expression modulo a number.

    Numbers, tokens 0 to `modulus` - 1, alternate with the operators +, - and *, tokens `modulus` and up. All numbers
    have equal probabilities, and so do all operators. The class is the value modulo `modulus`. Lengths are odd.

    There are two definitions: 1 + 2 * 3 is 7 with precedence, and 9 from left to right. With precedence, products are
    computed before sums, as in arithmetic and in the source ("modular arithmetic (simple)", without brackets); a finite
    automaton must store the sum so far and the current product. From left to right it stores one number; that is
    not the source's task, though the source is easily misread so.

    A product with 0 is 0, so class 0 is more frequent than 1 / `modulus`: see the baselines. A nonlinear recurrence
    that can store the state solves the task; short expressions are easily memorised.

    Source: Deletang et al., "Neural Networks and the Chomsky Hierarchy", 2023.

    Args:
        min_length: shortest length in time steps. Lengths are uniform over the odd ones.
        max_length: longest length in time steps; the padded T.
        precedence: whether products come before sums; else operators are applied from left to right.
        modulus: the number of classes, at least 2.
    """

    min_length: int = 3
    max_length: int = 39
    precedence: bool = True
    modulus: int = 5

    target = "multiclass"
    measured = (
        ({}, Baselines(majority=0.21, last_symbol=0.21, bag_of_symbols=0.21)),
        ({"precedence": False}, Baselines(majority=0.27, last_symbol=0.27, bag_of_symbols=0.27)),
    )
    example = TaskExample(task={"min_length": 1, "max_length": 9}, data={"num_train": 10000}, max_epochs=20)

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        """The number of tokens: numbers and operators."""
        return self.modulus + 3

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """One class per number."""
        return self.modulus

    def __post_init__(self) -> None:
        check_at_least("modulus", self.modulus, 2)
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, step=2)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Tokens (B, T) with padding 0, targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        numbers = rng.integers(0, self.modulus, (num_samples, (self.max_length + 1) // 2))
        operators = rng.integers(0, 3, (num_samples, self.max_length // 2))
        tokens = np.empty((num_samples, self.max_length), dtype=np.int64)
        tokens[:, ::2] = numbers
        tokens[:, 1::2] = self.modulus + operators
        tokens *= true_steps(lengths, self.max_length)
        # The value so far is total + term. A step past the end adds 0.
        total, term = np.zeros_like(lengths), numbers[:, 0]
        for place in range(1, numbers.shape[1]):
            operator, number = operators[:, place - 1], tokens[:, 2 * place]
            product = (operator == 2) & (2 * place < lengths)
            if not self.precedence:
                total, term = np.zeros_like(lengths), total + term
            signed = np.where(operator == 1, -number, number)
            total += np.where(product, 0, term)
            term = np.where(product, term * number, signed) % self.modulus
        return to_batch(tokens, (total + term) % self.modulus, lengths)
