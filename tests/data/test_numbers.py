"""Numbers to predict, read from files, frames and arrays."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from seqlight import DataError, SequenceArrays, SequenceFiles, SequenceFrames

rng = np.random.default_rng(0)
INPUTS = [rng.normal(size=(rng.integers(2, 6), 2)) for _ in range(30)]
NUMBERS = np.stack([1.7e9 + rng.normal(size=30), rng.integers(0, 5, 30)], axis=1)


def frame(numbers):
    rows = np.repeat(np.arange(30), [len(each) for each in INPUTS])
    table = pd.DataFrame(np.concatenate(INPUTS), columns=["x0", "x1"]).assign(id=[f"s{row}" for row in rows])
    names = ["y"] if numbers.shape[1] == 1 else ["a", "b"]
    return table.assign(**{name: numbers[rows, place] for place, name in enumerate(names)}), names


def in_file(suffix):
    def way(folder, numbers):
        table, names = frame(numbers)
        path = folder / f"a{suffix}"
        table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False)
        label = names[0] if len(names) == 1 else names
        return SequenceFiles(path, label_column=label, target="regression", val_fraction=0)

    return way


def frames(folder, numbers):
    table, names = frame(numbers)
    label = names[0] if len(names) == 1 else names
    return SequenceFrames(table, label_column=label, target="regression", val_fraction=0)


def jsonl(folder, numbers):
    lines = [
        {"inputs": x.tolist(), "label": y.tolist() if len(y) > 1 else y[0]}
        for x, y in zip(INPUTS, numbers, strict=True)
    ]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return SequenceFiles(folder / "a.jsonl", target="regression", val_fraction=0)


def npz(folder, numbers):
    longest = max(map(len, INPUTS))
    padded = np.array([np.pad(each, ((0, longest - len(each)), (0, 0))) for each in INPUTS])
    np.savez(folder / "a.npz", inputs=padded, targets=numbers, lengths=[len(each) for each in INPUTS])
    return SequenceFiles(folder / "a.npz", target="regression", val_fraction=0)


def arrays(folder, numbers):
    return SequenceArrays(INPUTS, numbers, target="regression", val_fraction=0)


def ts(folder, numbers):
    lines = [":".join(",".join(map(repr, x.T[place].tolist())) for place in range(2)) for x in INPUTS]
    lines = [f"{line}:{float(number[0])!r}" for line, number in zip(lines, numbers, strict=True)]
    (folder / "a.ts").write_text("@targetlabel true\n@data\n" + "\n".join(lines))
    return SequenceFiles(folder / "a.ts", target="regression", val_fraction=0)


WAYS = {"csv": in_file(".csv"), "parquet": in_file(".parquet"), "frames": frames, "jsonl": jsonl, "npz": npz}
WAYS |= {"arrays": arrays, "ts": ts}


@pytest.mark.parametrize(("way", "several"), [(name, several) for name in WAYS for several in (False, True)])
def test_numbers_are_standardised_in_float64(way, several, tmp_path):
    if way == "ts" and several:
        pytest.skip("a .ts file has one number")
    numbers = NUMBERS if several else NUMBERS[:, :1]
    data = WAYS[way](tmp_path, numbers)
    assert (data.target, data.num_outputs) == ("regression", numbers.shape[1])
    np.testing.assert_allclose(data.target_mean, numbers.mean(0), rtol=1e-12)
    np.testing.assert_allclose(data.target_scale, numbers.std(0), rtol=1e-6)
    expected = ((numbers - numbers.mean(0)) / numbers.std(0)).astype(np.float32)
    np.testing.assert_allclose(data.split("train").targets, expected, rtol=1e-4, atol=1e-6)
    report = data.report(["train"])
    assert "target: regression" in report
    assert f"{numbers[:, -1].min():.6g} to {numbers[:, -1].max():.6g}" in report


def test_mean_and_scale_are_those_of_training_and_parts_have_all_ranges():
    data = SequenceArrays(INPUTS, NUMBERS[:, 1] ** 2, target="regression", val_fraction=0.4)
    rows = list(data.sample_ids("train"))
    assert data.target_mean == pytest.approx([(NUMBERS[rows, 1] ** 2).mean()])
    numbers = NUMBERS[:, 1] ** 2
    ranges = np.searchsorted(np.quantile(numbers, (0.25, 0.5, 0.75)), numbers)
    taken = np.bincount(ranges[list(data.sample_ids("val"))], minlength=4)
    assert taken.tolist() == [round(0.4 * count) for count in np.bincount(ranges, minlength=4)]


def test_numbers_of_steps():
    numbers = [each.sum(1) for each in INPUTS]
    data = SequenceArrays(INPUTS, numbers, target="regression", label_per="step", val_fraction=0)
    together = np.concatenate(numbers)
    expected = (together - together.mean()) / together.std()
    np.testing.assert_allclose(data.split("train").own_targets()[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_encoding_is_kept_and_other_labels_are_refused():
    data = SequenceArrays(INPUTS, NUMBERS, target="regression")
    encoding = data.encoding.to_plain()
    again = SequenceArrays(test=(INPUTS, NUMBERS), target="regression", encoding=encoding)
    scaled = (NUMBERS - np.array(data.target_mean)) / np.array(data.target_scale)
    np.testing.assert_allclose(again.split("test").targets, scaled, rtol=1e-4, atol=1e-6)
    other = SequenceArrays(test=(INPUTS, NUMBERS[:, 0]), target="regression", encoding=encoding)
    with pytest.raises(DataError, match="expected 2 numbers for each sequence, got 1"):
        other.split("test")
    unknown = SequenceArrays(predict=INPUTS, target="regression", encoding=encoding)
    assert torch.isnan(unknown.split("predict").targets).all()


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        (["a"] * 30, {}, 'label of sequence 0: expected a finite number \\(`target="regression"`\\), got a'),
        ([1.0, None] * 15, {}, "label of sequence 1: expected a number to predict, got none"),
        ([2.5] * 30, {}, "all sequences have the label 2.5; expected numbers that differ"),
        (list(range(30)), {"class_weights": "balanced"}, 'expected no class_weights with `target="regression"`'),
        (list(range(30)), {"positive_class": "1"}, 'expected no positive_class with `target="regression"`'),
    ],
)
def test_unusable_numbers_are_refused(numbers, options, message):
    with pytest.raises(DataError, match=message):
        SequenceArrays(INPUTS, numbers, target="regression", **options)


def test_numbers_that_are_read_as_classes_name_the_argument(tmp_path):
    with pytest.raises(DataError, match='for a number to predict: `target="regression"`'):
        SequenceArrays(INPUTS, NUMBERS[:, 0])
    report = SequenceArrays(INPUTS, [row % 15 for row in range(30)]).report(["train"])
    assert (
        '15 numbers from 0 to 14 are read as classes; if they are numbers to predict: `target="regression"`' in report
    )
    (tmp_path / "a.ts").write_text("@targetlabel true\n@data\n1,2:0.5\n3,4:0.7\n")
    with pytest.raises(DataError, match='got numbers \\(@targetLabel true\\): `target="regression"`'):
        SequenceFiles(tmp_path / "a.ts")
