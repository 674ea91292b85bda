"""Sequences from the user's files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from seqlight.common.batch import Batch
from seqlight.common.description import save_plain_hyperparameters
from seqlight.common.text import one_line
from seqlight.common.unused import warn_unused
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.data.encoding import SequenceEncoding, learn_encoding
from seqlight.data.given_encoding import check_arguments, reorder_features
from seqlight.data.leaks import leaks
from seqlight.data.reading.collect import Collector
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.read import read_sequences
from seqlight.data.sequences import Sequences
from seqlight.data.summary import (
    absent_classes,
    coarse_features,
    describe,
    describe_encoding,
    doubts,
    overlaps,
    shared_groups,
    unknown_tokens,
)
from seqlight.data.validation_split import Rows, ValidationSplit, rule_of


@dataclass(frozen=True)
class _Loaded:
    """A split in memory, with remarks for the report."""

    sequences: Sequences
    ids: Sequence[int | str]
    source: str
    remarks: tuple[str, ...] = ()
    groups: Sequence[str] | None = None


class SequenceFiles(SequenceDataModule):
    """Splits read from files.

    The suffix of a file gives its format. `.csv` and `.parquet` have one row per time step, with columns for the id of
    the sequence, the features and the label. `.jsonl` has one sequence per line, such as
    `{"inputs": [[0.1, 2.0], [0.3, 1.5]], "label": "cat"}`, or with tokens `["a", "b"]` as inputs. `.npz` has arrays
    `inputs`, `targets` and, if sequences are padded, `lengths`. `.ts` is the format of the UCR/UEA archive.

    Classes, vocabulary and the scale of features are learned from the training file and stored with the model. For this
    the training file is read immediately; with an `encoding`, files are read when they are needed.

    Args:
        train: the file for training.
        val: the file for validation; None takes a part of the training file, stratified by label.
        test: the file for testing.
        predict: the file of sequences to classify; it needs no labels.
        batch_size: sequences per step and process.
        seed: the order of the training samples depends on seed and epoch, the choice of validation sequences on seed.
        bucketing: whether training batches hold sequences of similar length, which saves padding.
        id_column: the column with the id of a row's sequence, for tables. None guesses by name: "id" or the only
            "..._id"; for the step "step" or "time"; for the label "label", "target", "class", "y" or "outcome". The
            report lists the guesses.
        step_column: the column by which the rows of a sequence are sorted; "" keeps their order.
        label_column: the column with the label, the same in all rows of a sequence; or several columns of 0 and 1,
            each a label of its own.
        feature_columns: the columns with the features; None takes all other columns.
        inputs: "features" (numbers), "tokens" (text or integers, which are embedded), or "auto".
        target: "binary", "multiclass", "multilabel" or "auto": multilabel if sequences have several labels, else by
            the number of classes.
        standardise: whether features get mean 0 and standard deviation 1 over the time steps of the training data.
        val_fraction: the fraction of the training file for validation, if there is no `val`.
        group_column: the column with the group of a sequence, as its subject: all sequences of a group are either for
            training or for validation. It is no feature.
        fold: the part of the training file for validation in cross-validation: "2/5" is the second of five parts.
        time_split: sequences of the training file that end at this date, time or number, or later, are for validation.
        class_weights: "balanced", which gives each class the same influence, or the weight of each class, in order.
        positive_class: which of two classes is 1, which F1 and AUROC are about; None for the rarer one.
        encoding: the encoding of a trained model, in plain form; it is then applied to `train`, too.

    Raises:
        DataError: if a file can't be used; the message names file, row or sequence, and column.
        ValueError: if an argument is out of its range or contradicts the encoding.
    """

    def __init__(
        self,
        train: str | os.PathLike[str] | None = None,
        val: str | os.PathLike[str] | None = None,
        test: str | os.PathLike[str] | None = None,
        predict: str | os.PathLike[str] | None = None,
        batch_size: int = 32,
        seed: int = 0,
        bucketing: bool = True,
        id_column: str | None = None,
        step_column: str | None = None,
        label_column: str | list[str] | None = None,
        feature_columns: list[str] | None = None,
        inputs: Literal["auto", "features", "tokens"] = "auto",
        target: Literal["auto", "binary", "multiclass", "multilabel"] = "auto",
        standardise: bool = True,
        val_fraction: float = 0.2,
        class_weights: Literal["balanced"] | list[float] | None = None,
        positive_class: str | None = None,
        group_column: str | None = None,
        fold: str | None = None,
        time_split: str | None = None,
        encoding: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(batch_size, seed, bucketing)
        # Again, from here: a type checker's wrapper around __init__ hides our arguments from the base class.
        save_plain_hyperparameters(self)
        self._validation = ValidationSplit(
            seed, val_fraction, fold=fold, group_column=group_column, time_split=time_split
        )
        for name, value in {"fold": fold, "time_split": time_split}.items():
            if value is None:
                continue
            if val is not None:
                raise ValueError(f"{name} takes validation sequences from train, but val is {os.fspath(val)!r}")
            if val_fraction != 0.2:
                warn_unused("val_fraction", val_fraction, f"with `{name}`")
        if val is not None and val_fraction != 0.2:
            warn_unused("val_fraction", val_fraction, "if there is a file for validation")
        paths = {"train": train, "val": val, "test": test, "predict": predict}
        self.paths = {split: None if path is None else os.fspath(path) for split, path in paths.items()}
        self.name = Path(self.paths["train"] or "files").stem
        self.val_fraction = val_fraction
        self._columns = Columns(
            id_column,
            step_column,
            tuple(label_column) if isinstance(label_column, list) else label_column,
            None if feature_columns is None else tuple(feature_columns),
            group=group_column,
        )
        if label_column == [] or feature_columns == []:
            raise ValueError("label_column and feature_columns must name columns, got an empty list")
        self._inputs: Literal["auto", "features", "tokens"] = inputs
        self._loaded: dict[str, _Loaded] = {}
        if encoding is not None:
            self.encoding = SequenceEncoding.from_plain(encoding)
            check_arguments(self.encoding, self.hparams)
            if self.paths["val"] is None:
                self._validation.check_unchanged(self.encoding.val_split)
        elif train is None:
            raise ValueError("train: expected a file to learn from")
        else:
            self._learn(
                target=target, standardise=standardise, class_weights=class_weights, positive_class=positive_class
            )
        self.input_size = self.encoding.num_features
        self.vocab_size = self.encoding.vocab_size
        self.target = self.encoding.target
        self.num_outputs = self.encoding.num_outputs
        self.class_names = self.encoding.class_names
        self.class_weights = self.encoding.class_weights

    def split(self, split: Split) -> Sequences:
        """All samples of a split, one after the other.

        Raises:
            DataError: if there is no such file, or if it can't be used.
        """
        return self._load(split).sequences

    def sample_ids(self, split: Split) -> Sequence[int | str]:
        """The ids of the sequences in the file, or their indices."""
        return self._load(split).ids

    def encode(self, sequences: Sequence[Any]) -> Batch:
        """A batch of new sequences for the model; their targets are unknown.

        Args:
            sequences: the time steps of each sequence: numbers (T, F), or tokens (T,).

        Raises:
            DataError: if they do not fit the training data.
        """
        collector = Collector(Path("sequences"), 0, labelled=False)
        for number, sequence in enumerate(sequences):
            place = f"sequence {number}"
            if len(sequence) == 0:
                raise DataError(f"{place}: expected at least one time step")
            if self.encoding.vocabulary is not None:
                tokens = sequence.tolist() if hasattr(sequence, "tolist") else list(sequence)
                if other := [token for token in tokens if not isinstance(token, str | int)]:
                    raise DataError(f"{place}: expected tokens, text or integers, got {other[0]!r}")
                collector.add_tokens(tokens)
            else:
                values = np.asarray(sequence, dtype=np.float64)
                collector.add_features(values if values.ndim == 2 else values[:, None], place)
        encoded = self.encoding.encode(collector.finish(), "sequences", labelled=False)
        rows = torch.arange(len(encoded.lengths))
        return encoded.take(rows, rows)

    def longest_trained(self) -> int | None:
        """The number of time steps of the longest training sequence."""
        return self.encoding.longest

    def report(self, splits: Sequence[Split]) -> str:
        """For each split with a file: size, lengths, classes and guesses; and sequences that are in two splits.

        A test split is also compared with the training file, if that can still be read.
        """
        loaded = {split: self._load(split) for split in splits if self._path(split) is not None}
        lines = [f"{split:8}{each.source}: {describe(each.sequences, self.encoding)}" for split, each in loaded.items()]
        lines += [remark for each in loaded.values() for remark in each.remarks]
        lines += [describe_encoding(self.encoding)]
        if "test" in loaded and "train" not in loaded:
            try:
                loaded = {"train": self._load("train"), "val": self._load("val"), **loaded}
            except DataError as error:
                lines += [f"not compared with the training data: {error.args[0]}"]
        lines += overlaps({split: each.sequences for split, each in loaded.items()})
        lines += shared_groups({split: each.groups for split, each in loaded.items()}, self._columns.group)
        return "\n".join(map(one_line, lines))

    def _path(self, split: Split) -> str | None:
        """The file of a split."""
        return self.paths["train" if split == "val" and self.paths["val"] is None else split]

    def _learn(self, **options: Any) -> None:
        """Learn the encoding, with options of `learn_encoding`, and keep the training data that were read for it."""
        path = self.paths["train"]
        assert path is not None
        raw = read_sequences(path, columns=self._columns, inputs=self._inputs)
        self._validation.check_groups(raw, path)
        train_rows, val_rows = self._divide(raw, path, self._validation)
        self.encoding = learn_encoding(raw, train_rows, path, **options)
        if self.paths["val"] is None:
            self.encoding = replace(self.encoding, val_split=self._validation)
        self.hparams["encoding"] = self.encoding.to_plain()
        self._keep(raw, path, train_rows, val_rows)

    def _load(self, split: Split) -> _Loaded:
        """Read a split, once."""
        if split in self._loaded:
            return self._loaded[split]
        path = self._path(split)
        if path is None:
            raise DataError(f'there is no {split} file: expected `{split}="FILE"`')
        if not os.path.exists(path):
            raise DataError(f'{path}: there is no such file in {os.getcwd()}; `{split}="FILE"` names another')
        raw = self._read(path, labelled=split != "predict")
        if split == "train" or (split == "val" and self.paths["val"] is None):
            self._keep(raw, path, *self._divide(raw, path, rule_of(self.encoding.val_split) or self._validation))
        else:
            sequences = self.encoding.encode(raw, path, labelled=split != "predict")
            self._loaded[split] = _Loaded(sequences, raw.ids, path, unknown_tokens(sequences, path), raw.groups)
        return self._loaded[split]

    def _read(self, path: str, labelled: bool) -> RawSequences:
        """Read a file with the columns and inputs of the training file."""
        learned, columns = self.encoding.columns, self._columns
        if learned is not None:
            step = learned.step if columns.step is None else columns.step
            columns = replace(
                columns,
                id=columns.id or learned.id,
                step=step,
                label=columns.label or learned.label,
                left_out=learned.left_out or (),
            )
        inputs: Literal["features", "tokens"] = "features" if self.encoding.vocabulary is None else "tokens"
        raw = read_sequences(path, columns=columns, inputs=inputs, labelled=labelled)
        if learned is not None and raw.columns is not None and raw.columns.features != learned.features:
            reorder_features(raw, learned.features or (), path)
        return raw

    def _divide(self, raw: RawSequences, path: str, rule: ValidationSplit) -> Rows:
        """The sequences of the training file for training, and those for validation."""
        if self.paths["val"] is not None:
            return np.arange(len(raw.lengths)), np.arange(0)
        return rule.divide(raw, path)

    def _keep(self, raw: RawSequences, path: str, train_rows: np.ndarray, val_rows: np.ndarray) -> None:
        """Encode the training file and keep its splits."""
        coarse = coarse_features(raw, self.encoding)
        sequences = self.encoding.encode(raw, path)
        rule = rule_of(self.encoding.val_split) or self._validation
        chosen, begun = rule.describe(raw, path, val_rows) if len(val_rows) else ("", ())
        for split, rows, source in (("train", train_rows, path), ("val", val_rows, f"taken from {path}{chosen}")):
            if len(rows):
                part = sequences.subset(torch.from_numpy(rows))
                remarks = (*begun, *absent_classes(part, self.encoding, "val"), *unknown_tokens(part, source))
                if split == "train":
                    known = leaks(sequences, self.encoding, grouped=self._columns.group is not None)
                    remarks = (*raw.guesses, *coarse, *doubts(part, self.encoding), *known)
                groups = None if raw.groups is None else [raw.groups[row] for row in rows]
                self._loaded[split] = _Loaded(part, [raw.ids[row] for row in rows], source, remarks, groups)
