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
from seqlight.common.validation import check_choice
from seqlight.data.classes import label_doubts
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.data.encoding import SequenceEncoding, learn_encoding
from seqlight.data.reading.collect import collect
from seqlight.data.reading.columns import reorder
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.read import check_layout, read_sequences
from seqlight.data.sequences import Sequences
from seqlight.data.stratify import stratified_split
from seqlight.data.streams import Purpose, generator
from seqlight.data.summary import describe, describe_encoding, doubts, overlaps, unknown_tokens


@dataclass(frozen=True)
class _Loaded:
    """A split in memory, with remarks for the report."""

    sequences: Sequences
    ids: Sequence[int | str]
    source: str
    remarks: tuple[str, ...] = ()


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
        id_column: the column with the id of a row's sequence, for tables; or several columns that are the id together,
            such as subject and trial. None guesses by name: "id" or the only "..._id"; for the step "step" or "time";
            for the label "label", "target", "class", "y" or "outcome". The report lists the guesses.
        step_column: the column by which the rows of a sequence are sorted; "" keeps their order.
        label_column: the column with the label, the same in all rows of a sequence; or several columns of 0 and 1,
            each a label of its own.
        feature_columns: the columns with the features; None takes all other columns.
        inputs: "features" (numbers), "tokens" (text or integers, which are embedded), or "auto".
        target: "binary", "multiclass", "multilabel" or "auto": multilabel if sequences have several labels, else by
            the number of classes.
        standardise: whether features get mean 0 and standard deviation 1 over the time steps of the training data.
        val_fraction: the fraction of the training file for validation, if there is no `val`.
        empty: "skip" leaves out sequences without time steps, and the report counts them; "refuse" raises a DataError.
        layout: "long" for tables with a row per time step and arrays (N, T, F); "wide" for tables with a row per
            sequence, whose columns are steps, as x_0, x_1 (.tsv files of the UCR archive need no names);
            "channels_first" for arrays (N, F, T).
        class_weights: "balanced", which gives each class the same influence, or the weight of each class, in order.
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
        id_column: str | list[str] | None = None,
        step_column: str | None = None,
        label_column: str | list[str] | None = None,
        feature_columns: list[str] | None = None,
        inputs: Literal["auto", "features", "tokens"] = "auto",
        target: Literal["auto", "binary", "multiclass", "multilabel"] = "auto",
        standardise: bool = True,
        val_fraction: float = 0.2,
        empty: Literal["refuse", "skip"] = "refuse",
        layout: Literal["long", "wide", "channels_first"] = "long",
        class_weights: Literal["balanced"] | list[float] | None = None,
        encoding: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(batch_size, seed, bucketing)
        # Again, from here: a type checker's wrapper around __init__ hides our arguments from the base class.
        save_plain_hyperparameters(self)
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        if val is not None and val_fraction != 0.2:
            warn_unused("val_fraction", val_fraction, "if there is a file for validation")
        paths = {"train": train, "val": val, "test": test, "predict": predict}
        self.paths = {split: None if path is None else os.fspath(path) for split, path in paths.items()}
        self.name = Path((self.paths["train"] or "files").removesuffix(".gz")).stem
        self.val_fraction = val_fraction
        self._columns = Columns(
            tuple(id_column) if isinstance(id_column, list) else id_column,
            step_column,
            tuple(label_column) if isinstance(label_column, list) else label_column,
            None if feature_columns is None else tuple(feature_columns),
        )
        if [] in (id_column, label_column, feature_columns):
            raise ValueError("id_column, label_column and feature_columns must name columns, got an empty list")
        check_choice("empty", empty, ("refuse", "skip"))
        check_choice("layout", layout, ("long", "wide", "channels_first"))
        self._empty, self._layout = empty, layout
        self._inputs: Literal["auto", "features", "tokens"] = inputs
        self._loaded: dict[str, _Loaded] = {}
        if encoding is not None:
            self.encoding = SequenceEncoding.from_plain(encoding)
            self._check_encoding(target, standardise, inputs, class_weights)
        elif train is None:
            raise ValueError("train: expected a file to learn from")
        else:
            self._learn(target, standardise, class_weights)
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
        raw = collect(sequences, as_tokens=self.encoding.vocabulary is not None)
        encoded = self.encoding.encode(raw, "sequences", labelled=False)
        rows = torch.arange(len(encoded.lengths))
        return encoded.take(rows, rows)

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
        return "\n".join(map(one_line, lines))

    def _path(self, split: Split) -> str | None:
        """The file of a split."""
        return self.paths["train" if split == "val" and self.paths["val"] is None else split]

    def _learn(self, target: Any, standardise: bool, class_weights: Any) -> None:
        """Learn the encoding, and keep the training data that were read for it."""
        path = self.paths["train"]
        assert path is not None
        check_layout(path, self._layout)
        raw = read_sequences(path, columns=self._columns, inputs=self._inputs, empty=self._empty, layout=self._layout)
        train_rows, val_rows = self._divide(raw)
        self.encoding = learn_encoding(
            raw, train_rows, path, target=target, standardise=standardise, class_weights=class_weights
        )
        if self.paths["val"] is None:
            self.encoding = replace(self.encoding, val_split=(self.seed, self.val_fraction))
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
            self._keep(raw, path, *self._divide(raw))
        else:
            sequences = self.encoding.encode(raw, path, labelled=split != "predict")
            self._loaded[split] = _Loaded(sequences, raw.ids, path, (*raw.remarks, *unknown_tokens(sequences, path)))
        return self._loaded[split]

    def _read(self, path: str, labelled: bool) -> RawSequences:
        """Read a file with the columns and inputs of the training file."""
        learned, columns = self.encoding.columns, self._columns
        if learned is not None:
            step = learned.step if columns.step is None else columns.step
            columns = Columns(
                columns.id or learned.id, step, columns.label or learned.label, columns.features, learned.left_out
            )
        inputs: Literal["features", "tokens"] = "features" if self.encoding.vocabulary is None else "tokens"
        raw = read_sequences(
            path,
            columns=columns,
            inputs=inputs,
            labelled=labelled,
            empty=self._empty,
            layout=self._layout,
            label_vectors=self.encoding.label_vectors,
        )
        if learned is not None and raw.columns is not None and raw.columns.features != learned.features:
            reorder(raw, learned.features or (), path)
        return raw

    def _divide(self, raw: RawSequences) -> tuple[np.ndarray, np.ndarray]:
        """The sequences of the training file for training, and those for validation."""
        assert raw.labels is not None
        if self.paths["val"] is not None:
            return np.arange(len(raw.lengths)), np.arange(0)
        return stratified_split(raw.labels, self.val_fraction, generator(Purpose.VAL_SPLIT, self.seed))

    def _keep(self, raw: RawSequences, path: str, train_rows: np.ndarray, val_rows: np.ndarray) -> None:
        """Encode the training file and keep its splits."""
        if self.paths["val"] is None and len(val_rows) == 0:
            raise DataError(
                f"{path}: {len(raw.lengths)} sequences are too few to take a validation split from: "
                'give `val="FILE"`'
                + (", or a larger fraction such as `val_fraction=0.5`" if self.val_fraction < 0.5 else "")
            )
        sequences = self.encoding.encode(raw, path)
        for split, rows, source in (("train", train_rows, path), ("val", val_rows, f"taken from {path}")):
            if len(rows):
                part = sequences.subset(torch.from_numpy(rows))
                remarks = unknown_tokens(part, source)
                if split == "train":
                    assert raw.labels is not None
                    about_labels = label_doubts(raw.labels, self.encoding.class_names, path)
                    remarks = (*raw.guesses, *raw.remarks, *about_labels, *doubts(part, self.encoding))
                self._loaded[split] = _Loaded(part, [raw.ids[row] for row in rows], source, remarks)

    def _check_encoding(self, target: str, standardise: bool, inputs: str, class_weights: Any) -> None:
        """Raise ValueError if an argument contradicts the given encoding."""
        encoding, changed = self.encoding, []
        if target not in ("auto", encoding.target):
            changed.append("target")
        if inputs not in ("auto", "features" if encoding.vocabulary is None else "tokens"):
            changed.append("inputs")
        if encoding.vocabulary is None and standardise != (encoding.mean is not None):
            changed.append("standardise")
        weights = tuple(class_weights) if isinstance(class_weights, list) else encoding.class_weights
        if weights != encoding.class_weights or (class_weights is None) != (weights is None):
            changed.append("class_weights")
        for name in changed:
            raise ValueError(f"{name} can't change after training, got {self.hparams[name]!r}")
        if self.paths["val"] is None and encoding.val_split not in (None, (self.seed, self.val_fraction)):
            raise ValueError(
                "seed and val_fraction can't change after training, because they choose the validation sequences: "
                f"expected {encoding.val_split[0]} and {encoding.val_split[1]}"
            )
