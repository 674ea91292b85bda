"""The classifier for scikit-learn, with scikit-learn's own checks and tools."""

import functools
import importlib
import logging
import pickle
import random
import sys
import warnings

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from seqlight import DataError, ElmanCell, GRUCell, LSTMCell, SequenceArrays, SequenceClassifier
from seqlight.common.unused import UnusedArgumentWarning
from seqlight.sklearn import RecurrentClassifier
from seqlight.training.best_threshold import best_thresholds

# scikit-learn's checks train on tables of numbers, which are sequences of equal length. All of them apply and pass;
# a check that does not would be listed here by name, with the reason.
EXPECTED_TO_FAIL: dict[str, str] = {}
SIZE = 48
CLASSES = np.array(["walk", "run", "sit"])[np.arange(SIZE) % 3]
FORMS = ["ragged", "3-D", "2-D", "frame", "tensors", "tokens"]


@parametrize_with_checks(
    [RecurrentClassifier(hidden_size=8, max_epochs=10, batch_size=8)],
    expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL,
)
@pytest.mark.filterwarnings("ignore:Can't check dok sparse matrix")
def test_checks_of_scikit_learn(estimator, check, without_type_checks):
    check(estimator)  # one of them expects that __init__ takes anything


def small(**arguments):
    return RecurrentClassifier(
        **{"hidden_size": 8, "max_epochs": 6, "random_state": 0, "accelerator": "cpu"} | arguments
    )


def drawn(form, seed=0):
    """Sequences whose level depends on the class."""
    rng = np.random.default_rng(seed)
    level = np.arange(SIZE)[:, None, None] % 3 * 2.0
    array = level + rng.standard_normal((SIZE, 7, 2))
    lengths = rng.integers(3, 8, SIZE)
    if form == "ragged":
        return [sequence[:length] for sequence, length in zip(array, lengths, strict=True)]
    if form == "tensors":
        return [torch.from_numpy(sequence[:length]) for sequence, length in zip(array, lengths, strict=True)]
    if form == "tokens":
        words = np.array(["x", "y", "z"])
        return [[*list(words[rng.integers(0, 3, length)]), words[row % 3]] for row, length in enumerate(lengths)]
    if form == "frame":
        return pd.DataFrame(array[..., 0], columns=[f"t{step}" for step in range(7)])
    return array if form == "3-D" else array[..., 0]


def state_of_generators():
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return random.getstate(), (kind, keys.tolist(), *rest), torch.get_rng_state().tolist()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_sequences(form):
    inputs = drawn(form)
    classifier = small(max_epochs=12).fit(inputs, CLASSES)
    assert classifier.classes_.tolist() == ["run", "sit", "walk"]
    assert classifier.n_features_in_ == {"2-D": 7, "frame": 7, "tokens": 0}.get(form, 2)
    new = drawn(form, seed=1)
    probabilities = classifier.predict_proba(new)
    assert (probabilities.shape, probabilities.dtype) == ((SIZE, 3), np.float64)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    predicted = classifier.predict(new)
    assert (predicted == classifier.classes_[probabilities.argmax(1)]).all()
    assert classifier.score(new, CLASSES) == accuracy_score(CLASSES, predicted) > 0.8
    one_by_one = [classifier.predict_proba(new[row : row + 1])[0] for row in range(4)]
    np.testing.assert_allclose(one_by_one, probabilities[:4], atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_result_is_that_of_a_trainer(num_classes):
    """The same model, trained by hand."""
    inputs, labels = drawn("ragged"), np.arange(SIZE) % num_classes
    arguments = {"num_layers": 2, "dropout": 0.3, "readout": "mean", "learning_rate": 0.02}
    classifier = small(**arguments, batch_size=10, gradient_clip_val=0.5, random_state=5).fit(inputs, labels + 7)
    data = SequenceArrays(inputs, labels, batch_size=10, seed=5, val_fraction=0)
    torch.manual_seed(5)
    model = SequenceClassifier(
        functools.partial(GRUCell, hidden_size=8),
        input_size=2,
        target="binary" if num_classes == 2 else "multiclass",
        num_outputs=1 if num_classes == 2 else 3,
        bidirectional=True,
        **arguments,
    )
    trainer = pl.Trainer(
        max_epochs=6,
        gradient_clip_val=0.5,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, data)
    batch = data.encode(inputs)
    expected = model.probabilities(batch.inputs, batch.lengths).numpy()
    if num_classes == 2:
        expected = np.stack([1 - expected, expected], 1)
    np.testing.assert_allclose(classifier.predict_proba(inputs), expected, atol=1e-6)
    assert classifier.classes_.tolist() == list(range(7, 7 + num_classes))


def test_random_state():
    inputs = drawn("ragged")
    arguments = {"dropout": 0.3, "num_layers": 2, "max_epochs": 2}
    results = [
        small(**arguments, random_state=state).fit(inputs, CLASSES).predict_proba(inputs)
        for state in (3, 3, 4, np.random.RandomState(1), np.random.RandomState(1), np.random.default_rng(1), None, None)
    ]
    equal = [
        (first, second) for first in range(8) for second in range(first) if (results[first] == results[second]).all()
    ]
    assert equal == [(1, 0), (4, 3)]


@pytest.mark.parametrize("random_state", [0, None])
def test_nothing_is_left_behind(random_state, tmp_path, monkeypatch, capfd, recwarn, without_type_checks):
    # Type checks would draw from Python's generator, to choose the items of a list that they look at.
    monkeypatch.chdir(tmp_path)
    before, levels = (
        state_of_generators(),
        [logging.getLogger(f"lightning.{name}").level for name in ("pytorch", "fabric")],
    )
    filters = list(warnings.filters)
    inputs = drawn("ragged")
    small(random_state=random_state, dropout=0.3, num_layers=2, patience=2).fit(inputs, CLASSES).predict(inputs)
    assert state_of_generators() == before
    assert [logging.getLogger(f"lightning.{name}").level for name in ("pytorch", "fabric")] == levels
    assert warnings.filters == filters
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_cross_validation(form):
    inputs = drawn(form)
    folds = StratifiedKFold(2)
    scores = cross_val_score(small(), inputs, CLASSES, cv=folds)
    by_hand = []
    for train, test in folds.split(np.zeros(SIZE), CLASSES):
        part = [[inputs[row] for row in rows] for rows in (train, test)] if isinstance(inputs, list) else None
        if part is None:
            part = [inputs.iloc[rows] if form == "frame" else inputs[rows] for rows in (train, test)]
        by_hand.append(small().fit(part[0], CLASSES[train]).score(part[1], CLASSES[test]))
    assert scores.tolist() == by_hand


def test_folds_by_group():
    groups = np.arange(SIZE) // 6
    probabilities = cross_val_predict(
        small(), drawn("ragged"), CLASSES, cv=GroupKFold(2), groups=groups, method="predict_proba"
    )
    assert probabilities.shape == (SIZE, 3)


def test_grid_in_two_processes():
    grid = {"cell": ["GRUCell", "lstm", ElmanCell], "hidden_size": [4]}
    search = GridSearchCV(small(max_epochs=2), grid, cv=2, n_jobs=2, error_score="raise").fit(drawn("ragged"), CLASSES)
    here = GridSearchCV(small(max_epochs=2), grid, cv=2, error_score="raise").fit(drawn("ragged"), CLASSES)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])
    assert search.best_estimator_.model_.recurrent.cell_name in ("GRUCell", "LSTMCell", "ElmanCell")


@pytest.mark.parametrize("form", ["ragged", "3-D"])
def test_calibration_and_threshold(form):
    inputs, labels = drawn(form), np.array(["no", "yes"])[np.arange(SIZE) % 3 // 2]
    calibrated = CalibratedClassifierCV(small(), cv=2).fit(inputs, labels)
    np.testing.assert_allclose(calibrated.predict_proba(inputs).sum(1), 1)
    tuned = TunedThresholdClassifierCV(small(), cv=2, scoring="f1_macro").fit(inputs, labels)
    expected = tuned.estimator_.predict_proba(inputs)[:, 1] >= tuned.best_threshold_
    assert (tuned.predict(inputs) == np.where(expected, "yes", "no")).all()


def test_pipeline():
    inputs = drawn("2-D")
    assert make_pipeline(StandardScaler(), small()).fit(inputs, CLASSES).score(inputs, CLASSES) > 0.5


def test_pickle_and_clone():
    inputs = drawn("ragged")
    classifier = small(cell=LSTMCell).fit(inputs, CLASSES)
    data = pickle.dumps(classifier)
    assert len(data) < 60_000  # the weights, and not the sequences or a Trainer
    assert (pickle.loads(data).predict_proba(inputs) == classifier.predict_proba(inputs)).all()
    copied = clone(classifier)
    assert copied.get_params() == classifier.get_params()
    with pytest.raises(NotFittedError):
        copied.predict(inputs)


def test_patience_keeps_the_best_weights():
    inputs, labels = drawn("ragged"), np.roll(CLASSES, 20)
    classifier = small(max_epochs=40, patience=2, learning_rate=0.05)
    classifier.fit(inputs, labels, X_val=drawn("ragged", seed=1), y_val=CLASSES)
    losses = classifier.val_losses_
    assert len(losses) == classifier.n_epochs_ == losses.index(min(losses)) + 3 < 40
    probabilities = classifier.predict_proba(drawn("ragged", seed=1))
    found = -np.log(probabilities[np.arange(SIZE), np.searchsorted(classifier.classes_, CLASSES)]).mean()
    np.testing.assert_allclose(found, min(losses), rtol=1e-4)


def test_groups_are_whole_in_validation(monkeypatch):
    made = []
    monkeypatch.setattr(
        "seqlight.sklearn.recurrent_classifier.SequenceArrays",
        lambda *a, **k: made.append(SequenceArrays(*a, **k)) or made[-1],
    )
    groups = np.arange(SIZE) // 6
    classifier = small(max_epochs=2, patience=1, val_fraction=0.25).fit(drawn("ragged"), CLASSES, groups=groups)
    [data] = made
    train, val = ({groups[row] for row in data.sample_ids(split)} for split in ("train", "val"))
    assert (len(train), len(val)) == (6, 2)
    assert train.isdisjoint(val)
    assert len(classifier.val_losses_) == 2
    with pytest.warns(UnusedArgumentWarning, match="`groups` has no effect without a `patience`"):
        small(max_epochs=1).fit(drawn("ragged"), CLASSES, groups=groups)
    assert sorted(made[1].sample_ids("train")) == list(range(SIZE))


def test_number_of_epochs():
    """At least 10 epochs and 500 steps."""
    inputs, labels = [[0.0], [1.0]] * 20, [0, 1] * 20
    assert RecurrentClassifier(batch_size=1, hidden_size=2).fit(inputs, labels).n_epochs_ == 13
    inputs, labels = inputs * 20, labels * 20
    assert RecurrentClassifier(batch_size=10, hidden_size=2).fit(inputs, labels).n_epochs_ == 10


def test_class_weight():
    inputs, labels = drawn("ragged"), CLASSES
    classifier = small(class_weight={"run": 5.0}).fit(inputs, labels)
    assert classifier.model_.class_weights.tolist() == [5, 1, 1]
    classifier = small(class_weight="balanced").fit(inputs, np.where(np.arange(SIZE) < 36, "a", "b"))
    torch.testing.assert_close(classifier.model_.class_weights, torch.tensor([48 / 72, 48 / 24]))


def test_branch_and_recovery_are_those_of_the_arguments():
    x = drawn("ragged")
    model = small(max_epochs=1).fit(x, CLASSES).model_
    assert (model.convolution, model.hparams["recover"]) == (None, True)
    model = small(max_epochs=1, convolution="fcn", recover=False).fit(x, CLASSES).model_
    assert model.convolution is not None
    assert not model.hparams["recover"]


def test_integers_are_tokens_if_asked_for():
    inputs = [[row % 3 + 5, 9, 9][: 2 + row % 2] for row in range(SIZE)]
    assert small().fit(inputs, CLASSES).n_features_in_ == 1
    classifier = small(kind="tokens").fit(inputs, CLASSES)
    assert classifier.model_.embedding.num_embeddings == 5
    assert classifier.score(inputs, CLASSES) > 0.9


def test_lengths_may_differ_from_training():
    classifier = small(max_epochs=1).fit(drawn("3-D"), CLASSES)
    assert classifier.predict(drawn("3-D")[:, :4]).shape == (SIZE,)
    classifier = small(max_epochs=1).fit([[1.0], [2.0, 3.0]] * 24, CLASSES)
    assert classifier.predict([[1.0, 2.0, 3.0]]).shape == classifier.predict(np.ones((1, 5))).shape == (1,)
    with pytest.raises(ValueError, match=r"is expecting 7 features as input. Sequences of other lengths are given as"):
        small(max_epochs=1).fit(drawn("2-D"), CLASSES).predict(drawn("2-D")[:, :6])


LONG = pd.DataFrame({"patient_id": np.repeat(np.arange(24), 2), "x": np.zeros(48)})


@pytest.mark.parametrize(
    ("arguments", "data", "error", "message"),
    [
        ({"cell": "GRU2"}, {}, ValueError, "cell: expected a cell, as .*ElmanCell, .*; got 'GRU2'"),
        ({"random_state": "a"}, {}, ValueError, "random_state must be None, a seed, or a generator of NumPy, got 'a'"),
        ({"readout": "sum"}, {}, ValueError, "readout must be one of"),
        ({"max_epochs": 1, "patience": 1, "val_fraction": 1.5}, {}, ValueError, "val_fraction must be between 0 and 1"),
        ({}, {"y": ["a"] * SIZE}, ValueError, "y: expected at least two classes, got 1 class: 'a'"),
        ({}, {"y": CLASSES[1:]}, ValueError, "inconsistent numbers of samples"),
        (
            {},
            {"X": LONG},
            DataError,
            r"X: expected a frame with a row for each sequence, .* same 'patient_id'.\nFor a row",
        ),
        (
            {},
            {"X": [*drawn("ragged")[:-1], np.zeros((3, 4))]},
            DataError,
            "sequence 47: expected 2 features, .*, got 4",
        ),
        (
            {},
            {"X_val": drawn("ragged"), "y_val": ["new"] * SIZE},
            ValueError,
            "y_val: expected classes of y, got 'new'",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments, data, error, message, without_type_checks):
    with pytest.raises(error, match=message):
        small(**arguments).fit(**{"X": drawn("ragged"), "y": CLASSES} | data)


def test_sequences_that_do_not_fit_are_refused():
    classifier = small(max_epochs=1).fit(drawn("ragged"), CLASSES)
    with pytest.raises(
        DataError, match="predict arrays: expected 2 features a time step, as in the training data; got 3"
    ):
        classifier.predict([np.zeros((4, 3))])


def test_missing_scikit_learn_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    for name in ("seqlight.sklearn", "seqlight.sklearn.recurrent_classifier"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"needs scikit-learn 1.6 or newer: pip install 'seqlight\[sklearn\]'"):
        importlib.import_module("seqlight.sklearn")


@pytest.mark.parametrize("form", ["ragged", "3-D", "2-D", "frame"])
def test_missing_values_are_masked(form):
    """The result is that of a model on arrays with the same option."""
    inputs = drawn(form)
    if form == "frame":
        inputs = inputs.mask(np.random.default_rng(0).random(inputs.shape) < 0.3)
    else:
        for row, sequence in enumerate(inputs):
            sequence[row % 3] = np.nan
    with pytest.raises(ValueError, match=r"NaN|nan"):
        small().fit(inputs, CLASSES)
    classifier = small(missing="mask", max_epochs=12).fit(inputs, CLASSES)
    assert classifier.n_features_in_ == {"2-D": 7, "frame": 7}.get(form, 2)
    assert classifier.model_.recurrent.layers[0].cell.input_size == (3 if form in ("2-D", "frame") else 6)
    assert classifier.score(inputs, CLASSES) > 0.8


SEVERAL = np.stack([CLASSES != "run", CLASSES == "sit"], 1).astype(int)


@pytest.mark.parametrize("form", FORMS)
def test_several_labels(form):
    inputs, new = drawn(form), drawn(form, seed=1)
    classifier = small(max_epochs=12, class_weight="balanced").fit(inputs, SEVERAL)
    assert classifier.classes_.tolist() == [0, 1]
    probabilities = classifier.predict_proba(new)
    assert probabilities.shape == (SIZE, 2)
    predicted = classifier.predict(new)
    assert (predicted == (probabilities > 0.5)).all()
    assert classifier.score(new, SEVERAL) == accuracy_score(SEVERAL, predicted) > 0.5
    scores = cross_val_score(small(max_epochs=12), inputs, SEVERAL, cv=2, scoring="f1_macro")
    assert scores.shape == (2,)


@pytest.mark.parametrize("labels", [CLASSES == "sit", SEVERAL], ids=["binary", "multilabel"])
def test_threshold_and_temperature(labels):
    """Those of validation sequences, as the model has them."""
    inputs, val = drawn("ragged"), drawn("ragged", seed=2)
    options = {"threshold": "balanced_accuracy", "temperature_scaling": True, "max_epochs": 3}
    classifier = small(**options).fit(inputs, labels, X_val=val, y_val=labels)
    calibration = classifier.model_.calibration
    probabilities = classifier.predict_proba(val)
    ones = probabilities[:, 1] if labels.ndim == 1 else probabilities
    chosen = best_thresholds(torch.from_numpy(ones), torch.from_numpy(labels), "balanced_accuracy")
    np.testing.assert_allclose(calibration.threshold, chosen, rtol=1e-5)
    assert (classifier.predict(val) == (ones > calibration.threshold.double().numpy())).all()
    assert (int(calibration.num_sequences), calibration.temperature.item()) != (0, 1)
    copied = pickle.loads(pickle.dumps(classifier))
    assert (copied.predict(val) == classifier.predict(val)).all()
    # Without sequences of their own, a part of X is for validation.
    assert 8 <= small(**options).fit(inputs, labels).model_.calibration.num_sequences <= 10


def test_labels_of_validation_must_be_those_of_training(without_type_checks):
    inputs = drawn("ragged")
    with pytest.raises(ValueError, match="y_val: expected classes of y, got 2"):
        small().fit(inputs, CLASSES == "sit", X_val=inputs, y_val=np.arange(SIZE) % 3)
    with pytest.raises(ValueError, match="y_val: expected labels as in y, got 3 for each sequence"):
        small().fit(inputs, SEVERAL, X_val=inputs, y_val=np.eye(3, dtype=int)[np.arange(SIZE) % 3])
    with pytest.raises(ValueError, match=r"threshold must be 0.5 for a multiclass target, got 'f1'"):
        small(threshold="f1").fit(inputs, CLASSES)
