"""The columns of true labels in files of predictions, for every way in which labels are given."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from seqlight import SequenceArrays, SequenceFiles, SequenceFrames
from seqlight.data.true_labels import columns_of_labels, columns_of_targets

SIZE = 12
INPUTS = [[[float(row), 1.0]] * (1 + row % 3) for row in range(SIZE)]
CLASSES = ["cat", "dog"] * (SIZE // 2)
SETS = [[], ["a"], ["b"], ["a", "b"]] * (SIZE // 4)
NEW = INPUTS[:4]


def frame_of(inputs, **columns):
    rows = np.repeat(np.arange(len(inputs)), [len(sequence) for sequence in inputs])
    frame = pd.DataFrame(np.concatenate(inputs), columns=["x", "z"]).assign(id=rows)
    return frame.assign(**{name: pd.Series(values, dtype=object)[rows].to_numpy() for name, values in columns.items()})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines_of(path, inputs, labels):
    lines = [{"inputs": sequence, "label": label} for sequence, label in zip(inputs, labels, strict=True)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path.name


def classified(form, folder, labels):
    """Data for predictions with these labels of four sequences, from a model of cats and dogs; None for no labels."""
    if form == "arrays":
        return SequenceArrays(INPUTS, CLASSES, predict={"inputs": NEW, "labels": labels})
    if form == "jsonl":
        lines_of(folder / "a.jsonl", INPUTS, CLASSES)
        return SequenceFiles("a.jsonl", predict=lines_of(folder / "p.jsonl", NEW, labels or [None] * 4))
    new = frame_of(NEW) if labels is None else frame_of(NEW, label=labels)
    if form == "frames":
        return SequenceFrames(frame_of(INPUTS, label=CLASSES), predict=new)
    frame_of(INPUTS, label=CLASSES).to_csv(folder / "a.csv", index=False)
    new.to_csv(folder / "p.csv", index=False)
    return SequenceFiles("a.csv", predict="p.csv")


FORMS = ["arrays", "jsonl", "frames", "csv"]


@pytest.mark.parametrize("form", FORMS)
def test_labels_that_are_missing_or_unknown(form, folder):
    data = classified(form, folder, ["dog", None, " cat", "horse, grey"])
    assert data.true_labels("predict") == {"label": ["dog", "", "cat", "horse, grey"]}
    assert data.split("predict").targets.isnan().all()
    assert data.true_labels("val") is None


@pytest.mark.parametrize("form", FORMS)
def test_no_labels(form, folder):
    assert classified(form, folder, None).true_labels("predict") is None


def test_several_labels_in_lists(folder):
    train = lines_of(folder / "a.jsonl", INPUTS, SETS)
    data = SequenceFiles(train, predict=lines_of(folder / "p.jsonl", NEW, [["b"], None, [], ["c", "a"]]))
    assert data.true_labels("predict") == {
        "label_a": ["0", "", "0", "1"],
        "label_b": ["1", "", "0", "0"],
        "label_c": ["0", "", "0", "1"],
    }


@pytest.mark.parametrize("wide", [False, True])
def test_several_labels_in_columns_of_which_one_is_missing(wide, folder):
    columns = {name: [int(name in names) for names in SETS] for name in "ab"}
    train = frame_of([sequence[:1] for sequence in INPUTS] if wide else INPUTS, **columns)
    new = frame_of([sequence[:1] for sequence in NEW] if wide else NEW, b=[1, 0, None, 1])
    if wide:
        train, new = (frame.rename(columns={"x": "x_0", "z": "x_1"}) for frame in (train, new))
    train.to_csv("a.csv", index=False)
    new.to_csv("p.csv", index=False)
    data = SequenceFiles("a.csv", predict="p.csv", label_column=["a", "b"], layout="wide" if wide else "long")
    assert data.true_labels("predict") == {"label_a": [""] * 4, "label_b": ["1", "0", "", "1"]}


def test_other_spellings_and_other_forms():
    assert columns_of_labels(["TRUE", "0", None], ["false", "true"], "binary") == {"label": ["true", "false", ""]}
    assert columns_of_labels([("x", "y"), ("x",)], ["x", "z"], "binary") == {"label": ["x, y", "x"]}
    assert columns_of_labels(["a", None], ["a", "b"], "multilabel") == {"label_a": ["1", ""], "label_b": ["0", ""]}


NAMES = {"binary": ["no", "yes"], "multiclass": ["u", "v", "w"], "multilabel": ["u", "v"]}
TARGETS = {
    "binary": ([1.0, torch.nan, 0.0], {"label": ["yes", "", "no"]}),
    "multiclass": ([2, -1, 0], {"label": ["w", "", "u"]}),
    "multilabel": ([[0.0, 1.0], [torch.nan, 0.0], [1.0, 1.0]], {"label_u": ["0", "", "1"], "label_v": ["1", "0", "1"]}),
}


@pytest.mark.parametrize("target", TARGETS)
def test_targets(target):
    values, expected = TARGETS[target]
    targets = torch.tensor(values)
    assert columns_of_targets(targets, NAMES[target], target) == expected
    assert (
        columns_of_targets(torch.full_like(targets, -1 if target == "multiclass" else torch.nan), "uvw", target) == {}
    )
