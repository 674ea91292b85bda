"""A classifier of sequences with the interface of scikit-learn."""

import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64, Shaped

from seqlight.cells.cell import RecurrentCell
from seqlight.common.unused import UnusedArgumentWarning
from seqlight.data.arrays import SequenceArrays
from seqlight.data.reading.array_names import on_host
from seqlight.data.reading.options import Missing
from seqlight.recurrent.readout import Readout
from seqlight.sklearn.inputs import check_rows, is_table, is_text
from seqlight.sklearn.training import cell_of, seed_of, train
from seqlight.training.calibration import Threshold
from seqlight.training.classifier import SequenceClassifier

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data

    from seqlight.sklearn.labels import as_known, labels_of, weights_of
except ImportError as error:
    raise ImportError("seqlight.sklearn needs scikit-learn 1.6 or newer: pip install 'seqlight[sklearn]'") from error

_EPOCHS, _STEPS = 10, 500  # trained at least, by default
_PREDICTED_AT_ONCE = 256


class RecurrentClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A recurrent classifier of sequences, for scikit-learn's cross-validation, grids, calibration and pipelines.

    X is a list with an array (T, F) or (T,) for each sequence, of any lengths T; a list with a list of tokens for each;
    an array (N, T, F); or an array (N, T) or a frame with a row for each sequence, which have a single feature. As
    everywhere in scikit-learn, a 2-D X must have as many columns in `predict` as in `fit`, and integers are numbers.
    For a frame with a row for each time step, see `SequenceFrames`.

    `fit` trains a `SequenceClassifier` on `SequenceArrays`. It prints nothing, writes no files, and leaves the random
    generators of torch, NumPy and Python as they were.

    Args:
        cell: the name of a cell, as "GRUCell"; or its class, perhaps with arguments bound by `functools.partial`.
        hidden_size: the number of units of each direction, for a cell that takes it.
        num_layers: the number of recurrent layers.
        bidirectional: whether each layer also runs backwards.
        readout: "last", the final output; "mean" or "max" over time; or all three joined, "last_mean_max".
        convolution: "fcn" adds a convolutional branch, as for `SequenceClassifier`: better on signals, and slower.
        threshold: the probability above which the second class, or a label, is predicted: a number, or "f1" or
            "balanced_accuracy", which it then maximises on the validation sequences.
        temperature_scaling: whether the logits are divided by a temperature that is fitted on these.
        dropout: the probability of dropping outputs between layers.
        embedding_size: the number of features of a token's embedding.
        kind: "tokens" reads integers as tokens, which are embedded; "auto" and "features" as numbers. "auto" reads
            text as tokens.
        standardise: whether features get mean 0 and standard deviation 1 over the time steps of the training data.
        missing: "mask" allows NaN in features, as for `SequenceArrays`.
        class_weight: "balanced", or a dict with the weight of each class or label; None for 1.
        max_epochs: the number of epochs; None for 10, or as many as 500 steps need.
        batch_size: sequences per step.
        learning_rate: the learning rate of Adam at the start; it falls to 0 along a cosine.
        recover: whether training that diverges goes back to its best weights, with half the rate; see `Recovery`.
        gradient_clip_val: longer gradients are scaled down to this norm; 0 for no clipping.
        patience: epochs without a lower validation loss before training stops, with the weights of the lowest one; None
            trains all epochs, and keeps the last weights.
        val_fraction: the fraction of the sequences for validation, if they are needed and there is no `X_val`: for a
            patience, a threshold or a temperature.
        accelerator: as for a Trainer: "cpu", "gpu" or "auto".
        random_state: a seed, or a generator of NumPy that draws one; None for a new one in each fit.

    Attributes:
        classes_: the classes, sorted; 0 to L - 1 for L labels.
        n_features_in_: the number of columns of a 2-D X, or of features F of a time step; 0 for tokens.
        feature_names_in_: the names of a frame's columns, if they are text.
        model_: the trained `SequenceClassifier`, on the CPU.
        n_epochs_: the number of epochs trained.
        val_losses_: the validation loss after each epoch; empty without validation.
    """

    def __init__(
        self,
        cell: str | Callable[[int], RecurrentCell] = "GRUCell",
        hidden_size: int = 64,
        *,
        num_layers: int = 1,
        bidirectional: bool = True,
        readout: Readout = "last_mean_max",
        convolution: Literal["fcn"] | None = None,
        threshold: Threshold = 0.5,
        temperature_scaling: bool = False,
        dropout: float = 0.0,
        embedding_size: int = 16,
        kind: Literal["auto", "features", "tokens"] = "auto",
        standardise: bool = True,
        missing: Missing = "refuse",
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        max_epochs: int | None = None,
        batch_size: int = 16,
        learning_rate: float = 0.01,
        recover: bool = True,
        gradient_clip_val: float = 1.0,
        patience: int | None = None,
        val_fraction: float = 0.2,
        accelerator: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.readout = readout
        self.convolution = convolution
        self.threshold = threshold
        self.temperature_scaling = temperature_scaling
        self.dropout = dropout
        self.embedding_size = embedding_size
        self.kind = kind
        self.standardise = standardise
        self.missing = missing
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.recover = recover
        self.gradient_clip_val = gradient_clip_val
        self.patience = patience
        self.val_fraction = val_fraction
        self.accelerator = accelerator
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None, X_val: Any = None, y_val: Any = None) -> "RecurrentClassifier":  # noqa: N803
        """Train on sequences and their classes.

        Args:
            X: N sequences.
            y: their classes, (N,): text or integers; or 0 and 1 for each label, (N, L).
            groups: the group of each sequence, (N,): those of a group are all for training or all for validation.
            X_val: sequences for validation; None takes a part of X if there is a `patience`.
            y_val: their classes.

        Raises:
            TypeError, ValueError: if an argument can't be used. A `DataError` names the sequence.
        """
        if y is None:
            raise ValueError("RecurrentClassifier requires y to be passed, but the target y is None")
        inputs = self._sequences(X, is_new=True)
        labels = labels_of(y, inputs)
        has_several = labels.ndim == 2
        self.classes_, codes = np.arange(labels.shape[-1]), labels
        if not has_several:
            self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected at least two classes, got 1 class: {self.classes_.tolist()[0]!r}")
        val = None
        if X_val is not None:
            val_inputs = self._sequences(X_val, is_new=False)
            val = (val_inputs, as_known(labels_of(y_val, val_inputs, "y_val"), self.classes_))
        takes_part = val is None and (self.patience is not None or self._learns_calibration)
        if groups is not None and not takes_part:
            warnings.warn(
                "`groups` has no effect without a `patience`, for which validation sequences are taken from X, or with "
                "`X_val`",
                UnusedArgumentWarning,
                stacklevel=2,
            )
        seed = seed_of(self.random_state)
        data = SequenceArrays(
            inputs,
            codes,
            groups=groups if takes_part else None,
            val=val,
            kind=self._kind(inputs),
            target="multilabel" if has_several else "binary" if len(self.classes_) == 2 else "multiclass",
            standardise=self.standardise,
            missing=self.missing,
            class_weights=weights_of(self.class_weight, labels, self.classes_),
            batch_size=self.batch_size,
            seed=seed,
            val_fraction=self.val_fraction if takes_part else 0.0 if val is None else 0.2,  # 0.2 is the default
        )
        self.model_, self.n_epochs_, self.val_losses_ = self._train(data, seed, has_val=val is not None or takes_part)
        self._data_arguments = dict(data.hparams)  # the encoding, not the data
        if not hasattr(self, "n_features_in_"):
            self.n_features_in_ = data.encoding.num_features or 0
        return self

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "sequences classes"]:  # noqa: N803
        """The probability of each class, or of each label, (N, classes), in the order of `classes_`.

        Raises:
            NotFittedError: before `fit`.
            TypeError, ValueError: if X does not fit the training data.
        """
        check_is_fitted(self)
        inputs = self._sequences(X, is_new=False)
        arguments = {**self._data_arguments, "batch_size": _PREDICTED_AT_ONCE}
        data = SequenceArrays(predict=inputs, **arguments)
        parts = [self.model_.probabilities(batch.inputs, batch.lengths) for batch in data.predict_dataloader()]
        probabilities = torch.cat(parts).double().numpy()
        if probabilities.ndim == 1:
            return np.stack([1 - probabilities, probabilities], axis=1)
        if self.model_.target == "multiclass":
            probabilities /= probabilities.sum(1, keepdims=True)  # exact in float64
        return probabilities

    def predict(self, X: Any) -> Shaped[np.ndarray, "sequences *labels"]:  # noqa: N803
        """The class of each sequence, (N,), the most probable or by the threshold; or 0 and 1 for each label, (N, L).

        Raises:
            NotFittedError, TypeError, ValueError: as `predict_proba`.
        """
        probabilities = self.predict_proba(X)
        target, threshold = self.model_.target, np.asarray(self.model_.calibration.threshold, np.float64)
        if target == "multilabel":
            return (probabilities > threshold).astype(np.int64)
        chosen = probabilities.argmax(1) if target == "multiclass" else (probabilities[:, 1] > threshold).astype(int)
        classes: np.ndarray = self.classes_[chosen]
        return classes

    @property
    def _learns_calibration(self) -> bool:
        return bool(self.temperature_scaling) or isinstance(self.threshold, str)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.classifier_tags.multi_label = True
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags

    def _sequences(self, X: Any, *, is_new: bool) -> Any:  # noqa: N803
        """X in a form that `SequenceArrays` takes. A 2-D X of numbers is checked as scikit-learn does it."""
        if is_new:
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
            self._has_columns = False
        check_rows(X)
        X = on_host(X)  # noqa: N806
        if self.kind == "tokens" or not is_table(X):
            return X
        finite = "allow-nan" if self.missing == "mask" else True
        if not is_new and not self._has_columns:
            # The sequences of training had lengths of their own, so the number of columns says nothing.
            return check_array(X, estimator=self, ensure_all_finite=finite)
        self._has_columns = True
        try:
            return validate_data(self, X, reset=is_new, ensure_all_finite=finite)
        except ValueError as error:
            if " is expecting " in str(error):
                hint = "Sequences of other lengths are given as a list of arrays (T, 1), in fit and predict"
                raise ValueError(f"{error} {hint}") from error
            raise

    def _kind(self, inputs: Any) -> Literal["features", "tokens"]:
        if self.kind != "auto":
            return self.kind
        return "tokens" if is_text(inputs[0]) else "features"

    def _train(self, data: SequenceArrays, seed: int, *, has_val: bool) -> tuple[SequenceClassifier, int, list[float]]:
        """A trained model on the CPU, the number of epochs, and the validation losses."""
        epochs = self.max_epochs
        if epochs is None:
            epochs = max(_EPOCHS, math.ceil(_STEPS / math.ceil(len(data.split("train").lengths) / self.batch_size)))
        make = functools.partial(
            SequenceClassifier,
            cell_of(self.cell, self.hidden_size),
            input_size=data.input_size,
            vocab_size=data.vocab_size,
            target=data.target,
            num_outputs=data.num_outputs,
            class_weights=data.class_weights,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            readout=self.readout,
            convolution=self.convolution,
            threshold=self.threshold,
            temperature_scaling=self.temperature_scaling,
            dropout=self.dropout,
            embedding_size=self.embedding_size,
            learning_rate=self.learning_rate,
            recover=self.recover,
        )
        return train(
            make,
            data,
            epochs,
            seed,
            patience=self.patience,
            has_val=has_val,
            accelerator=self.accelerator,
            gradient_clip_val=self.gradient_clip_val,
        )
