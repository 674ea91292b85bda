"""Sequences from frames in memory."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from seqlight.common.description import save_plain_hyperparameters
from seqlight.common.validation import check_choice
from seqlight.data.datamodule import Split
from seqlight.data.encoded import EncodedSequences
from seqlight.data.reading.columns import requested
from seqlight.data.reading.frame import read_frame
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.options import Missing
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.validation_split import ValidationSplit


class SequenceFrames(EncodedSequences):
    """Splits from frames in long form: one row per time step, with columns for id, step, features and label.

    A frame can be of pandas, polars, or any other library that gives Arrow's stream of columns. The named index of a
    pandas frame is a column too. Columns are guessed and named as for a file, see `SequenceFiles`.

    Classes, vocabulary and the scale of features are learned from the training frame and stored with the model. A
    checkpoint does not hold the frames: `seqlight.load_data(path, predict=frame)` encodes a new one as in training.

    Args:
        train: the frame for training.
        val: the frame for validation; None takes a part of the training frame, stratified by label.
        test: the frame for testing.
        predict: the frame of sequences to classify; it needs no labels.
        batch_size: sequences per step and process.
        seed: the order of the training samples depends on seed and epoch, the choice of validation sequences on seed.
        bucketing: whether training batches hold sequences of similar length, which saves padding.
        id_column: the column with the id of a row's sequence. None guesses by name: "id" or the only "..._id"; for the
            step "step" or "time"; for the label "label", "target", "class", "y" or "outcome". The report lists the
            guesses.
        step_column: the column by which the rows of a sequence are sorted; "" keeps their order.
        label_column: the column with the label, the same in all rows of a sequence; or several columns of 0 and 1,
            each a label of its own.
        feature_columns: the columns with the features; None takes all other columns.
        inputs: "features" (numbers), "tokens" (text or integers, which are embedded), or "auto".
        target: "binary", "multiclass", "multilabel", "regression" (labels are numbers to predict) or "auto": multilabel
            if sequences have several labels, else by the number of classes.
        label_per: "sequence" if a sequence has a label, "step" if each time step has one, in its row.
        standardise: whether features get mean 0 and standard deviation 1 over the time steps of the training data.
        missing: "mask" allows missing values of features, such as NaN: the last value of the sequence takes their
            place, or the mean before any, and two channels say whether the value was observed, and when it last was.
        time_delta: whether the time since the step before, from the step column, is a channel beside the features.
        val_fraction: the fraction of the sequences that is for validation, if there is no `val`; 0 for none.
        class_weights: "balanced", which gives each class the same influence, or the weight of each class, in order.
        positive_class: which of two classes is 1, which F1 and AUROC are about; None for true or 1, else the rarer one.
        group_column, fold, time_split: as for `SequenceFiles`.
        encoding: the encoding of a trained model, in plain form; it is then applied to `train`, too.

    Raises:
        DataError: if a frame can't be used; the message names its row, counted from 1, and column.
        ValueError: if an argument is out of its range or contradicts the encoding.
    """

    in_memory: ClassVar[tuple[str, ...]] = ("train", "val", "test", "predict")
    _example = "frame"

    def __init__(
        self,
        train: Any = None,
        val: Any = None,
        test: Any = None,
        predict: Any = None,
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
        self.name = "frame"
        self._frames = {"train": train, "val": val, "test": test, "predict": predict}
        self.sources = {split: None if each is None else f"{split} frame" for split, each in self._frames.items()}
        if encoding is None and train is None:
            raise ValueError("train: expected a frame to learn from")
        check_choice("missing", missing, ("refuse", "mask"))
        columns = requested(id_column, step_column, label_column, feature_columns, group_column)
        validation = ValidationSplit(seed, val_fraction, fold=fold, group_column=group_column, time_split=time_split)
        validation.check_unused(has_val=val is not None)
        self._begin(columns, inputs, validation, encoding)

    def _require(self, split: Split) -> str:
        if self._frames[split] is None:
            raise DataError(f"there is no {split} frame: expected `{split}={self._example}`")
        return str(self.sources[split])

    def _read_source(self, split: Split, columns: Columns, inputs: Inputs, labelled: bool = True) -> RawSequences:
        frame, source = self._frames[split], str(self.sources[split])
        missing, elapsed = self.hparams["missing"], self.hparams["time_delta"]
        options = (inputs, labelled, missing, elapsed, self.label_per, self._predicts_numbers)
        return read_frame(frame, source, columns, *options)
