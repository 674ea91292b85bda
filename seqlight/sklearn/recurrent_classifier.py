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
from seqlight.data.reading.columns import id_of
from seqlight.data.reading.options import Missing
from seqlight.data.reading.raw import DataError
from seqlight.recurrent.readout import Readout
from seqlight.sklearn.inputs import is_table, is_text
from seqlight.sklearn.training import cell_of, seed_of, train
from seqlight.training.classifier import SequenceClassifier

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        assert_all_finite,
        check_array,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
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
        dropout: the probability of dropping outputs between layers.
        embedding_size: the number of features of a token's embedding.
        kind: "tokens" reads integers as tokens, which are embedded; "auto" and "features" as numbers. "auto" reads
            text as tokens.
        standardise: whether features get mean 0 and standard deviation 1 over the time steps of the training data.
        missing: "mask" allows NaN in features, as for `SequenceArrays`.
        class_weight: "balanced", or a dict with the weight of each class; None for 1.
        max_epochs: the number of epochs; None for 10, or as many as 500 steps need.
        batch_size: sequences per step.
        learning_rate: the learning rate of Adam at the start; it falls to 0 along a cosine.
        recover: whether training that diverges goes back to its best weights, with half the rate; see `Recovery`.
        gradient_clip_val: longer gradients are scaled down to this norm; 0 for no clipping.
        patience: epochs without a lower validation loss before training stops, with the weights of the lowest one; None
            trains all epochs, and keeps the last weights.
        val_fraction: the fraction of the sequences for validation, if there is a `patience` and no `X_val`.
        accelerator: as for a Trainer: "cpu", "gpu" or "auto".
        random_state: a seed, or a generator of NumPy that draws one; None for a new one in each fit.

    Attributes:
        classes_: the classes, sorted.
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
            y: their classes, (N,): text or integers.
            groups: the group of each sequence, (N,): those of a group are all for training or all for validation.
            X_val: sequences for validation; None takes a part of X if there is a `patience`.
            y_val: their classes.

        Raises:
            TypeError, ValueError: if an argument can't be used. A `DataError` names the sequence.
        """
        if y is None:
            raise ValueError("RecurrentClassifier requires y to be passed, but the target y is None")
        inputs = self._sequences(X, is_new=True)
        labels = self._classes(y, inputs)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected at least two classes, got 1 class: {self.classes_.tolist()[0]!r}")
        val = None
        if X_val is not None:
            val_inputs = self._sequences(X_val, is_new=False)
            val_labels = self._classes(y_val, val_inputs, "y_val")
            if unknown := sorted(set(val_labels.tolist()) - set(self.classes_.tolist()), key=str):
                raise ValueError(f"y_val: expected classes of y, got {unknown[0]!r}")
            val = (val_inputs, np.searchsorted(self.classes_, val_labels))
        takes_part = val is None and self.patience is not None
        if groups is not None and not takes_part:
            warnings.warn(
                "`groups` has no effect without a `patience`, for which validation sequences are taken from X, or with "
                "`X_val`",
                UnusedArgumentWarning,
                stacklevel=2,
            )
        weights = None
        if self.class_weight is not None:
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=labels).tolist()
        seed = seed_of(self.random_state)
        data = SequenceArrays(
            inputs,
            codes,
            groups=groups if takes_part else None,
            val=val,
            kind=self._kind(inputs),
            target="binary" if len(self.classes_) == 2 else "multiclass",
            standardise=self.standardise,
            missing=self.missing,
            class_weights=weights,
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
        """The probability of each class, (N, classes), in the order of `classes_`.

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
        normalised: np.ndarray = probabilities / probabilities.sum(1, keepdims=True)  # exact in float64
        return normalised

    def predict(self, X: Any) -> Shaped[np.ndarray, " sequences"]:  # noqa: N803
        """The most probable class of each sequence, (N,).

        Raises:
            NotFittedError, TypeError, ValueError: as `predict_proba`.
        """
        probabilities = self.predict_proba(X)
        classes: np.ndarray = self.classes_[probabilities.argmax(1)]
        return classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags

    def _sequences(self, X: Any, *, is_new: bool) -> Any:  # noqa: N803
        """X in a form that `SequenceArrays` takes. A 2-D X of numbers is checked as scikit-learn does it."""
        if is_new:
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
            self._has_columns = False
        names = [str(name) for name in getattr(X, "columns", ())]
        if (column := id_of(names)) and len(set(np.asarray(X[column]).tolist())) < len(X):
            raise DataError(
                f"X: expected a frame with a row for each sequence, got several rows with the same {column!r}.",
                "For a row per time step, make arrays: "
                f"`[rows[names].to_numpy() for _, rows in X.groupby({column!r}, sort=False)]`",
            )
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

    def _classes(self, y: Any, inputs: Any, name: str = "y") -> Shaped[np.ndarray, " sequences"]:
        """The classes of sequences as an array."""
        labels: np.ndarray = column_or_1d(on_host(y), warn=True)
        if labels.dtype.kind in "fc":
            assert_all_finite(labels, input_name=name)
        check_classification_targets(labels)
        check_consistent_length(inputs, labels)
        return labels

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
