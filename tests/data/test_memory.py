"""Sequences in memory, compared with the same sequences in files, and their checkpoints."""

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch

import seqlight
from seqlight import DataError, GRUCell, SequenceArrays, SequenceClassifier, SequenceFiles, SequenceFrames
from seqlight.common.description import to_plain
from seqlight.common.unused import UnusedArgumentWarning
from tests.conftest import seqlight_run

NAMES = ["cat", "dog", "cow"]


def sequences(size=30, seed=0, features=2):
    """Arrays of 1 to 8 steps, and their labels."""
    rng = np.random.default_rng(seed)
    return [rng.normal(3, 2, (rng.integers(1, 9), features)) for _ in range(size)], [
        NAMES[row % 3] for row in range(size)
    ]


def frame_of(inputs, labels):
    """The same in long form."""
    lengths = [len(sequence) for sequence in inputs]
    frame = pd.DataFrame(np.concatenate(inputs), columns=[f"x{column}" for column in range(inputs[0].shape[1])])
    rows = np.repeat(np.arange(len(inputs)), lengths)
    return frame.assign(id=[f"s{row}" for row in rows], label=np.asarray(labels)[rows])


def equal(data, other, split):
    one, two = data.split(split), other.split(split)
    torch.testing.assert_close(one.values, two.values)
    assert torch.equal(one.lengths, two.lengths)
    torch.testing.assert_close(one.targets, two.targets, equal_nan=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Checkpoints of a model that was trained on a file, a frame and arrays."""
    folder = tmp_path_factory.mktemp("trained")
    inputs, labels = sequences()
    frame_of(inputs, labels).to_csv(folder / "a.csv", index=False)
    made = {
        "files": SequenceFiles(folder / "a.csv"),
        "frames": SequenceFrames(frame_of(inputs, labels)),
        "arrays": SequenceArrays(inputs, labels),
    }
    for name, data in made.items():
        torch.manual_seed(0)
        model = SequenceClassifier(GRUCell, input_size=2, target="multiclass", num_outputs=3)
        trainer = pl.Trainer(
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
        )
        trainer.fit(model, data)
        trainer.save_checkpoint(folder / f"{name}.ckpt")
    return folder


def test_arrays_frames_and_files_give_the_same(folder):
    inputs, labels = sequences()
    frame = frame_of(inputs, labels)
    frame.to_csv("a.csv", index=False)
    test_inputs, test_labels = sequences(12, seed=1)
    test_frame = frame_of(test_inputs, test_labels)
    test_frame.to_csv("c.csv", index=False)
    files = SequenceFiles("a.csv", test="c.csv", predict="c.csv", class_weights="balanced", seed=3)
    frames = SequenceFrames(frame, test=test_frame, predict=test_frame, class_weights="balanced", seed=3)
    ids = [f"s{row}" for row in range(30)]
    arrays = SequenceArrays(
        inputs,
        labels,
        ids,
        test={"inputs": test_inputs, "labels": test_labels, "ids": ids[:12]},
        predict={"inputs": test_inputs, "ids": ids[:12]},
        class_weights="balanced",
        seed=3,
    )
    for data in (frames, arrays):
        for split in ("train", "val", "test", "predict"):
            equal(data, files, split)
            assert list(data.sample_ids(split)) == list(files.sample_ids(split))
        for name in ("input_size", "vocab_size", "target", "num_outputs", "class_names"):
            assert getattr(data, name) == getattr(files, name)
        torch.testing.assert_close(data.class_weights, files.class_weights)
    splits = ["train", "val", "test"]
    assert frames.report(splits).replace(" frame", ".csv") == (
        files.report(splits).replace("a.csv", "train.csv").replace("c.csv", "test.csv")
    )
    counts = [line.partition(": ")[2] for line in files.report(splits).splitlines()[:3]]
    assert [line.partition(": ")[2] for line in arrays.report(splits).splitlines()[:3]] == counts


def test_padded_arrays_and_splits_of_their_own():
    inputs = torch.arange(24.0).reshape(4, 3, 2)
    lengths, labels = [3, 1, 2, 3], ["u", "v", "v", "u"]
    val = {"inputs": inputs, "labels": labels, "lengths": lengths}
    data = SequenceArrays(inputs, labels, lengths=lengths, val=val, test=(inputs, labels), standardise=False)
    batch = next(iter(data.val_dataloader()))
    expected = inputs * (torch.arange(3)[:, None] < torch.tensor(lengths)[:, None, None])
    assert torch.equal(batch.inputs, expected)
    assert batch.lengths.tolist() == lengths
    assert batch.targets.tolist() == [0, 1, 1, 0]
    assert data.split("test").lengths.tolist() == [3] * 4
    assert list(data.sample_ids("val")) == [0, 1, 2, 3]
    equal(data, SequenceArrays(inputs, labels, lengths=lengths, val=val, standardise=False), "train")


def test_tokens_and_several_labels():
    texts = ["abca", "bb", "cab", "acc", "bca", "cc"] * 3
    data = SequenceArrays([list(text) for text in texts], [[*set(text)] for text in texts], predict=[["a", "?"]])
    assert (data.vocab_size, data.target, data.class_names) == (4, "multilabel", ("a", "b", "c"))
    vocabulary = ("?", *data.encoding.vocabulary)
    train = data.split("train")
    for row, start, length in zip(data.sample_ids("train"), train.starts, train.lengths, strict=True):
        assert "".join(vocabulary[token] for token in train.values[start : start + length]) == texts[row]
    assert [vocabulary[token] for token in data.split("predict").values] == ["a", "?"]
    batch = data.encode([["b"], ["a", "b"]])
    assert [[vocabulary[token] for token in row] for row in batch.inputs] == [["b", "?"], ["a", "b"]]


@pytest.mark.parametrize("seed", [0, 1])
def test_groups_are_not_divided(seed):
    inputs, labels = sequences(60)
    groups = np.arange(60) // 6
    data = SequenceArrays(inputs, labels, groups=groups, seed=seed)
    train, val = ({groups[row] for row in data.sample_ids(split)} for split in ("train", "val"))
    assert train | val == set(range(10))
    assert (len(train), len(val)) == (8, 2)
    assert "taken from train arrays, 2 of 10 values of 'groups'" in data.report(["train", "val"])


def test_groups_that_can_not_be_divided_are_refused():
    inputs, labels = sequences()
    with pytest.raises(DataError, match="expected at least 2 groups in 'groups', got 1"):
        SequenceArrays(inputs, labels, groups=["one"] * 30)


def test_groups_are_needed_again_to_find_the_validation_sequences():
    inputs, labels = sequences(60)
    groups = np.arange(60) // 6
    data = SequenceArrays(inputs, labels, groups=groups)
    again = SequenceArrays(inputs, labels, groups=groups, encoding=data.encoding.to_plain())
    assert list(again.sample_ids("val")) == list(data.sample_ids("val"))
    with pytest.raises(ValueError, match=r"groups can't change after training, .*: expected some, got none"):
        SequenceArrays(inputs, labels, encoding=data.encoding.to_plain())
    data = SequenceArrays(inputs, labels)
    with pytest.raises(ValueError, match=r"groups can't change after training, .*: expected none, got some"):
        SequenceArrays(inputs, labels, groups=groups, encoding=data.encoding.to_plain())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, r"inputs: expected sequences to learn from, as SequenceArrays\(inputs, labels\)"),
        ({"labels": [1]}, ValueError, "inputs: expected sequences to learn from"),
        ({"inputs": [[1.0]] * 4}, DataError, "train arrays: expected a label for each sequence, got none"),
        ({"val": [[1.0]]}, TypeError, r"val: expected a pair \(inputs, labels\), or a dict .*, got a list"),
        ({"val": ([[1.0]], [1], [1])}, TypeError, "val: expected a pair .*, got 3 values"),
        (
            {"test": {"input": 1}},
            ValueError,
            "test: expected a dict with inputs, labels, lengths, ids, times, got the key 'input'",
        ),
        ({"test": {"labels": 1}}, ValueError, "test: expected a dict with inputs, got 'labels'"),
        ({"predict": {"groups": 1}}, ValueError, "predict: expected a dict with .*, got the key 'groups'"),
        ({"groups": [1] * 30, "val": ([[1.0]], [1])}, ValueError, "groups: expected none with `val`"),
        ({"val_fraction": 1}, ValueError, "val_fraction must be between 0 and 1, got 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    if "inputs" not in arguments and arguments.keys() - {"labels"}:
        arguments = dict(zip(("inputs", "labels"), sequences(), strict=True)) | arguments
    with pytest.raises(error, match=f"^{message}"):
        SequenceArrays(**arguments)


def test_arguments_without_effect():
    inputs, labels = sequences()
    with pytest.warns(UnusedArgumentWarning, match="`val_fraction=0.5` has no effect if `val` is given"):
        SequenceArrays(inputs, labels, val=(inputs, labels), val_fraction=0.5)


def test_test_sequences_must_fit_the_training_data():
    inputs, labels = sequences()
    data = SequenceArrays(inputs, labels, test=(inputs, ["pig"] * 30), predict=sequences(features=3)[0])
    with pytest.raises(
        DataError, match=r"^test arrays, sequence 0: label 'pig' is unknown; the training data have 'cat'"
    ):
        data.split("test")
    with pytest.raises(DataError, match=r"^predict arrays: expected 2 features a time step, .*; got 3 features"):
        data.split("predict")
    with pytest.raises(DataError, match=r"^there is no train frame: expected `train=frame`"):
        SequenceFrames(encoding=data.encoding.to_plain()).split("train")


@pytest.mark.parametrize("name", ["frames", "arrays"])
def test_checkpoint_holds_the_encoding_and_not_the_data(trained, name):
    inputs, labels = sequences()
    frame = frame_of(inputs, labels)
    contents = torch.load(trained / f"{name}.ckpt", weights_only=True)
    arguments = contents["datamodule_hyper_parameters"]
    assert to_plain(dict(arguments)) == contents["seqlight"]["data"]["init_args"]
    assert arguments.keys().isdisjoint({"labels", "train", "val", "test", "predict", "ids", "groups", "lengths"})
    assert arguments.get("inputs", "auto") == "auto"
    np.testing.assert_allclose(arguments["encoding"]["mean"], files_encoding(trained)["mean"], rtol=1e-6)
    data = seqlight.load_data(trained / f"{name}.ckpt", predict=frame if name == "frames" else inputs)
    expected = SequenceFiles.load_from_checkpoint(trained / "files.ckpt", predict=trained / "a.csv")
    equal(data, expected, "predict")
    with pytest.raises(DataError, match=r"^there (are no|is no) train"):
        data.split("train")
    again = seqlight.load_data(
        trained / f"{name}.ckpt", **({"train": frame} if name == "frames" else {"inputs": inputs, "labels": labels})
    )
    equal(again, SequenceFiles(trained / "a.csv"), "val")


def files_encoding(trained):
    return torch.load(trained / "files.ckpt", weights_only=True)["seqlight"]["data"]["init_args"]["encoding"]


def test_training_is_the_same_whatever_the_source(trained):
    states = [
        torch.load(trained / f"{name}.ckpt", weights_only=True)["state_dict"] for name in ("files", "frames", "arrays")
    ]
    for state in states[1:]:
        torch.testing.assert_close(state, states[0])


@pytest.mark.parametrize("before", ["files", "frames", "arrays"])
@pytest.mark.parametrize("now", ["files", "frames", "arrays"])
def test_model_takes_data_of_another_source(trained, before, now, folder):
    inputs, labels = sequences(9, seed=2)
    frame_of(inputs, labels).to_csv("c.csv", index=False)
    cls = {"files": SequenceFiles, "frames": SequenceFrames, "arrays": SequenceArrays}[now]
    test = {"files": "c.csv", "frames": frame_of(inputs, labels), "arrays": (inputs, labels)}[now]
    columns = {"feature_columns": ["x0", "x1"]} if before == "arrays" and now != "arrays" else {}
    data = cls.load_from_checkpoint(trained / f"{before}.ckpt", test=test, **columns)
    assert type(data) is cls
    expected = SequenceFiles.load_from_checkpoint(trained / "files.ckpt", test="c.csv")
    equal(data, expected, "test")
    report = data.report(["test"])
    remark = "test arrays: features without names are read in the order of training: 'x0', 'x1'"
    assert (remark in report) == (now == "arrays" and before != "arrays")


def test_columns_are_named_if_the_training_data_had_no_names(trained, folder):
    frame_of(*sequences()).to_csv("c.csv", index=False)
    data = SequenceFiles.load_from_checkpoint(trained / "arrays.ckpt", test="c.csv")
    message = "c.csv: the model was trained on 2 features without names. Name their columns, in the order of training"
    with pytest.raises(DataError, match=message):
        data.split("test")
    swapped = SequenceFiles.load_from_checkpoint(trained / "arrays.ckpt", test="c.csv", feature_columns=["x1", "x0"])
    right = SequenceFiles.load_from_checkpoint(trained / "arrays.ckpt", test="c.csv", feature_columns=["x0", "x1"])
    assert not torch.equal(swapped.split("test").values, right.split("test").values)


def test_class_without_an_encoding_is_refused(trained):
    with pytest.raises(TypeError, match="holds a SequenceArrays, not a SyntheticSequences"):
        seqlight.SyntheticSequences.load_from_checkpoint(trained / "arrays.ckpt")


@pytest.mark.parametrize("value", [[[1.0]], np.zeros((2, 3)), pd.DataFrame({"x": [1]})])
def test_files_refuse_data_in_memory(trained, value, without_type_checks):
    message = "predict: expected a file, got a .*; for data in memory, use SequenceArrays or SequenceFrames"
    with pytest.raises(TypeError, match=message):
        seqlight.load_data(trained / "files.ckpt", predict=value)


@pytest.mark.parametrize("name", ["frames", "arrays"])
def test_commands_take_files_for_a_model_trained_in_memory(trained, name, folder, command_line_state):
    frame_of(*sequences(9, seed=2)).to_csv("c.csv", index=False)
    given = ("--ckpt_path", str(trained / f"{name}.ckpt"))
    columns = ("--data.feature_columns", "[x0, x1]") if name == "arrays" else ()
    status, out, err = seqlight_run("predict", *given, "--data.predict=c.csv", *columns, "--device=cpu")
    assert status == 0, err
    model = seqlight.load(trained / f"{name}.ckpt")
    data = seqlight.load_data(trained / f"{name}.ckpt")
    batch = data.encode(sequences(9, seed=2)[0])
    table = pd.read_csv("predictions.csv")
    probabilities = table[[f"probability_{each}" for each in sorted(NAMES)]].to_numpy()
    np.testing.assert_allclose(probabilities, model.probabilities(batch.inputs, batch.lengths).numpy(), atol=1e-6)
    status, out, err = seqlight_run(
        "test", *given, "--data=SequenceFiles", "--data.test=c.csv", *columns, "--device=cpu"
    )
    assert (status, "test" in out) == (0, True), err
    status, _, err = seqlight_run("test", *given, "--device=cpu")
    assert (status, err) == (2, "seqlight: error: there is no test file: expected --data.test FILE\n")


@pytest.mark.parametrize("name", ["SequenceArrays", "SequenceFrames", "seqlight.SequenceArrays"])
def test_command_line_refuses_data_in_memory(name, command_line_state):
    status, _, err = seqlight_run("fit", "--data", name)
    assert status == 2
    short = name.rpartition(".")[2]
    message = f"--data: {short} is for data in memory; for a file, use --data SequenceFiles --data.train FILE"
    assert err == f"seqlight: error: {message}\n"


def test_all_sequences_can_be_for_training():
    inputs, labels = sequences()
    data = SequenceArrays(inputs, labels, val_fraction=0, test=(inputs, labels))
    assert list(data.sample_ids("train")) == list(range(30))
    assert data.report(["train", "val", "test"]).count("taken from") == 0
    message = r"there is no validation split: give `val=\(inputs, labels\)`, or take one with `val_fraction=0.2`"
    with pytest.raises(DataError, match=message):
        data.split("val")
    assert "30 of 30 sequences in test are also in train" in data.report(["test"])
