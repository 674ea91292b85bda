"""Sequences from the user's files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from seqlight.common.description import save_plain_hyperparameters
from seqlight.common.validation import check_choice
from seqlight.data.datamodule import Split
from seqlight.data.encoded import EncodedSequences
from seqlight.data.reading.columns import requested
from seqlight.data.reading.folder_files import files_of
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.options import Missing
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.reading.read import check_layout, read_sequences
from seqlight.data.validation_split import ValidationSplit


class SequenceFiles(EncodedSequences):
    """Splits read from files.

    The suffix of a file gives its format. `.csv` and `.parquet` have one row per time step, with columns for the id of
    the sequence, the features and the label. `.jsonl` has one sequence per line, such as
    `{"inputs": [[0.1, 2.0], [0.3, 1.5]], "label": "cat"}`, or with tokens `["a", "b"]` as inputs. `.npz` has arrays
    `inputs`, `targets` and, if sequences are padded, `lengths`. `.ts` and `.arff` are formats of the UCR/UEA archive.
    A folder has a table or an array (T, F), `.npy`, for each sequence, in sub-folders named by labels, or with a table
    of them.

    Classes, vocabulary and the scale of features are learned from the training file and stored with the model. For this
    the training file is read immediately; with an `encoding`, files are read when they are needed.

    Args:
        train: the file or folder for training.
        val: the file or folder for validation; None takes a part of the training file, stratified by label.
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
        target: "binary", "multiclass", "multilabel", "regression" (labels are numbers to predict) or "auto": multilabel
            if sequences have several labels, else by the number of classes.
        label_per: "sequence" if a sequence has a label, "step" if each time step has one, in its row or list.
        standardise: whether features get mean 0 and standard deviation 1 over the time steps of the training data.
        missing: "mask" allows missing values of features, such as NaN: the last value of the sequence takes their
            place, or the mean before any, and two channels say whether the value was observed, and when it last was.
        time_delta: whether the time since the step before, from the step column, is a channel beside the features.
        val_fraction: the fraction of the training file for validation, if there is no `val`; 0 for none.
        empty: "skip" leaves out sequences without time steps, and the report counts them; "refuse" raises a DataError.
        layout: "long" for tables with a row per time step and arrays (N, T, F); "wide" for tables with a row per
            sequence, whose columns are steps, as x_0, x_1 (.tsv files of the UCR archive need no names);
            "channels_first" for arrays (N, F, T).
        labels_file: for folders, the table with the labels: columns with the file, its label, and perhaps its group;
            None takes `labels.csv` in the folder, if there is one.
        in_memory: false keeps time steps in a temporary file, from which batches are read as they are needed, for files
            larger than memory; results are the same.
        group_column: the column with the group of a sequence, as its subject, or the key of .jsonl or the array of .npz
            with it: all sequences of a group are either for training or for validation. It is no feature.
        fold: the part of the training file for validation in cross-validation: "2/5" is the second of five parts.
        time_split: sequences of the training file that end at this date, time or number, or later, are for validation.
        class_weights: "balanced", which gives each class the same influence, or the weight of each class, in order.
        positive_class: which of two classes is 1, which F1 and AUROC are about; None for true or 1, else the rarer one.
        encoding: the encoding of a trained model, in plain form; it is then applied to `train`, too.

    Raises:
        DataError: if a file can't be used; the message names file, row or sequence, and column.
        ValueError: if an argument is out of its range or contradicts the encoding.
    """

    _example = '"FILE"'

    def __init__(
        self,
        train: str | os.PathLike[str] | None = None,
        val: str | os.PathLike[str] | None = None,
        test: str | os.PathLike[str] | None = None,
        predict: str | os.PathLike[str] | None = None,
        batch_size: int = 16,
        seed: int = 0,
        bucketing: bool = True,
        id_column: str | list[str] | None = None,
        step_column: str | None = None,
        label_column: str | list[str] | None = None,
        feature_columns: list[str] | None = None,
        inputs: Literal["auto", "features", "tokens"] = "auto",
        target: Literal["auto", "binary", "multiclass", "multilabel", "regression"] = "auto",
        label_per: Literal["sequence", "step"] = "sequence",
        standardise: bool = True,
        missing: Missing = "refuse",
        time_delta: bool = False,
        val_fraction: float = 0.2,
        empty: Literal["refuse", "skip"] = "refuse",
        layout: Literal["long", "wide", "channels_first"] = "long",
        labels_file: str | None = None,
        in_memory: bool = True,
        class_weights: Literal["balanced"] | list[float] | None = None,
        positive_class: str | None = None,
        group_column: str | None = None,
        fold: str | None = None,
        time_split: str | None = None,
        encoding: Mapping[str, Any] | None = None,
    ) -> None:
        paths = {"train": train, "val": val, "test": test, "predict": predict}
        for split, path in paths.items():
            if not isinstance(path, str | os.PathLike | None):
                got = type(path).__name__
                raise TypeError(
                    f"{split}: expected a file, got a {got}; for data in memory, use SequenceArrays or SequenceFrames"
                )
        super().__init__(batch_size, seed, bucketing)
        # Again, from here: a type checker's wrapper around __init__ hides our arguments from the base class.
        save_plain_hyperparameters(self)
        validation = ValidationSplit(seed, val_fraction, fold=fold, group_column=group_column, time_split=time_split)
        validation.check_unused(has_val=val is not None)
        self.paths = self.sources = {split: None if path is None else os.fspath(path) for split, path in paths.items()}
        self.name = _name(self.paths["train"] or "files")
        check_choice("empty", empty, ("refuse", "skip"))
        check_choice("missing", missing, ("refuse", "mask"))
        check_choice("layout", layout, ("long", "wide", "channels_first"))
        if not in_memory and (missing == "mask" or time_delta):
            other = 'missing="mask"' if missing == "mask" else "time_delta=True"
            raise ValueError(f"in_memory must be true with `{other}`, whose channels are computed in memory")
        self._empty, self._layout, self._labels_file = empty, layout, labels_file
        if encoding is None and train is None:
            raise ValueError("train: expected a file to learn from")
        columns = requested(id_column, step_column, label_column, feature_columns, group_column)
        self._begin(columns, inputs, validation, encoding)

    def folders(self) -> dict[str, list[str]]:
        """The files that are read for each path that is a folder.

        Raises:
            DataError: if a folder can't be used.
        """
        paths = [path for path in self.paths.values() if path is not None and os.path.isdir(path)]
        return {path: files_of(path, self._labels_file) for path in paths}

    def _require(self, split: Split) -> str:
        path = self.paths[split]
        if path is None:
            raise DataError(f'there is no {split} file: expected `{split}="FILE"`')
        if not os.path.exists(path):
            raise DataError(f'{path}: there is no such file in {os.getcwd()}; `{split}="FILE"` names another')
        return path

    def _read_source(self, split: Split, columns: Columns, inputs: Inputs, labelled: bool = True) -> RawSequences:
        learned = getattr(self, "encoding", None)  # none before the training file is read
        if learned is None:
            check_layout(str(self.paths[split]), self._layout, self._labels_file)
        return read_sequences(
            str(self.paths[split]),
            columns=columns,
            inputs=inputs,
            labelled=labelled,
            empty=self._empty,
            layout=self._layout,
            labels_file=self._labels_file,
            label_vectors=None if learned is None else learned.label_vectors,
            missing=self.hparams["missing"],
            elapsed=self.hparams["time_delta"],
            label_per=self.label_per,
            in_memory=self.hparams["in_memory"],
            numbers=self._predicts_numbers,
        )


def _name(path: str) -> str:
    """The name of a file without its suffix, or of a folder."""
    return Path(path).resolve().name if os.path.isdir(path) else Path(path.removesuffix(".gz")).stem
