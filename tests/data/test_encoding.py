import json
import os
import subprocess
import sys

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

import seqlight
from seqlight import DataError, SequenceClassifier, SequenceFiles
from seqlight.data.encoding import SequenceEncoding
from seqlight.data.learn import learn_encoding
from seqlight.data.reading.raw import Columns, RawSequences
from seqlight.data.sequences import Sequences
from seqlight.data.stratify import stratified_split
from seqlight.data.summary import describe, describe_encoding, overlaps, unknown_tokens


def features(seed=0, lengths=(3, 1, 4, 2, 5, 2), labels=("no", "yes", "no", "no", "yes", "yes"), size=3, **others):
    values = np.random.default_rng(seed).normal(5, 3, (sum(lengths), size))
    return RawSequences(values, None, np.array(lengths), range(len(lengths)), list(labels), **others)


def tokens(texts, labels=("no", "yes", "no", "yes")):
    names = list(dict.fromkeys("".join(texts)))
    codes = np.array([names.index(token) for text in texts for token in text], dtype=np.int32)
    return RawSequences(codes, names, np.array([len(text) for text in texts]), range(len(texts)), list(labels))


def learn(raw, rows=None, **options):
    return learn_encoding(raw, np.arange(len(raw.lengths)) if rows is None else np.array(rows), "a.csv", **options)


def steps_of(raw, rows):
    ends = np.cumsum(raw.lengths)
    return np.concatenate([raw.values[ends[row] - raw.lengths[row] : ends[row]] for row in rows])


@pytest.mark.parametrize("rows", [range(6), [0, 3, 4]])
@pytest.mark.parametrize("offset", [0, 1e5])
def test_features_are_standardised_as_scikit_learn_does(rows, offset):
    raw = features()
    raw.values[:, 0] += offset
    raw.values[:, 2] = 7  # a constant
    reference = StandardScaler().fit(steps_of(raw, rows).astype(np.float64))
    expected = reference.transform(raw.values.astype(np.float64))
    encoding = learn(raw, rows)
    assert encoding.mean == pytest.approx(reference.mean_)
    assert encoding.scale == pytest.approx(reference.scale_)
    np.testing.assert_allclose(encoding.encode(raw, "a.csv").values, expected, atol=1e-6)


def test_encoding_in_several_chunks():
    raw = features(lengths=(70_000, 70_001), labels=("a", "b"))
    reference = StandardScaler().fit(raw.values.astype(np.float64))
    encoding = learn(raw)
    assert encoding.mean == pytest.approx(reference.mean_)
    expected = reference.transform(raw.values.astype(np.float64))
    np.testing.assert_allclose(encoding.encode(raw, "a.csv").values, expected, atol=1e-6)


def test_features_are_unchanged_without_standardising():
    raw = features()
    before = raw.values.copy()
    encoding = learn(raw, standardise=False)
    assert (encoding.mean, encoding.scale) == (None, None)
    np.testing.assert_array_equal(encoding.encode(raw, "a.csv").values, before.astype(np.float32))


def test_tokens_get_indices_of_the_training_vocabulary_and_0_if_unknown():
    encoding = learn(tokens(["abca", "bb", "xad", "c"]), rows=[0, 1, 3])
    assert encoding.vocabulary == ("a", "b", "c")
    assert encoding.vocab_size == 4
    sequences = encoding.encode(tokens(["dcab", "b", "e", "aa"]), "b.csv")
    assert sequences.values.tolist() == [0, 3, 1, 2, 2, 0, 1, 1]
    assert unknown_tokens(sequences, "b.csv") == ("b.csv: 2 of 8 tokens are not in the training data",)
    assert unknown_tokens(sequences.subset(torch.tensor([1, 3])), "b.csv") == ()


@pytest.mark.parametrize(
    ("labels", "forced", "target", "names", "expected"),
    [
        (["no", "yes", "no"], "auto", "binary", ("no", "yes"), [0.0, 1.0, 0.0]),
        (["1", "-1", "1"], "auto", "binary", ("1", "-1"), [0.0, 1.0, 0.0]),  # the rarer one is 1
        (["1", "-1", "-1"], "auto", "binary", ("-1", "1"), [1.0, 0.0, 0.0]),
        (["10", "9", "2"], "auto", "multiclass", ("2", "9", "10"), [2, 1, 0]),
        (["b", "a", "1"], "auto", "multiclass", ("1", "a", "b"), [2, 1, 0]),
        (["no", "yes", "no"], "multiclass", "multiclass", ("no", "yes"), [0, 1, 0]),
        (["no", "yes", "no"], "multilabel", "multilabel", ("no", "yes"), [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        ([("a", "b"), (), ("b",)], "auto", "multilabel", ("a", "b"), [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]),
    ],
)
def test_target_is_inferred_or_given(labels, forced, target, names, expected):
    raw = features(lengths=(1, 2, 1), labels=labels)
    encoding = learn(raw, target=forced)
    assert (encoding.target, encoding.class_names) == (target, names)
    targets = encoding.encode(raw, "a.csv").targets
    assert targets.tolist() == expected
    assert targets.dtype == (torch.int64 if target == "multiclass" else torch.float32)


def test_label_names_without_sequences_are_kept():
    raw = features(lengths=(1, 1), labels=[("a",), ()], label_names=("b", "a"))
    encoding = learn(raw)
    assert encoding.num_outputs == 2
    assert encoding.encode(raw, "a.csv").targets.tolist() == [[0, 1], [0, 0]]


def test_unknown_targets_are_nan_or_minus_1():
    for labels in (["a", "b", "a"], ["a", "b", "c"], [("a",), ("b", "c"), ()]):
        raw = features(lengths=(1, 2, 1), labels=labels)
        encoding = learn(raw)
        raw.labels = None
        targets = encoding.encode(raw, "d.csv", labelled=False).targets
        assert targets.shape == ((3, 3) if encoding.target == "multilabel" else (3,))
        assert bool((targets.isnan() | (targets == -1)).all())


@pytest.mark.parametrize("labels", [["a"] * 5 + ["b"], ["a", "b", "c", "a", "a", "b"]])
def test_balanced_weights_equal_scikit_learns(labels):
    encoding = learn(features(labels=labels), class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    assert encoding.class_weights == pytest.approx(expected)


def test_balanced_weight_of_a_label_is_ratio_of_negatives_to_positives():
    encoding = learn(features(labels=[("a",), ("a", "b"), (), (), ("a",), ()]), class_weights="balanced")
    assert encoding.class_weights == pytest.approx((1.0, 5.0))


def test_class_weights_can_be_given():
    assert learn(features(), class_weights=[1, 2.5]).class_weights == (1.0, 2.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["a"] * 6}, "all sequences have the label 'a'; expected at least two classes"),
        ({"labels": [()] * 6}, "no sequence has any label"),
        ({"labels": ["a", "b", "c"] * 2, "target": "binary"}, "a binary target has two classes, got 3: a, b, c"),
        ({"labels": [("a",), ()] * 3, "target": "binary"}, "several labels each, so the target can't be 'binary'"),
        (
            {"lengths": [1] * 60, "labels": [f"{index}.5" for index in range(60)]},
            "60 different labels in 60 sequences, such as '0.5' and '1.5'; expected classes",
        ),
    ],
)
def test_unusable_labels_are_refused(change, message):
    target = change.pop("target", "auto")
    with pytest.raises(DataError, match=f"^a.csv: .*{message}"):
        learn(features(**change), target=target)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: features(size=2), "expected 3 features a time step, as in the training data; got 2 features"),
        (lambda: tokens(["a", "b"], ["no", "yes"]), "expected 3 features .*; got tokens"),
        (lambda: features(labels=["no"] * 5 + ["maybe"]), "sequence 5: label 'maybe' is unknown; .* 'no', 'yes'"),
        (lambda: features(labels=["no"] * 5 + [("no", "yes")]), r"sequence 5: expected one label, got \['no', 'yes'\]"),
    ],
)
def test_files_that_do_not_fit_the_training_data_are_refused(make, message):
    encoding = learn(features())
    with pytest.raises(DataError, match=f"^c.csv(:|,) {message}"):
        encoding.encode(make(), "c.csv")


def test_plain_form_round_trip():
    columns = Columns("id", None, ("label_a", "label_b"), ("x", "y", "z"))
    for encoding in (
        learn(features(columns=columns), class_weights="balanced"),
        learn(tokens(["ab", "c", "a", "a"])),
    ):
        plain = json.loads(json.dumps(encoding.to_plain()))
        assert SequenceEncoding.from_plain(plain) == encoding


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [1.0]},
        {"mean": ["a", "b", "c"]},
        {"mean": [None, None, None]},
        {"mean": [float("nan")] * 3},
        {"mean": None},
        {"scale": None},
        {"scale": [0.0, 1.0, 1.0]},
        {"scale": [1.0, -1.0, 1.0]},
        {"scale": [[1.0]] * 3},
        {"scale": [float("inf")] * 3},
        {"vocabulary": ["a"]},
        {"num_features": None},
        {"num_features": None, "mean": None, "scale": None, "vocabulary": ["a", "a"]},
        {"num_features": None, "mean": None, "scale": None, "vocabulary": [1, 2]},
        {"num_features": "3"},
        {"target": "other"},
        {"target": {"class_path": "os.system"}},
        {"class_names": None},
        {"class_names": ["a"]},
        {"class_names": ["a", "a"]},
        {"class_names": ["a", "b", "c"]},
        {"class_names": [["a"], ["b"]]},
        {"class_names": "ab"},
        {"class_weights": [1.0]},
        {"columns": {"id": 5}},
        {"columns": ["id"]},
        {"val_split": [0]},
    ],
    ids=str,
)
def test_invalid_plain_form_is_refused(change, folder_with_checkpoint):
    plain = {**learn(features()).to_plain(), **change}
    with pytest.raises(ValueError, match=r"."):
        SequenceEncoding.from_plain(plain)
    checkpoint = torch.load("best.ckpt", weights_only=True)
    checkpoint["seqlight"]["data"]["init_args"]["encoding"] = plain
    seqlight.SealedCheckpointIO().save_checkpoint(checkpoint, "edited.ckpt")
    with pytest.raises(seqlight.CheckpointError, match=r"edited.ckpt does not describe a model and its data: "):
        seqlight.load_data("edited.ckpt")


@pytest.fixture(scope="module")
def checkpoint_of_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    lines = [json.dumps({"inputs": [[row, 1.0, row % 3]], "label": row % 2}) for row in range(20)]
    (folder / "a.jsonl").write_text("\n".join(lines))
    data = SequenceFiles(folder / "a.jsonl")
    trainer = pl.Trainer(accelerator="cpu", max_steps=1, limit_val_batches=0, logger=False, enable_checkpointing=False)
    trainer.fit(SequenceClassifier(input_size=3), data)
    trainer.save_checkpoint(folder / "best.ckpt")
    return folder


@pytest.fixture
def folder_with_checkpoint(checkpoint_of_files, monkeypatch):
    monkeypatch.chdir(checkpoint_of_files)


@pytest.mark.parametrize("seed", ["2", "3"])
def test_order_of_classes_is_the_same_in_every_process(seed):
    """Sets have another order in each process, and NaN can't be ordered."""
    program = (
        "from seqlight.data.classes import _in_order; "
        "print(list(_in_order({'nan', 'b', '10', '9', 'inf', 'a', 'NaN'})))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "['9', '10', 'NaN', 'a', 'b', 'inf', 'nan']"


@pytest.mark.parametrize("constant", [0.1, 7.0, 1e6, 3.3e-9])
def test_constant_feature_stays_small(constant):
    raw = features(lengths=(900, 800), labels=("a", "b"))
    raw.values[:, 1] = constant
    encoded = learn(raw).encode(raw, "a.csv").values
    assert encoded[:, 1].abs().max() <= 1e-2 * max(constant, 1)


def test_balanced_weights_are_learnt_from_training_rows_only():
    labels = ["a", "a", "a", "b", "b", "b"]
    encoding = learn(features(labels=labels), rows=[0, 1, 2, 3], class_weights="balanced")
    assert encoding.class_weights == pytest.approx(
        compute_class_weight("balanced", classes=np.array(["a", "b"]), y=labels[:4])
    )


def test_compact_subset_holds_only_its_own_values():
    encoding = learn(tokens(["ab", "ba", "abc", "ab"]))
    sequences = encoding.encode(tokens(["abc", "a", "ba", "cab"]), "a")
    part = sequences.subset(torch.tensor([3, 1]))
    own = part.compact()
    assert own.values.tolist() == [3, 1, 2, 1]
    assert own.starts.tolist() == [0, 3]
    assert part.nbytes == own.nbytes == own.values.nbytes + own.targets.nbytes
    rows = torch.arange(2)
    assert torch.equal(part.take(rows, rows).inputs, own.take(rows, rows).inputs)
    assert sequences.compact() is sequences


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_stratified_split_takes_the_same_fraction_of_each_class(fraction):
    labels = ["a"] * 100 + ["b"] * 30 + ["c"] * 10 + [("a", "b")] * 1
    np.random.default_rng(0).shuffle(labels)
    kept, taken = stratified_split(labels, fraction, np.random.default_rng(1))
    assert sorted([*kept, *taken]) == list(range(len(labels)))
    assert list(taken) == sorted(taken)
    for label in set(labels):
        in_all = labels.count(label)
        in_part = sum(labels[row] == label for row in taken)
        assert in_part == (0 if in_all == 1 else round(fraction * in_all))
    more = list(stratified_split(labels, fraction, np.random.default_rng(1), fewest=2)[1])
    for label in set(labels):
        in_all = labels.count(label)
        assert sum(labels[row] == label for row in more) == min(max(round(fraction * in_all), 2), in_all - 1)
    again = stratified_split(labels, fraction, np.random.default_rng(2))[1]
    assert list(again) != list(taken)


def test_stratified_split_leaves_a_sequence_of_each_class():
    kept, taken = stratified_split(["a", "b", "b"], 0.99, np.random.default_rng(0))
    assert len(taken) == 1
    assert 0 in kept


def test_descriptions():
    raw = features()
    encoding = learn(raw)
    assert describe(encoding.encode(raw, "a"), encoding) == "6 sequences of 1 to 5 steps (median 2); no 3, yes 3"
    assert describe_encoding(encoding) == "inputs: 3 features, standardised; target: binary, 'no' is 0 and 'yes' is 1"
    raw = tokens(["ab", "bc", "cd", "ac"], ["1", "2", "3", "3"])
    encoding = learn(raw)
    assert describe_encoding(encoding) == "inputs: tokens, a vocabulary of 4; target: multiclass, 3 classes"
    unlabelled = encoding.encode(raw, "a", labelled=False)
    assert describe(unlabelled, encoding) == "4 sequences of 2 steps"
    raw = features(lengths=(1,) * 40, labels=[str(row % 20) for row in range(39)] + ["0"])
    encoding = learn(raw)
    assert describe(encoding.encode(raw, "a"), encoding).endswith("; 20 classes of 1 to 3 sequences")


def test_sequences_in_two_splits_are_counted():
    encoding = learn(tokens(["ab", "ba", "abc", "ab"]))
    splits = {
        name: encoding.encode(tokens(texts, ["no"] * len(texts)), name)
        for name, texts in {
            "train": ["ab", "ba", "abc"],
            "val": ["ab", "b", "ab", "a?"],
            "test": ["abc", "b", "a?"],
        }.items()
    }
    assert overlaps(splits) == [
        "2 of 4 sequences in val are also in train",
        "1 of 3 sequences in test are also in train",
        "2 of 3 sequences in test are also in val",
    ]


@pytest.mark.parametrize("size", [None, 3])
def test_taken_rows_are_padded_to_their_longest(size):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 20)
    shape = (lengths.sum(),) if size is None else (lengths.sum(), size)
    values = torch.from_numpy(rng.integers(1, 9, shape).astype(np.int32))
    values = values if size is None else values.float()
    starts = torch.from_numpy(np.cumsum(lengths) - lengths)
    sequences = Sequences(values, starts, torch.from_numpy(lengths), torch.arange(20.0))
    parts = values.split(lengths.tolist())
    for rows in ([3], [0, 19, 7], list(range(20))):
        index = torch.tensor(rows)
        for source, offset in ((sequences, 0), (sequences.subset(torch.arange(20).flip(0)), 19)):
            batch = source.take((offset - index).abs(), (offset - index).abs())
            expected = torch.nn.utils.rnn.pad_sequence([parts[row] for row in rows], batch_first=True)
            assert torch.equal(batch.inputs, expected.long() if size is None else expected)
            assert batch.lengths.tolist() == lengths[rows].tolist()
            assert batch.targets.tolist() == rows
