"""The validation sequences of a training file."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from seqlight.data.reading.raw import DataError, RawSequences
from seqlight.data.stratify import stratified_split
from seqlight.data.streams import Purpose, generator

Rows = tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " val"]]


@dataclass(frozen=True)
class ValidationSplit:
    """The rule by which validation sequences are taken from the training file.

    Attributes:
        seed: the choice depends on it.
        fraction: the fraction of the sequences that validate, of each class the same.
        fewest: at least this many sequences of each class validate, if it has more; 0 in the first version.
    """

    seed: int
    fraction: float
    fewest: int = 1

    def divide(self, raw: RawSequences, path: str) -> Rows:
        """The sequences for training and those for validation, each in ascending order.

        Raises:
            DataError: if there are too few sequences.
        """
        assert raw.labels is not None
        # Sets of labels are too many for this: with one sequence of each, validation would get half the file.
        fewest = 0 if any(isinstance(label, tuple) for label in raw.labels) else self.fewest
        train, val = stratified_split(raw.labels, self.fraction, generator(Purpose.VAL_SPLIT, self.seed), fewest)
        if len(val) == 0:
            larger = fewest == 0 and self.fraction < 0.5 and len(set(raw.labels)) < len(raw.labels)
            raise DataError(
                f"{path}: {len(raw.lengths)} sequences are too few to take a validation split from: "
                'give `val="FILE"`' + (", or a larger fraction such as `val_fraction=0.5`" if larger else "")
            )
        return train, val

    def check_unchanged(self, learned: "tuple[int, float] | ValidationSplit | None") -> None:
        """Raise ValueError if this rule chooses other sequences than the rule of a trained model's encoding."""
        rule = rule_of(learned)
        if rule is not None and (rule.seed, rule.fraction) != (self.seed, self.fraction):
            raise ValueError(
                "seed and val_fraction can't change after training, because they choose the validation sequences: "
                f"expected {rule.seed} and {rule.fraction}"
            )


def rule_of(learned: tuple[int, float] | ValidationSplit | None) -> ValidationSplit | None:
    """The rule in a trained model's encoding. An earlier version stored its seed and fraction."""
    return ValidationSplit(*learned, fewest=0) if isinstance(learned, tuple) else learned
