"""The validation sequences of a training file."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from seqlight.common.unused import warn_unused
from seqlight.data.reading.place import shown
from seqlight.data.reading.raw import DataError, RawSequences
from seqlight.data.stratify import grouped_parts, stratified_fold, stratified_split
from seqlight.data.streams import Purpose, generator
from seqlight.data.time_split import check_time, last_times, not_before

Rows = tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " val"]]


@dataclass(frozen=True)
class ValidationSplit:
    """The rule by which validation sequences are taken from the training file.

    Attributes:
        seed: the choice depends on it.
        fraction: the fraction of the sequences that validate, of each class the same; 0 for none.
        fewest: at least this many sequences of each class validate, if it has more; 0 in the first version.
        fold: the number of the fold that validates, from 1, and the number of folds, as "2/5"; None takes a fraction.
        group_column: the column with the group of a sequence; None if sequences may be divided in any way.
        time_split: sequences that end at this time or later validate; None if time does not matter.

    Raises:
        ValueError: if `fold` or `time_split` has another form.
    """

    seed: int
    fraction: float
    fewest: int = 1
    fold: str | None = None
    group_column: str | None = None
    time_split: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {self.fraction}")
        if self.fold is not None:
            self._fold()
        if self.time_split is not None:
            check_time(self.time_split)
        if self.fold is not None and self.time_split is not None:
            raise ValueError(f"fold and time_split exclude each other, got {self.fold!r} and {self.time_split!r}")

    @property
    def is_empty(self) -> bool:
        """Whether no sequences are taken from the training data."""
        return self.fraction == 0 and self.fold is None and self.time_split is None

    def check_unused(self, *, has_val: bool) -> None:
        """Refuse or report attributes that contradict each other.

        Args:
            has_val: whether validation sequences are given, so that none are taken from the training data.

        Raises:
            ValueError: if they are given, and there is a fold or a time.

        Warns:
            UnusedArgumentWarning: if a fold or a time takes the place of the fraction.
        """
        for name in ("fold", "time_split"):
            if getattr(self, name) is None:
                continue
            if has_val:
                raise ValueError(f"{name} takes validation sequences from the training data, but val is given")
            if self.fraction != 0.2:
                warn_unused("val_fraction", self.fraction, f"with `{name}`")

    def divide(self, raw: RawSequences, path: str, example: str = '"FILE"') -> Rows:
        """The sequences for training and those for validation, each in ascending order.

        Args:
            raw: labelled sequences.
            path: their source, for messages.
            example: a value of the data module's argument `val`, for messages.

        Raises:
            DataError: if there are too few sequences or groups, or no column of times.
        """
        taken = np.zeros(len(raw.lengths), dtype=bool)
        taken[self._taken(raw, path)] = True
        if not taken.any() or taken.all():
            raise self._too_few(raw, path, example)
        return np.flatnonzero(~taken), np.flatnonzero(taken)

    def check_groups(self, raw: RawSequences, path: str) -> None:
        """Raise DataError if there should be groups, and the file has none, as formats without columns."""
        if self.group_column is not None and raw.groups is None:
            where = "a column of a table, a key in each line of .jsonl, or an array of .npz"
            raise DataError(f"{path}: expected {shown(self.group_column)}, the group of each sequence: {where}")

    def describe(self, raw: RawSequences, path: str, val_rows: np.ndarray) -> tuple[str, tuple[str, ...]]:
        """The choice in words, to follow the file's name, and remarks on it."""
        texts = [f"fold {self.fold.replace('/', ' of ')}"] if self.fold else []
        remarks: tuple[str, ...] = ()
        if self.time_split is not None:
            texts.append(f"from {self.time_split} on")
            begun = np.count_nonzero(~not_before(raw, self.time_split, path)[val_rows, 0])
            if begun:
                remarks = (f"{begun} of {len(val_rows)} validation sequences begin before {self.time_split}",)
        elif self.group_column is not None and raw.groups is not None:
            chosen = {raw.groups[row] for row in val_rows}
            texts.append(f"{len(chosen)} of {len(set(raw.groups))} values of {shown(self.group_column)}")
        return "".join(f", {text}" for text in texts), remarks

    def check_unchanged(self, learned: "tuple[int, float] | ValidationSplit | None") -> None:
        """Raise ValueError if this rule chooses other sequences than the rule of a trained model's encoding."""
        rule = rule_of(learned)
        if rule is None:
            return
        if (rule.seed, rule.fraction) != (self.seed, self.fraction):
            raise ValueError(
                "seed and val_fraction can't change after training, because they choose the validation sequences: "
                f"expected {rule.seed} and {rule.fraction}"
            )
        for name in ("fold", "group_column", "time_split"):
            if getattr(rule, name) != getattr(self, name):
                raise ValueError(
                    f"{name} can't change after training, because it chooses the validation sequences: "
                    f"expected {getattr(rule, name)!r}, got {getattr(self, name)!r}"
                )

    def _taken(self, raw: RawSequences, path: str) -> np.ndarray:
        """The rows that validate."""
        if self.time_split is not None:
            return np.flatnonzero(not_before(raw, self.time_split, path)[:, 1])
        rng = generator(Purpose.VAL_SPLIT, self.seed)
        fold, num_folds = self._fold() or (1, 0)
        if self.group_column is not None:
            self.check_groups(raw, path)
            assert raw.groups is not None
            number = len(set(raw.groups))
            if number < max(num_folds, 2):
                raise DataError(
                    f"{path}: expected at least {max(num_folds, 2)} groups in {shown(self.group_column)}, got {number}"
                )
            shares = [1 / num_folds] * num_folds if num_folds else [self.fraction, 1 - self.fraction]
            return np.flatnonzero(grouped_parts(raw.sequence_labels(), raw.groups, shares, rng) == fold - 1)
        if num_folds:
            return stratified_fold(raw.sequence_labels(), fold - 1, num_folds, rng)
        return stratified_split(raw.sequence_labels(), self.fraction, rng, self._fewest_of(raw))[1]

    def _fewest_of(self, raw: RawSequences) -> int:
        # Sets of labels are too many for this: with one sequence of each, validation would get half the file.
        return 0 if any(isinstance(label, tuple) for label in raw.labels or ()) else self.fewest

    def _fold(self) -> tuple[int, int] | None:
        """The number of the fold, from 1, and the number of folds."""
        if self.fold is None:
            return None
        parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.fold, re.ASCII)
        fold, num_folds = (int(parts[1]), int(parts[2])) if parts else (0, 0)
        if not 1 <= fold <= num_folds or num_folds < 2:
            raise ValueError(f"fold must be the number of a fold and of all folds, such as 2/5; got {self.fold!r}")
        return fold, num_folds

    def _too_few(self, raw: RawSequences, path: str, example: str) -> DataError:
        if self.time_split is not None and raw.times is not None:
            return DataError(
                f"{path}: expected sequences that end before {self.time_split} and others that end later; they end "
                f"{last_times(raw)}"
            )
        helps = self.fold is None and self.group_column is None and self._fewest_of(raw) == 0
        larger = helps and self.fraction < 0.5 and len(set(raw.sequence_labels())) < len(raw.lengths)
        return DataError(
            f"{path}: {len(raw.lengths)} sequences are too few to take a validation split from: "
            f"give `val={example}`" + (", or a larger fraction such as `val_fraction=0.5`" if larger else "")
        )


def rule_of(learned: tuple[int, float] | ValidationSplit | None) -> ValidationSplit | None:
    """The rule in a trained model's encoding. An earlier version stored its seed and fraction."""
    return ValidationSplit(*learned, fewest=0) if isinstance(learned, tuple) else learned
