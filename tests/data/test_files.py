import json

import numpy as np
import pandas as pd
import pytest
import torch

import seqlight
from seqlight import DataError, SequenceFiles


def write_table(path, num_sequences=40, seed=0, labels=("cat", "dog"), size=2, **changes):
    """Write sequences of 1 to 6 steps in long form, and return the frame."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, num_sequences)
    rows = np.repeat(np.arange(num_sequences), lengths)
    frame = pd.DataFrame({"id": [f"s{row}" for row in rows], "t": np.concatenate([np.arange(n) for n in lengths])})
    for column in range(size):
        frame[f"x{column}"] = rng.normal(3, 2, len(rows)).astype(np.float32)
    frame["label"] = [labels[row % len(labels)] for row in rows]
    frame = frame.assign(**changes)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return frame


def write_lines(path, lines):
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def each(data, split):
    """Inputs and target of each sample of a split, by sequence id."""
    batch = next(iter(seqlight.SequenceLoader(data.split(split), 10_000)))
    rows = zip(data.sample_ids(split), batch.inputs, batch.lengths, batch.targets, strict=True)
    return {name: (inputs[:length], target.item()) for name, inputs, length, target in rows}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_splits_hold_the_files_contents(suffix, folder):
    path = folder / f"a{suffix}"
    frame = write_table(path)
    data = SequenceFiles(train=path, val_fraction=0.25)
    assert (data.input_size, data.vocab_size, data.target, data.num_outputs) == (2, None, "binary", 1)
    assert data.class_names == ("cat", "dog")
    train, val = each(data, "train"), each(data, "val")
    assert (len(train), len(val)) == (30, 10)
    assert {target for _, target in val.values()} == {0.0, 1.0}
    part = frame[frame.id.isin(train)][["x0", "x1"]].to_numpy(np.float64)
    for name, (inputs, target) in {**train, **val}.items():
        rows = frame[frame.id == name]
        expected = (rows[["x0", "x1"]].to_numpy(np.float64) - part.mean(0)) / part.std(0)
        np.testing.assert_allclose(inputs, expected, rtol=1e-4, atol=1e-5)
        assert target == float(rows.label.iloc[0] == "dog")


def test_validation_split_of_the_training_file_depends_on_the_seed(folder):
    write_table(folder / "a.csv")
    parts = [set(SequenceFiles(train="a.csv", seed=seed).sample_ids("val")) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_each_split_can_have_a_file(folder):
    for seed, name in enumerate("abcd"):
        write_table(folder / f"{name}.csv", 12 + seed, seed)
    data = SequenceFiles("a.csv", "b.csv", "c.csv", "d.csv")
    assert [len(data.sample_ids(split)) for split in ("train", "val", "test", "predict")] == [12, 13, 14, 15]
    assert bool(data.split("predict").targets.isnan().all())
    assert data.name == "a"


def test_splits_can_have_different_formats(folder):
    frame = write_table(folder / "a.csv")
    groups = frame.groupby("id", sort=False)
    lines = [{"id": name, "inputs": rows[["x0", "x1"]].values.tolist()} for name, rows in groups]
    write_lines(folder / "d.jsonl", lines)
    data = SequenceFiles("a.csv", "a.csv", predict="d.jsonl")
    train, predict = each(data, "train"), each(data, "predict")
    assert list(train) == list(predict)
    for name in train:
        torch.testing.assert_close(train[name][0], predict[name][0])


def test_feature_columns_are_sorted_as_in_training(folder):
    frame = write_table(folder / "a.csv")
    frame[["x1", "label", "id", "x0", "t"]].to_csv("b.csv", index=False)
    data = SequenceFiles("a.csv", "b.csv", "a.csv")
    for name, (inputs, _) in each(data, "test").items():
        assert torch.equal(inputs, each(data, "val")[name][0])


def test_feature_columns_can_be_chosen(folder):
    write_table(folder / "a.csv", size=3, note="text")
    write_table(folder / "b.csv", size=3)
    data = SequenceFiles("a.csv", "b.csv", feature_columns=["x2", "x0"])
    assert data.input_size == 2
    assert data.encoding.columns.features == ("x2", "x0")
    assert data.split("val").values.shape[1] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x2": 1.0}, "c.csv: feature columns differ from training: 'x2' not in the training data"),
        ({"x1": None}, "c.csv: feature columns differ from training: 'x1' missing"),
        ({"x1": None, "z": 2.0}, "c.csv: .*: 'x1' missing, 'z' not in the training data"),
        ({"label": "cow"}, "c.csv, sequence 's0': label 'cow' is unknown; the training data have 'cat', 'dog'"),
        ({"t": None}, "c.csv: .*'t'"),
        ({"id": None}, "c.csv: .*'id'"),
        ({"label": None}, "c.csv: .*'label'"),
    ],
)
def test_file_that_does_not_fit_the_training_file_is_refused(change, message, folder):
    frame = write_table(folder / "a.csv")
    frame = frame.assign(**change).drop(columns=[name for name, value in change.items() if value is None])
    frame.to_csv("c.csv", index=False)
    data = SequenceFiles("a.csv", test="c.csv")
    with pytest.raises(DataError, match=f"^{message}"):
        data.split("test")


@pytest.mark.parametrize("columns", [["t", "x0", "id", "x1"], ["t", "x0", "id", "x1", "label"]])
def test_predict_file_needs_no_labels(columns, folder):
    frame = write_table(folder / "a.csv")
    frame.assign(label="what").to_csv("d.csv", index=False, columns=columns)
    data = SequenceFiles("a.csv", predict="d.csv")
    assert data.sample_ids("predict") == list(dict.fromkeys(frame.id))


def test_token_sequences(folder):
    texts = ["abca", "bb", "cab", "acc", "bca", "cc"] * 3
    lines = [{"inputs": list(text), "label": text.count("a")} for text in texts]
    write_lines(folder / "a.jsonl", lines)
    write_lines(folder / "c.jsonl", [{"inputs": ["a", "?", "c"], "label": 1}, {"inputs": ["b"], "label": 0}])
    data = SequenceFiles("a.jsonl", test="c.jsonl")
    assert (data.input_size, data.vocab_size, data.target, data.num_outputs) == (None, 4, "multiclass", 3)
    assert data.class_names == ("0", "1", "2")
    names = ("<unknown>", *data.encoding.vocabulary)
    for row, (inputs, target) in each(data, "train").items():
        assert "".join(names[token] for token in inputs) == texts[row]
        assert target == texts[row].count("a")
    assert [names[token] for token in each(data, "test")[0][0]] == ["a", "<unknown>", "c"]
    assert "c.jsonl: 1 of 4 tokens are not in the training data" in data.report(["train", "val", "test"])


def test_report_describes_splits_and_guesses(folder):
    write_table(folder / "a.csv")
    write_table(folder / "c.csv", seed=3)
    report = SequenceFiles("a.csv", test="c.csv").report(["train", "val", "test"])
    lines = report.splitlines()
    assert lines[0].startswith("train   a.csv: 32 sequences of 1 to 6 steps (median ")
    assert lines[0].endswith("; cat 16, dog 16")
    assert lines[1].startswith("val     taken from a.csv: 8 sequences of ")
    assert lines[2].startswith("test    c.csv: 40 sequences of ")
    for guess in ("'id'", "'t'", "'label'", "'x0'", "'x1'"):
        assert guess in lines[3]
    assert lines[4] == "inputs: 2 features, standardised; target: binary, 'cat' is 0 and 'dog' is 1"


def test_new_column_name_overrides_the_encoding(folder):
    frame = write_table(folder / "a.csv")
    frame.assign(truth=frame.label.map({"cat": "dog", "dog": "cat"})).to_csv("c.csv", index=False)
    arguments = seqlight.common.description.to_plain(dict(SequenceFiles("a.csv", feature_columns=["x0", "x1"]).hparams))
    flipped = SequenceFiles(**{**arguments, "test": "c.csv", "label_column": "truth"})
    assert (
        flipped.split("test").targets.tolist()
        == (1 - SequenceFiles(**{**arguments, "test": "a.csv"}).split("test").targets).tolist()
    )


def test_report_compares_test_file_with_training_file(folder):
    frame = write_table(folder / "a.csv", 30)
    frame[frame.id.isin(["s3", "s4"])].to_csv("c.csv", index=False)
    arguments = seqlight.common.description.to_plain(dict(SequenceFiles("a.csv", val="a.csv").hparams))
    tested = {**arguments, "test": "c.csv"}
    lines = SequenceFiles(**tested).report(["test"]).splitlines()
    assert "2 of 2 sequences in test are also in train" in lines
    assert sum(line.startswith(("train", "val")) for line in lines) == 0
    (folder / "a.csv").unlink()
    [line] = [line for line in SequenceFiles(**tested).report(["test"]).splitlines() if "compared" in line]
    assert line.startswith("not compared with the training data: a.csv: there is no such file")


def test_sequences_in_two_files_are_reported(folder):
    frame = write_table(folder / "a.csv", 10)
    pd.concat([write_table(folder / "c.csv", 7, seed=1), frame[frame.id == "s3"].assign(id="copy")]).to_csv(
        "c.csv", index=False
    )
    report = SequenceFiles("a.csv", val="c.csv").report(["train", "val"])
    assert report.splitlines()[-1] == "1 of 8 sequences in val are also in train"


def test_encoding_is_restored_from_plain_hyperparameters(folder):
    for name, seed in (("a", 0), ("c", 1)):
        write_table(folder / f"{name}.csv", seed=seed)
    learnt = SequenceFiles("a.csv", test="c.csv", class_weights="balanced", id_column="id")
    arguments = json.loads(json.dumps(seqlight.common.description.to_plain(dict(learnt.hparams))))
    (folder / "a.csv").unlink()  # it is no longer needed
    again = SequenceFiles(**arguments)
    assert again.encoding == learnt.encoding
    assert again.class_weights == learnt.class_weights == (1.0, 1.0)
    for name, (inputs, target) in each(again, "test").items():
        assert torch.equal(inputs, each(learnt, "test")[name][0])
        assert target == each(learnt, "test")[name][1]
    with pytest.raises(DataError, match=r"a\.csv"):
        again.split("train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "multiclass"}, "target can't change after training, got 'multiclass'"),
        ({"inputs": "tokens"}, "inputs can't change after training, got 'tokens'"),
        ({"standardise": False}, "standardise can't change after training, got False"),
        ({"class_weights": "balanced"}, "class_weights can't change after training, got 'balanced'"),
        ({"positive_class": "cat"}, "positive_class can't change after training, got 'cat'"),
        ({"class_weights": [1.0, 2.0]}, r"class_weights can't change after training, got \[1.0, 2.0\]"),
        ({"seed": 1}, "seed and val_fraction can't change after training, .*: expected 0 and 0.2"),
        ({"val_fraction": 0.5}, "seed and val_fraction can't change after training, .*: expected 0 and 0.2"),
        ({"val_fraction": 1.0}, "val_fraction must be between 0 and 1, got 1.0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_arguments_that_contradict_the_encoding_are_refused(change, message, folder):
    write_table(folder / "a.csv")
    arguments = seqlight.common.description.to_plain(dict(SequenceFiles("a.csv").hparams))
    with pytest.raises(ValueError, match=f"^{message}$"):
        SequenceFiles(**{**arguments, **change})


def test_training_file_or_encoding_is_required():
    with pytest.raises(ValueError, match=r"^train: expected a file to learn from$"):
        SequenceFiles(predict="d.csv")


@pytest.mark.parametrize("split", ["test", "predict"])
def test_split_without_a_file_is_refused(split, folder):
    write_table(folder / "a.csv")
    with pytest.raises(DataError, match=f'there is no {split} file: expected `{split}="FILE"`'):
        SequenceFiles("a.csv").split(split)


def test_too_few_sequences_for_a_validation_split(folder):
    write_table(folder / "a.csv", 4, labels=("a", "b", "c", "d"))
    with pytest.raises(DataError, match=r'a\.csv: 4 sequences are too few to take .* from: give `val="FILE"`$'):
        SequenceFiles("a.csv", val_fraction=0.1)


def test_larger_fraction_is_advised_where_it_helps(folder):
    write_lines(folder / "a.jsonl", [{"inputs": [[0.5 * row]], "label": ["u", "v"][: row % 3]} for row in range(12)])
    with pytest.raises(DataError, match=r"a\.jsonl: 12 .* or a larger fraction such as `val_fraction=0.5`$"):
        SequenceFiles("a.jsonl", val_fraction=0.1)
    assert len(SequenceFiles("a.jsonl", val_fraction=0.5).sample_ids("val")) == 6


def test_sequences_in_memory_are_encoded_like_files(folder):
    frame = write_table(folder / "a.csv")
    data = SequenceFiles("a.csv")
    groups = [rows[["x0", "x1"]].to_numpy() for _, rows in frame.groupby("id", sort=False)]
    batch = data.encode([groups[3], groups[8].tolist()])
    assert batch.lengths.tolist() == [len(groups[3]), len(groups[8])]
    assert bool(batch.targets.isnan().all())
    expected = {**each(data, "train"), **each(data, "val")}
    for row, name in enumerate(("s3", "s8")):
        torch.testing.assert_close(batch.inputs[row, : batch.lengths[row]], expected[name][0], rtol=0, atol=1e-6)


def test_tokens_in_memory(folder):
    write_lines(folder / "a.jsonl", [{"inputs": list("abc"), "label": row % 2} for row in range(20)])
    batch = SequenceFiles("a.jsonl").encode(["cab", ["b"], "?c"])
    assert batch.inputs.tolist() == [[3, 1, 2], [2, 0, 0], [0, 3, 0]]
    assert batch.lengths.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([[[1.0, 2.0]], []], "sequence 1: expected at least one time step"),
        ([[[1.0, 2.0]], [[1.0]]], "sequence 1: expected 2 features, as in earlier sequences, got 1"),
        ([[[1.0, 2.0, 3.0]]], "sequences: expected 2 features a time step, as in the training data; got 3 features"),
        ([[[1.0, float("nan")]]], "sequence 0, step 1, feature 2: expected a finite number"),
        ([], "sequences: expected sequences, got none"),
    ],
)
def test_sequences_in_memory_that_do_not_fit_are_refused(sequences, message, folder):
    write_table(folder / "a.csv")
    with pytest.raises(DataError, match=f"^{message}"):
        SequenceFiles("a.csv").encode(sequences)


@pytest.mark.parametrize("tokens", [torch.tensor([1, 3]), np.array([1, 3]), ["1", "3"], [1, 3]])
def test_tokens_in_memory_of_every_type(tokens, folder):
    write_lines(folder / "a.jsonl", [{"inputs": [1, 2, 3], "label": row % 2} for row in range(20)])
    assert SequenceFiles("a.jsonl").encode([tokens]).inputs.tolist() == [[1, 3]]


def test_decimals_as_tokens_are_refused(folder):
    write_lines(folder / "a.jsonl", [{"inputs": [1, 2, 3], "label": row % 2} for row in range(20)])
    with pytest.raises(DataError, match=r"^sequence 0: expected tokens, text or integers, got 1\.5$"):
        SequenceFiles("a.jsonl").encode([np.array([1.5, 2.0])])


def test_unknown_tokens_of_a_validation_split_are_counted(folder):
    write_lines(folder / "a.jsonl", [{"inputs": [f"t{row}", "a"], "label": row % 2} for row in range(20)])
    lines = SequenceFiles("a.jsonl").report(["train", "val"]).splitlines()
    assert "taken from a.jsonl: 4 of 8 tokens are not in the training data" in lines


def test_only_column_that_ends_in_id_is_the_sequence_id(folder):
    write_table(folder / "a.csv").rename(columns={"id": "Patient_ID", "label": "outcome"}).to_csv("a.csv", index=False)
    columns = SequenceFiles("a.csv").encoding.columns
    assert (columns.id, columns.label) == ("Patient_ID", "outcome")


def test_table_with_one_row_per_sequence_is_reported(folder):
    pd.DataFrame({"id": range(20), "t0": 1.5, "t1": range(20), "label": [0, 1] * 10}).to_csv("a.csv", index=False)
    assert "every sequence has a single time step" in SequenceFiles("a.csv").report(["train", "val"])


def test_multilabel_with_one_label_per_sequence_can_be_classes(folder):
    np.savez("a.npz", inputs=np.ones((30, 4, 2)) * np.arange(30)[:, None, None], targets=np.eye(3)[np.arange(30) % 3])
    labels = SequenceFiles("a.npz")
    assert labels.target == "multilabel"
    assert 'if labels are classes, `target="multiclass"`' in labels.report(["train"])
    classes = SequenceFiles("a.npz", target="multiclass")
    assert (classes.target, classes.class_names) == ("multiclass", ("0", "1", "2"))
    assert each(classes, "train").keys() == each_row(labels)
    for row, (_, target) in each(classes, "train").items():
        assert target == row % 3


def each_row(data):
    return dict.fromkeys(data.sample_ids("train")).keys()


def test_file_without_known_tokens_is_refused(folder):
    write_lines(folder / "a.jsonl", [{"inputs": list("abc"), "label": row % 2} for row in range(20)])
    write_lines(folder / "d.jsonl", [{"inputs": ["x", "y"]}])
    with pytest.raises(DataError, match=r"^d\.jsonl: none of the tokens is in the training data$"):
        SequenceFiles("a.jsonl", predict="d.jsonl").split("predict")


def test_class_name_with_a_comma_is_quoted_in_the_report(folder):
    write_table(folder / "a.csv", labels=("cat", "a, b"))
    assert "; 'a, b' 16, cat 16" in SequenceFiles("a.csv").report(["train"])


def test_constant_feature_is_reported(folder):
    write_table(folder / "a.csv", x1=1600000000.0)
    assert "constant feature: 'x1'" in SequenceFiles("a.csv").report(["train"])


def test_feature_far_from_its_training_range_is_refused(folder):
    write_lines(folder / "a.jsonl", [{"inputs": [[1e-30 * row]], "label": row % 2} for row in range(20)])
    write_lines(folder / "d.jsonl", [{"inputs": [[1e30]]}])
    with pytest.raises(DataError, match=r"^d\.jsonl: a feature is so far from its range in training"):
        SequenceFiles("a.jsonl", predict="d.jsonl").split("predict")


@pytest.mark.parametrize("columns", [{"id_column": []}, {"label_column": []}, {"feature_columns": []}])
def test_empty_list_of_columns_is_refused(columns, folder):
    write_table(folder / "a.csv")
    with pytest.raises(
        ValueError, match=r"^id_column, label_column and feature_columns must name columns, got an empty list$"
    ):
        SequenceFiles("a.csv", **columns)


def test_number_of_400_digits_is_refused(folder):
    (folder / "a.jsonl").write_text('{"inputs": [1.5, ' + "9" * 400 + '], "label": "a"}')
    with pytest.raises(DataError, match=r"^a\.jsonl: "):
        SequenceFiles("a.jsonl")


def test_empty_text_as_token_is_refused(folder):
    np.savez("a.npz", inputs=np.array([["a", "b", ""], ["c", "b", "a"]] * 5), targets=np.arange(10) % 2)
    with pytest.raises(DataError, match=r"^a\.npz: inputs, sequence 0, step 3: expected a token, got empty text"):
        SequenceFiles("a.npz")


def test_id_equal_to_a_sequence_index_is_refused(folder):
    write_lines(folder / "a.jsonl", [{"id": "1", "inputs": [1.5], "label": 0}, {"inputs": [1.5], "label": 1}])
    with pytest.raises(DataError, match=r"^a\.jsonl: line 2: expected distinct ids, got '1'"):
        SequenceFiles("a.jsonl")


def test_longest_trained_sequence_is_in_the_checkpoint(folder):
    """The test's accuracy by length is cut there."""
    train, test = write_table(folder / "a.csv"), write_table(folder / "c.csv", 50, seed=1)
    train = train[train.t < 3]
    train.to_csv("a.csv", index=False)
    data = SequenceFiles("a.csv", val_fraction=0.5)
    longest = train[train.id.isin(data.sample_ids("train"))].groupby("id").size().max()
    assert longest == data.longest_trained() < test.groupby("id").size().max()
    arguments = json.loads(json.dumps(seqlight.common.description.to_plain(dict(data.hparams))))
    (folder / "a.csv").unlink()
    assert SequenceFiles(**{**arguments, "test": "c.csv"}).longest_trained() == longest


def test_rare_class_is_in_validation(folder):
    """Two of 100 sequences, of which a fifth is none."""
    frame = write_table(folder / "a.csv", 100)
    frame["label"] = np.where(frame.id.isin(["s3", "s77"]), "fault", "ok")
    frame.to_csv("a.csv", index=False)
    for seed in range(5):
        data = SequenceFiles("a.csv", seed=seed)
        for split, size in (("train", 80), ("val", 20)):
            assert len({"s3", "s77"} & set(data.sample_ids(split))) == 1
            assert abs(len(data.sample_ids(split)) - size) <= 1
        assert "no sequence of class" not in data.report(["train", "val"])


def test_class_that_validation_lacks_is_reported(folder):
    frame = write_table(folder / "a.csv", 60, labels=("a", "b", "c"))
    frame.loc[frame.id == "s59", "label"] = "d, e"
    frame.to_csv("a.csv", index=False)
    lines = SequenceFiles("a.csv").report(["train", "val"]).splitlines()
    assert "val has no sequence of class 'd, e': its metrics say nothing about it" in lines


def test_validation_sequences_of_an_earlier_version_stay_the_same(folder):
    """Version 0.1.0 took no validation sequence from a class with two."""
    frame = write_table(folder / "a.csv", 100)
    frame["label"] = np.where(frame.id.isin(["s3", "s77"]), "fault", "ok")
    frame.to_csv("a.csv", index=False)
    arguments = seqlight.common.description.to_plain(dict(SequenceFiles("a.csv").hparams))
    assert arguments["encoding"]["val_split"]["fewest"] == 1
    arguments["encoding"]["val_split"] = [0, 0.2]
    data = SequenceFiles(**json.loads(json.dumps(arguments)))
    assert len(data.sample_ids("val")) == 20
    assert {"s3", "s77"} <= set(data.sample_ids("train"))
    with pytest.raises(ValueError, match=r"seed and val_fraction can't change after training, .*: expected 0 and 0.2"):
        SequenceFiles(**{**arguments, "seed": 1})


@pytest.mark.parametrize(
    ("labels", "positive_class", "expected"),
    [
        (("cat", "dog"), None, "dog"),  # as many of both: the second in order
        (("cat", "dog"), "cat", "cat"),
        (("cat", "dog", "dog"), None, "cat"),
        (("cat", "cat", "dog"), None, "dog"),
        (("cat", "cat", "dog"), "cat", "cat"),
        (("0", "1", "1"), "1.0", "1"),
        (("1", "0", "1"), None, "1"),  # not the rarer one: 1 is true
        (("True", "False", "True"), "False", "False"),
    ],
)
def test_positive_class_is_chosen_or_the_rarer_one(folder, labels, positive_class, expected):
    frame = write_table(folder / "a.csv", 42, labels=labels)
    data = SequenceFiles("a.csv", positive_class=positive_class)
    assert data.class_names[1] == expected
    truth = frame.groupby("id", sort=False).label.first()
    for name, (_, target) in {**each(data, "train"), **each(data, "val")}.items():
        assert target == float(truth[name] == expected)
    lines = data.report(["train", "val"])
    assert f"target: binary, '{data.class_names[0]}' is 0 and '{expected}' is 1" in lines
    is_rarer = list(labels).count(expected) * 2 < len(labels)
    assert (f"F1 and AUROC are about '{expected}', the rarer class; about the other: " in lines) == is_rarer
    assert not is_rarer or f"`positive_class='{data.class_names[0]}'`" in lines
    arguments = seqlight.common.description.to_plain(dict(data.hparams))
    assert SequenceFiles(**json.loads(json.dumps(arguments))).class_names == data.class_names


@pytest.mark.parametrize(
    ("labels", "positive_class", "message"),
    [
        (("cat", "dog"), "dgo", "a.csv: expected one of the classes 'cat' and 'dog' as positive_class, got 'dgo'"),
        (
            ("a", "b", "c"),
            "b",
            "a.csv: expected two classes for `positive_class='b'`, got a multiclass target, 3 classes",
        ),
    ],
)
def test_positive_class_that_does_not_exist_is_refused(folder, labels, positive_class, message):
    write_table(folder / "a.csv", labels=labels)
    with pytest.raises(DataError, match=f"^{message}$"):
        SequenceFiles("a.csv", positive_class=positive_class)


def test_weights_of_classes_are_reported_by_name(folder):
    """Their order is that of the classes, and the rarer one is last."""
    write_table(folder / "a.csv", labels=("cat", "dog", "dog"))
    data = SequenceFiles("a.csv", class_weights=[1, 2.5])
    assert "'dog' is 0 and 'cat' is 1; weights: dog 1, cat 2.5" in data.report(["train"])
