"""Names of classes: blanks, case, spellings of true and false."""

import json

import numpy as np
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.encoding import SequenceEncoding
from seqlight.data.reading.read import read_sequences


def write(path, labels):
    """Two steps for each sequence."""
    if path.suffix == ".jsonl":
        lines = [{"inputs": [[0.5], [float(number)]], "label": label} for number, label in enumerate(labels)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif path.suffix == ".npz":
        np.savez(path, inputs=np.random.default_rng(0).random((len(labels), 2, 1)), targets=labels)
    else:
        rows = [f"{number},{step},{label}" for number, label in enumerate(labels) for step in (0.5, number)]
        path.write_text("id,x,label\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".npz"])
def test_blanks_around_labels_are_left_out(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", ["up ", " up", "\tdown", "down", "1.0 ", "1"] * 5)
    data = SequenceFiles(path, path)
    assert data.class_names == ("1", "down", "up")
    assert data.split("val").targets.tolist() == [2, 2, 1, 1, 0, 0] * 5


def test_blanks_around_labels_do_not_change_a_sequence(tmp_path):
    (tmp_path / "a.csv").write_text("id,x,label\n1,0.5,up\n1,0.5,up \n2,0.5, down\n")
    assert read_sequences(tmp_path / "a.csv").labels == ["up", "down"]


def test_label_of_blanks_is_missing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,x,label\n1,0.5,up\n2,0.5," "\n')
    with pytest.raises(DataError, match="row 2, column 'label': expected a label, got none"):
        read_sequences(path)
    assert read_sequences(path, labelled=False).labels == ["up", None]


def test_classes_that_differ_by_case_or_blanks_are_one_remark(tmp_path):
    labels = ["Walk"] * 12 + ["walk"] * 7 + ["up stairs"] * 6 + ["upstairs"] * 5 + ["run"] * 4
    path = write(tmp_path / "a.csv", labels)
    data = SequenceFiles(path, path)
    assert len(data.class_names) == 5
    [line] = [line for line in data.report(["train"]).splitlines() if "differ only by" in line]
    assert line == (
        f"{path}: classes that differ only by case or blanks: 'Walk' (12), 'walk' (7) and 'up stairs' (6), "
        "'upstairs' (5); if they are one, write them alike in the file, for example with "
        "`.str.strip().str.lower()` of pandas"
    )


@pytest.mark.parametrize("missing", ["NA", "nan", "NULL", "?", "n/a"])
def test_class_that_may_be_a_missing_label_is_a_remark(tmp_path, missing):
    path = write(tmp_path / "a.csv", ["a", "b"] * 5 + [missing] * 2)
    [line] = [line for line in SequenceFiles(path, path).report(["train"]).splitlines() if "missing label" in line]
    assert f"{missing!r} (2) is read as a class" in line


def test_text_of_lists_is_a_remark(tmp_path):
    """pandas writes a column of lists into a CSV file in this form."""
    rows = [f'{number},0.{number},"[{number % 2}, {number % 3 % 2}]"' for number in range(24)]
    (tmp_path / "a.csv").write_text("\n".join(["id,x,label", *rows]))
    report = SequenceFiles(tmp_path / "a.csv").report(["train"])
    assert "'[0, 0]' is read as the name of a class; if it is a list of labels, give each label a column" in report


def test_ordinary_classes_are_no_remark(tmp_path):
    path = write(tmp_path / "a.csv", ["no", "yes", "None", "1"] * 5)
    assert "is read as a class" not in SequenceFiles(path, path).report(["train"])
    assert "differ only by" not in SequenceFiles(path, path).report(["train"])


SPELLINGS = {
    "TRUE.csv": (["TRUE", "FALSE"], ".csv"),
    "true.csv": (["true", "false"], ".csv"),
    "1.csv": (["1", "0"], ".csv"),
    "1.0.csv": (["1.0", "0.0"], ".csv"),
    "json": ([True, False], ".jsonl"),
    "json numbers": ([1, 0], ".jsonl"),
    "npz": ([True, False], ".npz"),
    "npz numbers": ([1.0, 0.0], ".npz"),
}


@pytest.mark.parametrize("test", SPELLINGS)
@pytest.mark.parametrize("train", SPELLINGS)
def test_true_is_one_class_in_all_files(tmp_path, train, test):
    files = []
    for name, key in (("train", train), ("test", test)):
        (true, false), suffix = SPELLINGS[key]
        files.append(write(tmp_path / f"{name}{suffix}", [true, false, true] * (7 if name == "train" else 1)))
    data = SequenceFiles(files[0], files[0], files[1])
    assert data.target == "binary"
    assert data.split("val").targets.tolist() == [1, 0, 1] * 7
    assert data.split("test").targets.tolist() == [1, 0, 1]


@pytest.mark.parametrize("classes", [["0", "1", "2"], ["1", "2"], ["true", "maybe"]])
def test_true_is_unknown_among_other_classes(tmp_path, classes):
    data = SequenceFiles(write(tmp_path / "a.csv", classes * 8), test=write(tmp_path / "b.csv", ["TRUE"]))
    with pytest.raises(DataError, match="label 'TRUE' is unknown; the training data have"):
        data.split("test")


def test_spellings_in_one_file_are_one_class_and_said(tmp_path):
    path = write(tmp_path / "a.csv", ["True"] * 9 + ["true"] * 2 + ["1"] + ["FALSE"] * 3 + ["false"] * 7)
    data = SequenceFiles(path, path)
    assert (data.target, data.class_names) == ("binary", ("false", "True"))
    assert data.split("val").targets.tolist() == [1.0] * 12 + [0.0] * 10
    assert f"{path}: labels '1' (1), 'FALSE' (3), 'true' (2) are read as 'false' or 'True'" in data.report(["train"])


def test_unknown_label_that_differs_by_case_is_answered(tmp_path):
    data = SequenceFiles(write(tmp_path / "a.csv", ["walk", "run"] * 8), test=write(tmp_path / "b.csv", ["Walk"]))
    with pytest.raises(
        DataError, match=r"label 'Walk' is unknown; .*; write it as 'walk', from which it differs by case"
    ):
        data.split("test")


def test_class_names_with_blanks_of_earlier_versions(tmp_path):
    """They kept blanks, so that a checkpoint can have a class 'dog '."""
    encoding = SequenceEncoding("multiclass", ("cat", "dog ", "dog"), num_features=1).to_plain()
    data = SequenceFiles(test=write(tmp_path / "b.csv", ["cat", "dog"]), encoding=encoding, standardise=False)
    assert data.split("test").targets.tolist() == [0, 2]
    encoding = SequenceEncoding("binary", ("cat", "dog "), num_features=1).to_plain()
    data = SequenceFiles(test=write(tmp_path / "b.csv", ["cat", "dog "]), encoding=encoding, standardise=False)
    assert data.split("test").targets.tolist() == [0, 1]


def test_many_labels_name_their_column(tmp_path):
    rows = [f"{number},{number / 8}" for number in range(80)]
    (tmp_path / "a.csv").write_text("id,y,x\n" + "".join(f"{row},0.5\n" for row in rows))
    with pytest.raises(DataError, match=r"80 different labels .* in column 'y'.*`label_column=\"NAME\"`"):
        SequenceFiles(tmp_path / "a.csv")
