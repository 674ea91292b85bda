"""Sequences of the user's own, from files or memory, with an encoding learned from the training data."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, get_args

import numpy as np
import torch

from seqlight.common.batch import Batch
from seqlight.common.unused import warn_unused
from seqlight.common.validation import check_choice
from seqlight.data.classes import label_doubts, learn_classes
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.data.encoding import SequenceEncoding
from seqlight.data.from_checkpoint import load_data_module, taken_over
from seqlight.data.given_encoding import assumed_order, check_arguments, columns_to_read, reorder_features
from seqlight.data.leaks import leaks
from seqlight.data.learn import learn_encoding
from seqlight.data.reading.collect import collect
from seqlight.data.reading.elapsed import add_times
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.sequences import Sequences
from seqlight.data.split_report import LoadedSplit, SplitReport, report_on
from seqlight.data.step_names import names_of_steps
from seqlight.data.summary import absent_classes, coarse_features, doubts, missing_values, unknown_tokens
from seqlight.data.true_labels import LabelColumns, columns_of_labels
from seqlight.data.validation_split import Rows, ValidationSplit, rule_of

# Arguments that `learn_encoding` takes.
_LEARNING = ("target", "standardise", "class_weights", "positive_class", "missing", "time_delta")


class EncodedSequences(SequenceDataModule):
    """Base of data modules whose sequences are encoded with what was learned from the training data.

    Classes, vocabulary and the scale of features are learned from the training data and stored with the model. For this
    the training data are read immediately; with an encoding, each split is read when it is needed.

    A subclass sets `sources` and calls `_begin` at the end of its `__init__`, and implements `_require` and
    `_read_source`.

    Attributes:
        encoding: what was learned from the training data.
        sources: the name of each split's source, for messages; None for a split without one.
    """

    encoding: SequenceEncoding
    sources: dict[str, str | None]
    _example: ClassVar[str]  # the value of an argument `val`, in messages

    @abstractmethod
    def _require(self, split: Split) -> str:
        """The name of a split's source. A DataError says how to give one if there is none."""

    @abstractmethod
    def _read_source(self, split: Split, columns: Columns, inputs: Inputs, labelled: bool = True) -> RawSequences:
        """Read the source of a split, whose name is in `sources`.

        Args:
            split: the split.
            columns: the names of a table's columns; None for those to guess.
            inputs: the kind of the inputs.
            labelled: whether each sequence must have a label.
        """

    def _begin(
        self,
        columns: Columns,
        inputs: Inputs,
        validation: ValidationSplit,
        encoding: Mapping[str, Any] | None,
    ) -> None:
        """Learn the encoding, with the options in `hparams`, or take the given one.

        Args:
            columns: the names of a table's columns; None for those to guess.
            inputs: as for `SequenceFiles`.
            validation: the rule by which validation sequences are taken from the training data.
            encoding: as for `SequenceFiles`.
        """
        self.label_per = self.hparams["label_per"]
        check_choice("label_per", self.label_per, ("sequence", "step"))
        fraction = validation.fraction
        if self.sources["val"] is not None and fraction != 0.2:
            warn_unused("val_fraction", fraction, "if `val` is given")
        self.val_fraction, self._validation = fraction, validation
        self._columns = columns
        self._inputs: Inputs = inputs
        self._loaded: dict[str, LoadedSplit] = {}
        if encoding is not None:
            self.encoding = SequenceEncoding.from_plain(encoding)
            check_arguments(self.encoding, self.hparams)
            if self.sources["val"] is None and self.sources["train"] is not None:
                self._validation.check_unchanged(self.encoding.val_split)
        else:
            self._learn(**{name: self.hparams[name] for name in _LEARNING})
        self.input_size = self.encoding.input_size
        self.vocab_size = self.encoding.vocab_size
        self.target = self.encoding.target
        self.num_outputs = self.encoding.num_outputs
        self.class_names = self.encoding.class_names
        self.class_weights = self.encoding.class_weights
        self.target_mean, self.target_scale = self.encoding.target_mean, self.encoding.target_scale

    @property
    def _predicts_numbers(self) -> bool:
        """Whether labels are numbers to predict."""
        learned = getattr(self, "encoding", None)  # none before the training data are read
        return bool((self.hparams["target"] if learned is None else learned.target) == "regression")

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, **changes: Any) -> Any:  # type: ignore[override]
        """A data module of this class, with the encoding of a trained model.

        The model can have been trained on sequences of another source: a model trained on arrays classifies those of a
        file with `SequenceFiles.load_from_checkpoint(path, predict="new.jsonl")`.

        Raises:
            FileNotFoundError, CheckpointError: as `seqlight.load_data`.
            TypeError: if the checkpoint holds data of another kind.
        """
        base: Any = SequenceDataModule  # abstract
        return load_data_module(checkpoint_path, base, changes, partial(taken_over, EncodedSequences, cls))

    def split(self, split: Split) -> Sequences:
        """All samples of a split, one after the other.

        Raises:
            DataError: if there is no such split, or if it can't be used.
        """
        return self._load(split).sequences

    def sample_ids(self, split: Split) -> Sequence[int | str]:
        """The ids of the sequences, or their indices."""
        return self._load(split).ids

    def sample_steps(self, split: Split) -> Sequence[str] | None:
        """For predict, the values of the column of steps, or indices, if each step has a label."""
        return self._load(split).steps

    def true_labels(self, split: Split) -> LabelColumns | None:
        """For predict, columns with the labels that the source has; they can be unknown to the model."""
        return self._load(split).labels

    def encode(self, sequences: Sequence[Any], times: Sequence[Any] | None = None) -> Batch:
        """A batch of new sequences for the model; their targets are unknown.

        Args:
            sequences: the time steps of each sequence: numbers (T, F), or tokens (T,).
            times: the times of the steps of each sequence, (T,), for a model that was trained with `time_delta`.

        Raises:
            DataError: if they do not fit the training data.
        """
        raw = collect(sequences, self.encoding.vocabulary is not None, self.encoding.missing)
        if times is not None:
            add_times(raw, times, None, "sequences")
        encoded = self.encoding.encode(raw, "sequences", labelled=False)
        rows = torch.arange(len(encoded.lengths))
        return encoded.take(rows, rows)

    def longest_trained(self) -> int | None:
        """The number of time steps of the longest training sequence."""
        return self.encoding.longest

    def report(self, splits: Sequence[Split]) -> str:
        """For each split with a source: size, lengths, classes and guesses; and sequences that are in two splits.

        A test split is also compared with the training data, if those can still be read.
        """
        return str(self.report_parts(splits))

    def report_parts(self, splits: Sequence[Split]) -> SplitReport:
        """The parts of `report`."""
        shown: dict[str, LoadedSplit] = {split: self._load(split) for split in splits if self.has(split)}
        compared, not_compared = shown, []
        if "test" in shown and "train" not in shown:
            try:
                others: tuple[Split, ...] = ("train", "val") if self.has("val") else ("train",)
                compared = {**{split: self._load(split) for split in others}, **shown}
            except DataError as error:
                not_compared = [f"not compared with the training data: {error.args[0]}"]
        return report_on(shown, compared, self.encoding, self._columns.group, not_compared)

    def read_again(self, split: Split) -> RawSequences:
        """The contents of a split's source, as they are before encoding. They are read anew, and not kept.

        Raises:
            DataError: if there is no such source, or if it can't be used.
        """
        source = self._source(split)
        return self._read(source, self._require(source), labelled=split != "predict")

    @property
    def splits(self) -> list[Split]:
        """The splits for which there are sequences."""
        return [split for split in get_args(Split) if self.has(split)]

    @property
    def guessed_columns(self) -> Columns | None:
        """The columns of a table that were guessed; None for each that was named, and for data without names."""
        found, asked = self.encoding.columns, self._columns
        if found is None:
            return None
        parts = {name: getattr(found, name) for name in ("id", "step", "label", "features")}
        return Columns(**{name: None if getattr(asked, name) is not None else part for name, part in parts.items()})

    def has(self, split: Split) -> bool:
        """Whether there is a source for a split."""
        is_taken = split == "val" and self.sources["val"] is None
        return self.sources[self._source(split)] is not None and not (is_taken and self._validation.is_empty)

    def _source(self, split: Split) -> Split:
        """The split whose source holds a split: that for training can hold validation too."""
        return "train" if split == "val" and self.sources["val"] is None else split

    def _learn(self, **options: Any) -> None:
        """Learn the encoding, with options of `learn_encoding`, and keep the training data that were read for it."""
        raw = self._read_source("train", self._columns, self._inputs)
        path = str(self.sources["train"])
        if not raw.numbers:
            learn_classes(raw, path, options["target"])  # its messages are clearer than those of a split
        self._validation.check_groups(raw, path)
        train_rows, val_rows = self._divide(raw, path, self._validation)
        self.encoding = learn_encoding(raw, train_rows, path, **options)
        if self.sources["val"] is None:
            self.encoding = replace(self.encoding, val_split=self._validation)
        self.hparams["encoding"] = self.encoding.to_plain()
        self._keep(raw, path, train_rows, val_rows)

    def _load(self, split: Split) -> LoadedSplit:
        """Read a split, once."""
        if split in self._loaded:
            return self._loaded[split]
        source = self._source(split)
        if split != source and self._validation.is_empty:
            raise DataError(
                f"there is no validation split: give `val={self._example}`, or take one with `val_fraction=0.2`"
            )
        path = self._require(source)
        raw = self._read(source, path, labelled=split != "predict")
        if source == "train":
            self._keep(raw, path, *self._divide(raw, path, rule_of(self.encoding.val_split) or self._validation))
        else:
            unknown = missing_values(raw, self.encoding, path)
            sequences = self.encoding.encode(raw, path, labelled=split != "predict")
            order = assumed_order(self.encoding, raw, path)
            remarks = (*raw.remarks, *unknown, *order, *unknown_tokens(sequences, path))
            labels = None
            if split == "predict" and raw.labels is not None:
                labels = columns_of_labels(raw.labels, self.encoding.class_names, self.target, raw.label_names)
            steps = names_of_steps(raw) if split == "predict" and self.label_per == "step" else None
            self._loaded[split] = LoadedSplit(sequences, raw.ids, path, remarks, raw.groups, labels, steps)
        return self._loaded[split]

    def _read(self, source: Split, path: str, labelled: bool) -> RawSequences:
        """Read a source with the columns and inputs of the training data."""
        learned = self.encoding.columns
        columns = columns_to_read(self._columns, learned)
        inputs: Inputs = "features" if self.encoding.vocabulary is None else "tokens"
        raw = self._read_source(source, columns, inputs, labelled)
        if learned is None and raw.columns is not None and columns.features is None and self.encoding.has_order:
            raise DataError(
                f"{path}: the model was trained on {self.encoding.num_features} features without names. Name their "
                'columns, in the order of training: `feature_columns=["NAME"]`'
            )
        if learned is not None and raw.columns is not None and raw.columns.features != learned.features:
            reorder_features(raw, learned.features or (), path)
        return raw

    def _divide(self, raw: RawSequences, path: str, rule: ValidationSplit) -> Rows:
        """The sequences of the training data for training, and those for validation."""
        if self.sources["val"] is not None or rule.is_empty:
            return np.arange(len(raw.lengths)), np.arange(0)
        return rule.divide(raw, path, self._example)

    def _keep(self, raw: RawSequences, path: str, train_rows: np.ndarray, val_rows: np.ndarray) -> None:
        """Encode the training data and keep their splits."""
        before = (*missing_values(raw, self.encoding, path), *coarse_features(raw, self.encoding))
        sequences = self.encoding.encode(raw, path)
        rule = rule_of(self.encoding.val_split) or self._validation
        chosen, begun = rule.describe(raw, path, val_rows) if len(val_rows) else ("", ())
        for split, rows, source in (("train", train_rows, path), ("val", val_rows, f"taken from {path}{chosen}")):
            if len(rows):
                part = sequences.subset(torch.from_numpy(rows))
                guesses: tuple[str, ...] = ()
                remarks = (*begun, *absent_classes(part, self.encoding, "val"), *unknown_tokens(part, source))
                if split == "train":
                    assert raw.labels is not None
                    about_labels = () if raw.numbers else label_doubts(raw.labels, self.encoding.class_names, path)
                    guesses = raw.guesses
                    remarks = (*raw.remarks, *about_labels, *before, *doubts(part, self.encoding))
                    remarks += leaks(sequences, self.encoding, grouped=self._columns.group is not None)
                groups = None if raw.groups is None else [raw.groups[row] for row in rows]
                ids = [raw.ids[row] for row in rows]
                self._loaded[split] = LoadedSplit(part, ids, source, remarks, groups, guesses=guesses)
