"""Labels of time steps, read from files, frames and arrays."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from seqlight import DataError, SequenceArrays, SequenceFiles, SequenceFrames

NAMES = ["run", "sit", "walk"]


def made(size=24, seed=0):
    """Arrays (T, 2) and the names of the steps' labels."""
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(size=(rng.integers(2, 7), 2)) for _ in range(size)]
    return inputs, [[NAMES[code] for code in rng.integers(0, 3, len(each))] for each in inputs]


def frame_of(inputs, labels):
    rows = np.repeat(np.arange(len(inputs)), [len(each) for each in inputs])
    steps = np.concatenate([np.arange(len(each)) for each in inputs])
    frame = pd.DataFrame(np.concatenate(inputs), columns=["x0", "x1"])
    return frame.assign(id=[f"s{row}" for row in rows], t=10 * steps, label=[name for each in labels for name in each])


def padded(values, fill):
    longest = max(map(len, values))
    return np.array([list(each) + [fill] * (longest - len(each)) for each in values])


def csv(folder, inputs, labels):
    frame_of(inputs, labels).sample(frac=1, random_state=1).to_csv(folder / "a.csv", index=False)
    return SequenceFiles(folder / "a.csv", label_per="step", val_fraction=0)


def parquet(folder, inputs, labels):
    frame_of(inputs, labels).to_parquet(folder / "a.parquet")
    return SequenceFiles(folder / "a.parquet", label_per="step", val_fraction=0)


def parquet_lists(folder, inputs, labels):
    rows = [{"id": f"s{row}", "x": inputs[row].tolist(), "label": labels[row]} for row in range(len(inputs))]
    pd.DataFrame(rows).to_parquet(folder / "a.parquet")
    return SequenceFiles(folder / "a.parquet", label_per="step", val_fraction=0)


def jsonl(folder, inputs, labels):
    lines = [
        {"inputs": x.tolist(), "label": y, "id": f"s{row}"}
        for row, (x, y) in enumerate(zip(inputs, labels, strict=True))
    ]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return SequenceFiles(folder / "a.jsonl", label_per="step", val_fraction=0)


def npz(folder, inputs, labels):
    lengths = [len(each) for each in inputs]
    ids = [f"s{row}" for row in range(len(inputs))]
    np.savez(folder / "a.npz", inputs=padded(inputs, [9, 9]), targets=padded(labels, "x"), lengths=lengths, ids=ids)
    return SequenceFiles(folder / "a.npz", label_per="step", val_fraction=0)


def frame(folder, inputs, labels):
    return SequenceFrames(frame_of(inputs, labels), label_per="step", val_fraction=0)


def lists(folder, inputs, labels):
    return SequenceArrays(inputs, labels, label_per="step", val_fraction=0)


def one_array(folder, inputs, labels):
    return SequenceArrays(
        padded(inputs, [9, 9]),
        padded(labels, "x"),
        lengths=[len(each) for each in inputs],
        label_per="step",
        val_fraction=0,
    )


WAYS = [csv, parquet, parquet_lists, jsonl, npz, frame, lists, one_array]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_step_has_its_label(way, tmp_path):
    inputs, labels = made()
    data = way(tmp_path, inputs, labels)
    assert (data.target, data.label_per, data.class_names) == ("multiclass", "step", tuple(NAMES))
    split = data.split("train")
    # Files in any order of rows have the sequences in that of their first row.
    rows = data.sample_ids("train")
    order = [int(str(name).removeprefix("s")) for name in rows]
    assert sorted(order) == list(range(len(inputs)))
    expected = [NAMES.index(name) for row in order for name in labels[row]]
    assert split.own_targets().tolist() == expected
    batch = split.take(torch.tensor([3, 0]), torch.tensor([3, 0]))
    for row, place in enumerate((3, 0)):
        length = int(batch.lengths[row])
        assert batch.targets[row, :length].tolist() == [NAMES.index(name) for name in labels[order[place]]]
        assert not batch.targets[row, length:].any()
    assert f"steps: run {expected.count(0)}, sit {expected.count(1)}" in data.report(["train"])


def test_classes_have_equal_influence_by_their_steps(tmp_path):
    inputs, labels = made()
    data = SequenceArrays(inputs, labels, label_per="step", val_fraction=0.25, class_weights="balanced")
    chosen = set(data.sample_ids("train"))
    counts = Counter(name for row, each in enumerate(labels) if row in chosen for name in each)
    expected = [counts.total() / (3 * counts[name]) for name in NAMES]
    assert data.class_weights == pytest.approx(expected)


def test_split_is_stratified_by_the_majority_of_a_sequences_labels():
    # Of two that are equally frequent, the first.
    labels = [["a", "b"], ["b", "a", "b"]] * 20
    data = SequenceArrays([np.zeros((len(each), 1)) + row for row, each in enumerate(labels)], labels, label_per="step")
    assert Counter(row % 2 for row in data.sample_ids("val")) == {0: 4, 1: 4}


def test_several_labels_of_each_step(tmp_path):
    inputs, _ = made()
    rng = np.random.default_rng(1)
    table = frame_of(inputs, [["a"] * len(each) for each in inputs]).drop(columns="label")
    table["label_a"], table["label_b"] = rng.integers(0, 2, (2, len(table)))
    data = SequenceFrames(table, label_per="step", val_fraction=0)
    assert (data.target, data.class_names) == ("multilabel", ("label_a", "label_b"))
    expected = torch.tensor(table[["label_a", "label_b"]].to_numpy(), dtype=torch.float32)
    assert torch.equal(data.split("train").own_targets(), expected)
    batch = next(iter(data.train_dataloader()))
    assert batch.targets.shape == (*batch.inputs.shape[:2], 2)


def test_steps_without_a_label_are_refused_but_for_predictions(tmp_path):
    inputs, labels = made()
    data = SequenceArrays(inputs, labels, label_per="step")
    labels[4][1] = None
    with pytest.raises(DataError, match="label of sequence 4, step 2: expected a label, got none"):
        SequenceArrays(inputs, labels, label_per="step")
    encoding = data.encoding.to_plain()
    data = SequenceArrays(predict={"inputs": inputs, "labels": labels}, label_per="step", encoding=encoding)
    place = sum(len(each) for each in labels[:4]) + 1
    cells = data.true_labels("predict")["label"]
    assert cells[place] == ""
    assert cells[: place + 1] == [name or "" for each in labels for name in each][: place + 1]
    assert data.sample_steps("predict")[:3] == ["0", "1", "2"][: len(labels[0])] or len(labels[0]) == 2


def test_unknown_label_of_a_step_is_named():
    inputs, labels = made()
    data = SequenceArrays(inputs, labels, label_per="step")
    labels[2][-1] = "hop"
    other = SequenceArrays(test=(inputs, labels), label_per="step", encoding=data.encoding.to_plain())
    step = len(labels[2])
    with pytest.raises(DataError, match=rf"sequence 2, step {step}: label 'hop' is unknown"):
        other.split("test")


def test_times_name_the_steps():
    inputs, labels = made()
    table = frame_of(inputs, labels)
    data = SequenceFrames(table, label_per="step")
    encoding = data.encoding.to_plain()
    data = SequenceFrames(predict=table, label_per="step", encoding=encoding)
    assert data.sample_steps("predict") == [str(step) for step in table["t"]]
    timed = table.assign(t=pd.Timestamp("2025-01-01") + pd.to_timedelta(table["t"], "min"))
    data = SequenceFrames(predict=timed, label_per="step", encoding=encoding)
    assert data.sample_steps("predict")[:2] == ["2025-01-01T00:00:00", "2025-01-01T00:10:00"]


def test_changed_label_names_the_argument(tmp_path):
    inputs, labels = made()
    with pytest.raises(DataError) as caught:
        SequenceFrames(frame_of(inputs, labels))
    assert 'If each step has a label: `label_per="step"`' in caught.value.args


@pytest.mark.parametrize("way", [jsonl, npz, lists], ids=lambda way: way.__name__)
def test_wrong_number_of_labels_is_refused(way, tmp_path):
    inputs, labels = made()
    if way is npz:
        labels = [[*each, "x"] for each in labels]
    else:
        labels[5] = labels[5][:-1]
    with pytest.raises(DataError, match=r"label for each step|one for each step"):
        way(tmp_path, inputs, labels)


def test_lists_as_long_as_their_sequences_get_a_remark(tmp_path):
    inputs, labels = made()
    remark = 'if each step has one: `label_per="step"`'
    jsonl(tmp_path, inputs, labels)
    assert remark in SequenceFiles(tmp_path / "a.jsonl", val_fraction=0).report(["train"])
    targets = np.random.default_rng(0).integers(0, 2, (20, 4))
    np.savez(tmp_path / "a.npz", inputs=np.random.default_rng(0).normal(size=(20, 4, 2)), targets=targets)
    assert remark in SequenceFiles(tmp_path / "a.npz", val_fraction=0).report(["train"])
    targets[0, 0] = 2
    np.savez(tmp_path / "a.npz", inputs=np.random.default_rng(0).normal(size=(20, 4, 2)), targets=targets)
    with pytest.raises(DataError) as caught:
        SequenceFiles(tmp_path / "a.npz")
    assert caught.value.args[-1] == 'If each step has a label: `label_per="step"`'


@pytest.mark.parametrize(("name", "layout"), [("a.ts", "long"), ("a.csv", "wide")])
def test_formats_with_one_label_for_a_sequence_are_refused(name, layout, tmp_path):
    (tmp_path / name).write_text("@classlabel true a b\n@data\n1,2:a\n" if layout == "long" else "x_0,x_1,y\n1,2,a\n")
    with pytest.raises(DataError, match=r"expected a label per step .*, got a .* one per sequence"):
        SequenceFiles(tmp_path / name, label_per="step", layout=layout)


def test_label_per_cannot_change_after_training():
    inputs, labels = made()
    data = SequenceArrays(inputs, labels, label_per="step")
    with pytest.raises(ValueError, match="label_per can't change after training, got 'sequence'"):
        SequenceArrays(predict=inputs, encoding=data.encoding.to_plain())
