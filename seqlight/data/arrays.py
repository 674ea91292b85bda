"""Sequences from arrays in memory."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from seqlight.common.description import save_plain_hyperparameters
from seqlight.common.validation import check_choice
from seqlight.data.datamodule import Split
from seqlight.data.encoded import EncodedSequences
from seqlight.data.encoding import SequenceEncoding
from seqlight.data.reading.arrays import Arrays, read_arrays
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.options import Missing
from seqlight.data.reading.raw import Columns, DataError, RawSequences
from seqlight.data.validation_split import ValidationSplit


class SequenceArrays(EncodedSequences):
    """Splits from arrays, tensors and lists in memory.

    Inputs can be a list with an array (T, F) or (T,) for each sequence, of any lengths T; one array (N, T, F) or
    (N, T), with `lengths` if sequences are padded; or a list with a list of tokens, text or integers, for each
    sequence. Tensors take the place of arrays. Values are copied. Integers (T,) are read as tokens, as in files, unless
    `kind="features"`.

    Classes, vocabulary and the scale of features are learned from the training data and stored with the model. A
    checkpoint does not hold the sequences: `seqlight.load_data(path, predict=inputs)` encodes new ones as in training.

    Args:
        inputs: the sequences for training.
        labels: their labels: N classes, text or integers; or for several labels each, an array (N, L) of 0 and 1, or N
            lists of names.
        ids: distinct names of the sequences, which predictions and messages repeat; None for their indices.
        groups: the group of each sequence, such as its subject: the sequences of a group are all for training, or all
            for validation.
        lengths: the number of time steps of each sequence, (N,), if the inputs are padded.
        val: the sequences for validation, as a pair `(inputs, labels)`, or as a dict with inputs, labels, and perhaps
            lengths and ids; None takes a part of those for training, stratified by label.
        test: the sequences for testing, in the same form.
        predict: the inputs to classify, or a dict with inputs, and perhaps lengths and ids.
        times: for `time_delta`, the times of the steps of each sequence, as a list of arrays (T,): rising numbers, or
            points in time (datetime64). Those of other splits are in their dicts.
        batch_size: sequences per step and process.
        seed: the order of the training samples depends on seed and epoch, the choice of validation sequences on seed.
        bucketing: whether training batches hold sequences of similar length, which saves padding.
        kind: "features" (numbers), "tokens" (text or integers, which are embedded), or "auto".
        target: "binary", "multiclass", "multilabel", "regression" (labels are numbers to predict) or "auto": multilabel
            if sequences have several labels, else by the number of classes.
        label_per: "step" if each time step has a label; `labels` are then N lists or arrays (T,), or one (N, T).
        standardise: whether features get mean 0 and standard deviation 1 over the time steps of the training data.
        missing: "mask" allows missing values of features, such as NaN: the last value of the sequence takes their
            place, or the mean before any, and two channels say whether the value was observed, and when it last was.
        time_delta: whether the time since the step before, from `times`, is a channel beside the features.
        val_fraction: the fraction of the sequences that is for validation, if there is no `val`; 0 for none.
        class_weights: "balanced", which gives each class the same influence, or the weight of each class, in order.
        positive_class: which of two classes is 1, which F1 and AUROC are about; None for true or 1, else the rarer one.
        encoding: the encoding of a trained model, in plain form; it is then applied to `inputs`, too.

    Raises:
        DataError: if sequences can't be used; the message names the sequence.
        TypeError, ValueError: if an argument has another form, is out of its range, or contradicts the encoding.
    """

    in_memory: ClassVar[tuple[str, ...]] = (
        "inputs",
        "labels",
        "ids",
        "groups",
        "lengths",
        "times",
        "val",
        "test",
        "predict",
    )
    _example = "(inputs, labels)"

    def __init__(
        self,
        inputs: Any = None,
        labels: Any = None,
        ids: Any = None,
        groups: Any = None,
        *,
        lengths: Any = None,
        val: Any = None,
        test: Any = None,
        predict: Any = None,
        times: Any = None,
        batch_size: int = 16,
        seed: int = 0,
        bucketing: bool = True,
        kind: Literal["auto", "features", "tokens"] = "auto",
        target: Literal["auto", "binary", "multiclass", "multilabel", "regression"] = "auto",
        label_per: Literal["sequence", "step"] = "sequence",
        standardise: bool = True,
        missing: Missing = "refuse",
        time_delta: bool = False,
        val_fraction: float = 0.2,
        class_weights: Literal["balanced"] | list[float] | None = None,
        positive_class: str | None = None,
        encoding: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(batch_size, seed, bucketing)
        # Again, from here: a type checker's wrapper around __init__ hides our arguments from the base class.
        save_plain_hyperparameters(self)
        self.name = "arrays"
        check_choice("missing", missing, ("refuse", "mask"))
        given = {"labels": labels, "ids": ids, "groups": groups, "lengths": lengths, "times": times}
        if inputs is None and (encoding is None or any(value is not None for value in given.values())):
            raise ValueError("inputs: expected sequences to learn from, as SequenceArrays(inputs, labels)")
        if times is not None and not time_delta:
            raise ValueError("times: expected none without `time_delta=True`")
        if groups is not None and val is not None:
            raise ValueError("groups: expected none with `val`, because they are for taking a part of the inputs")
        self._arrays: dict[str, Arrays] = {}
        if inputs is not None:
            self._arrays["train"] = Arrays(inputs, **given)
        for split, value in (("val", val), ("test", test)):
            if value is not None:
                self._arrays[split] = Arrays.given(value, split, "a pair (inputs, labels)")
        if predict is not None:
            is_dict = isinstance(predict, Mapping)
            self._arrays["predict"] = Arrays.given(predict, "predict", "inputs") if is_dict else Arrays(predict)
        splits = ("train", "val", "test", "predict")
        self.sources = {split: f"{split} arrays" if split in self._arrays else None for split in splits}
        validation = ValidationSplit(seed, val_fraction, group_column=None if groups is None else "groups")
        learned = None if encoding is None else SequenceEncoding.from_plain(encoding).val_split
        if isinstance(learned, ValidationSplit) and inputs is not None and val is None:
            before, now = ("none" if each.group_column is None else "some" for each in (learned, validation))
            if before != now:
                raise ValueError(
                    "groups can't change after training, because they choose the validation sequences: "
                    f"expected {before}, got {now}"
                )
        self._begin(Columns(), kind, validation, encoding)

    def _require(self, split: Split) -> str:
        if split in self._arrays:
            return str(self.sources[split])
        example = {"train": "`inputs` and `labels`", "predict": "`predict=inputs`"}
        raise DataError(f"there are no {split} arrays: give {example.get(split, f'`{split}={self._example}`')}")

    def _read_source(self, split: Split, columns: Columns, inputs: Inputs, labelled: bool = True) -> RawSequences:
        missing = self.hparams["missing"]
        options = (inputs, labelled, missing, self.label_per, self._predicts_numbers)
        return read_arrays(self._arrays[split], str(self.sources[split]), *options)
