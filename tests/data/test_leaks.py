"""Remarks on features that know the class, or whose sequence it is."""

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

from seqlight import SequenceFiles
from seqlight.data import leaks as module

PERFECT = "alone separates the classes perfectly"
GROUP = "the same in all rows of a sequence: "


def frame_of(num_sequences=40, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, num_sequences)
    frame = pd.DataFrame({"id": np.repeat(np.arange(num_sequences), lengths)})
    frame["x"] = rng.normal(0, 1, len(frame))
    frame["label"] = np.array(["a", "b", "c", "d"])[frame.id % classes]
    return frame


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def report(frame, **arguments):
    frame.to_csv("a.csv", index=False)
    return SequenceFiles("a.csv", **arguments).report(["train", "val"])


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("order", [1, -1])
def test_feature_that_knows_the_class_is_named(monkeypatch, chunk, classes, order):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    frame = frame_of(classes=classes)
    rng = np.random.default_rng(1)
    codes = frame.label.map({"a": 1, "b": 3, "c": 0, "d": 2})
    frame["leak"] = order * (codes + rng.uniform(-0.49, 0.49, len(frame)))
    tree = DecisionTreeClassifier(max_leaf_nodes=classes).fit(frame[["leak"]], frame.label)
    assert tree.score(frame[["leak"]], frame.label) == 1
    assert f"feature 'leak' {PERFECT}" in report(frame)
    frame.loc[7, "leak"] = frame.loc[frame.label != frame.label[7], "leak"].iloc[0]
    assert PERFECT not in report(frame)


@pytest.mark.parametrize(("shift", "expected"), [(1, False), (2, True)])
def test_ranges_that_meet_do_not_separate(shift, expected):
    frame = frame_of()
    rng = np.random.default_rng(1)
    frame["leak"] = rng.integers(0, 2, len(frame)) + shift * (frame.label == "a")
    assert (PERFECT in report(frame)) == expected


@pytest.mark.parametrize(("num_sequences", "expected"), [(6, False), (12, False), (20, True)])
def test_few_sequences_can_be_separated_by_chance(num_sequences, expected):
    """Among 2 * 6! * 6! / 12! orders of twelve sequences, one in 462 is sorted by class."""
    frame = frame_of(num_sequences)
    frame["leak"] = (frame.label == "a") + 0.01 * frame.id
    assert (PERFECT in report(frame)) == expected


def test_labels_and_tokens_are_left_out():
    frame = frame_of().assign(leak=lambda frame: frame.label == "a", label_1=0, label_2=1)
    frame["label_1"] = frame.leak = frame.leak.astype(int)
    assert PERFECT not in report(frame.drop(columns="label"))
    frame = frame_of().assign(word=lambda frame: frame.label).drop(columns="x")
    assert PERFECT not in report(frame, feature_columns=["word"])


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
@pytest.mark.parametrize(
    ("values", "expected"), [(1, None), (2, None), (3, "3 values"), (20, "20 values"), (21, None), (40, None)]
)
def test_feature_that_looks_like_a_group_is_named(monkeypatch, chunk, values, expected):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    frame = frame_of().assign(subject=lambda frame: 100.0 + frame.id % values, age=lambda frame: frame.id % 4 * 10.5)
    expected = [f"'subject' ({expected}), "] * (expected is not None)
    text = f"{GROUP}{''.join(expected)}'age' (4 values); if "
    assert text in report(frame)
    frame.loc[frame.groupby("id").id.transform("size").idxmax(), ["subject", "age"]] += 0.5
    assert GROUP not in report(frame)


def test_single_steps_say_nothing_about_groups():
    frame = frame_of().drop_duplicates("id").assign(age=lambda frame: frame.id % 4 * 10.5)
    assert GROUP not in report(frame)
