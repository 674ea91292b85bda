"""Folders with a file for each sequence, compared with one table that has the same rows."""

import os

import numpy as np
import pandas as pd
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.reading import folder_rows
from seqlight.data.reading.raw import Columns
from seqlight.data.reading.read import read_sequences


def frames(num=12, seed=0, names=("x", "z")):
    """A frame of 1 to 8 rows for each of cat/0, dog/1, cat/2, ..."""
    rng = np.random.default_rng(seed)
    return {
        f"{('cat', 'dog')[number % 2]}/{number}": pd.DataFrame(
            rng.standard_normal((rng.integers(1, 9), len(names))).round(3), columns=list(names)
        )
        for number in range(num)
    }


def write(folder, found, suffix=".csv", **arguments):
    for name, frame in found.items():
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True, parents=True)
        if suffix == ".parquet":
            frame.to_parquet(path)
        elif suffix == ".npy":
            np.save(path, frame.to_numpy())
        else:
            frame.to_csv(path, index=False, **{"sep": "\t" if "tsv" in suffix else ",", **arguments})
    return folder


def one_table(found, path, **arguments):
    """The same sequences in one file in long form, sorted as a folder is."""
    parts = [found[name].assign(id=name, label=name.split("/")[0]) for name in sorted(found)]
    pd.concat(parts).to_csv(path, index=False)
    return read_sequences(path, **arguments)


def assert_same(one, other):
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.lengths, other.lengths)
    assert (list(one.ids), one.labels, one.tokens) == (list(other.ids), other.labels, other.tokens)


@pytest.mark.parametrize("joined", [1 << 16, 5])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet", ".npy"])
def test_labels_are_the_names_of_sub_folders(tmp_path, monkeypatch, suffix, joined):
    monkeypatch.setattr(folder_rows, "_ROWS", joined)
    found = frames()
    raw = read_sequences(write(tmp_path / "recordings", found, suffix))
    assert_same(raw, one_table(found, tmp_path / "a.csv"))
    features = None if suffix == ".npy" else Columns(None, "", None, ("x", "z"))
    assert raw.columns == features
    assert raw.guesses[0] == f"{tmp_path}/recordings: each file is a sequence, label 'folder'"
    assert raw.remarks == ()


def test_columns_can_have_another_order_and_steps_are_sorted(tmp_path):
    found = {name: frame.assign(step=np.arange(len(frame))) for name, frame in frames().items()}
    changed = {
        name: frame[["step", "z", "x"] if number % 2 else ["x", "z", "step"]].sample(frac=1, random_state=number)
        for number, (name, frame) in enumerate(found.items())
    }
    raw = read_sequences(write(tmp_path / "a", changed))
    expected = one_table(found, tmp_path / "a.csv")
    order = [("x", "z").index(name) for name in raw.columns.features]
    np.testing.assert_array_equal(raw.values, expected.values[:, order])
    assert raw.columns.step == "step"


@pytest.mark.parametrize("text", ["file,label\n", "filename;y;age\n", "id,class,subject\n"])
@pytest.mark.parametrize("spelling", ["{}", "{}.csv", "./{}.csv"])
def test_labels_from_a_table(tmp_path, text, spelling):
    found = {name.replace("/", "-"): frame for name, frame in frames().items()}
    separator = ";" if ";" in text else ","
    rows = [[spelling.format(name), name[:3], f"s{row % 4}"] for row, name in enumerate(reversed(found))]
    columns = len(text.split(separator))
    lines = [separator.join(row[:columns]) for row in rows]
    folder = write(tmp_path / "a", found)
    (folder / "labels.csv").write_text(text + "\n".join(lines))
    raw = read_sequences(folder)
    assert raw.labels == [name[:3] for name in sorted(found)]
    (folder / "labels.csv").rename(tmp_path / "other.csv")
    again = read_sequences(folder, labels_file=str(tmp_path / "other.csv"))
    assert_same(raw, again)
    assert f"label {text.strip().split(separator)[1]!r} from {tmp_path}/other.csv" in again.guesses[0]
    if "subject" in text:
        raw = read_sequences(folder, labels_file=str(tmp_path / "other.csv"), columns=Columns(group="subject"))
        assert raw.groups == [dict(row[::2] for row in rows)[spelling.format(name)] for name in sorted(found)]


def test_several_labels_from_a_table(tmp_path):
    folder = write(tmp_path / "a", {"u": frames()["cat/0"], "v": frames()["dog/1"]})
    (folder / "labels.csv").write_text("file,loud,fast\nu,1,0\nv,1,1\n")
    raw = read_sequences(folder, columns=Columns(label=("loud", "fast")))
    assert (raw.labels, raw.label_names) == ([("loud",), ("loud", "fast")], ("loud", "fast"))


def test_only_one_other_column_in_the_table_is_the_label(tmp_path):
    folder = write(tmp_path / "a", {"u": frames()["cat/0"], "v": frames()["dog/1"]})
    (folder / "labels.csv").write_text("file,activity,subject\nu,run,1\nv,walk,2\n")
    with pytest.raises(DataError, match="expected a label for each file"):
        read_sequences(folder)
    raw = read_sequences(folder, columns=Columns(group="subject"))
    assert (raw.labels, raw.groups) == (["run", "walk"], ["1", "2"])


def test_label_in_the_files_and_groups_from_folders(tmp_path):
    found = frames()
    parts = {name: frame.assign(label=f"class {len(frame) % 2}") for name, frame in found.items()}
    folder = write(tmp_path / "a", parts)
    with pytest.raises(DataError, match="expected one label for each file, got the name of its folder and a col") as e:
        read_sequences(folder)
    assert e.value.args[1] == 'Say which: `label_column="folder"` or `label_column="label"`'
    raw = read_sequences(folder, columns=Columns(label="label", group="folder"))
    assert raw.labels == [parts[name].label.iloc[0] for name in sorted(found)]
    assert raw.groups == [name[:3] for name in sorted(found)]
    assert raw.columns == Columns(None, "", "label", ("x", "z"), None, "folder")
    flat = write(tmp_path / "b", {name.replace("/", ""): frame for name, frame in parts.items()})
    assert read_sequences(flat).labels == raw.labels


def test_y_beside_x_is_a_feature(tmp_path):
    folder = write(tmp_path / "a", frames(names=("x", "y")))
    assert read_sequences(folder).columns.features == ("x", "y")


def test_folders_in_folders(tmp_path):
    found = {f"{'ab'[number % 3 == 0]}/{name}": frame for number, (name, frame) in enumerate(frames().items())}
    folder = write(tmp_path / "data", found)
    with pytest.raises(DataError, match="expected files in folders named by labels, got folders in folders") as e:
        read_sequences(folder)
    assert e.value.args[1] == 'Say which has the label: `label_column="folder_2"`'
    raw = read_sequences(folder, columns=Columns(label="folder_2", group="folder_1"))
    assert raw.labels == [name.split("/")[1] for name in sorted(found)]
    assert raw.groups == [name.split("/")[0] for name in sorted(found)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("names", ["x", ("x", "z")])
def test_files_without_a_header(tmp_path, names, separator):
    found = frames(names=tuple(names))
    raw = read_sequences(write(tmp_path / "a", found, header=False, sep=separator))
    expected = one_table(found, tmp_path / "a.csv")
    np.testing.assert_array_equal(raw.values, expected.values)
    assert raw.columns is None
    if separator == ";":
        assert f"{tmp_path}/a/cat/0.csv: columns are separated by semicolons" in raw.remarks or len(names) == 1


def test_tokens(tmp_path):
    found = {f"{'uv'[row % 2]}/{row}": pd.DataFrame({"word": list("abcab"[: 1 + row % 5])}) for row in range(6)}
    raw = read_sequences(write(tmp_path / "a", found))
    assert [raw.tokens[code] for code in raw.values] == [word for name in sorted(found) for word in found[name].word]


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2", "i8", "u1", "?", "U2"])
@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_arrays_of_any_type(tmp_path, dtype, shape):
    rng = np.random.default_rng(0)
    arrays = {f"{label}/{row}": rng.integers(0, 2, shape).astype(dtype) for row, label in enumerate("uvuv")}
    for name, array in arrays.items():
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True, parents=True)
        np.save(tmp_path / "a" / f"{name}.npy", array)
    raw = read_sequences(tmp_path / "a")
    expected = np.concatenate([arrays[name].reshape(5, -1) for name in sorted(arrays)])
    if raw.tokens is not None:
        expected, raw.values = expected[:, 0], np.array(raw.tokens)[raw.values]
    assert (raw.tokens is not None) == (dtype == "U2" and len(shape) == 1)
    np.testing.assert_array_equal(raw.values, expected if dtype != "U2" or raw.tokens else expected.astype(int))


def test_arrays_with_channels_first(tmp_path):
    found = frames()
    write(tmp_path / "a", {name: frame.T for name, frame in found.items() if len(frame) > 2}, ".npy")
    raw = read_sequences(tmp_path / "a", layout="channels_first")
    expected = [found[name].to_numpy() for name in sorted(found) if len(found[name]) > 2]
    np.testing.assert_array_equal(raw.values, np.concatenate(expected))


def test_other_files_are_counted(tmp_path):
    folder = write(tmp_path / "a", frames())
    for name in ("README.md", "cat/.DS_Store", ".git/a.csv", "notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x,z\n1,2\n")
    os.mkfifo(folder / "cat" / "pipe.csv")
    (folder / "dog" / "gone.csv").symlink_to("nowhere")
    (folder / "dog" / "loop").symlink_to("..")
    raw = read_sequences(folder)
    assert len(raw.ids) == 12
    [remark] = raw.remarks
    assert remark == (
        f"{folder}: 6 files are not read: 2 hidden, such as '.git/a.csv', 2 with other suffixes, such as 'README.md', "
        "2 no file, such as 'cat/pipe.csv'"
    )


def test_empty_files(tmp_path):
    folder = write(tmp_path / "a", frames())
    (folder / "cat" / "1.csv").write_text("x,z\n")
    (folder / "cat" / "00.csv").write_text("")
    with pytest.raises(DataError, match=r"cat/00\.csv: expected at least one time step") as error:
        read_sequences(folder)
    assert error.value.args[1].startswith("2 of 14 sequences have no time steps")
    raw = read_sequences(folder, empty="skip")
    assert raw.remarks == (f"{folder}: 2 of 14 sequences have no time steps and are left out",)
    assert_same(raw, one_table(frames(), tmp_path / "a.csv"))


def write_one(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "messages"),
    [
        (
            {"u/1.csv": "x,z\n1,2\n", "v/2.csv": "x,q\n1,2\n"},
            ["a/v/2.csv: expected the columns of a/u/1.csv"],
        ),
        (
            {"u/1.csv": "x\n1\n", "v/2.csv": "x\n1\n2\nb\n"},
            ["a/v/2.csv: row 3, column 'x': expected a number"],
        ),
        ({"u/1.csv": "x\n1\n", "v/2.csv": "x,z\n1,2\n3\n"}, ["a/v/2.csv: expected the columns of a/u/1.csv, 'x'; got"]),
        ({"u/1.csv": "x,z\n1,2\n", "v/2.csv": "x,z\n1,2\n3\n"}, ["a/v/2.csv: row 2: expected 2 cells"]),
        ({"u/1.csv": "x,t\n1,2\n", "v/2.csv": "x,t\n1,2\n3,4\n1,2\n"}, ["a/v/2.csv: rows 1 and 3, column 't'"]),
        ({"u/1.csv": "x\n1\n", "u/1.tsv": "x\n1\n"}, ["a: expected files with distinct names, got 1.csv and 1.tsv"]),
        (
            {"u/1.csv": "x\n1\n", "u/2.npy": "x"},
            ["a: expected files of one format, got u/1.csv and u"],
        ),
        ({"u/1.npy": "x"}, ["a/u/1.npy: expected a NumPy array of numbers or text"]),
        ({"1.txt": "x"}, ["a: expected a folder with files that end in .csv, .tsv,", "1 with other suffixes"]),
        ({}, ["a: expected a folder with files", "got none"]),
        ({"1.csv": ""}, ["a: expected sequences, got empty files"]),
        ({"1.csv": "x\n1\n", "2.csv": "x\n1\n"}, ["a: expected a label for each file: the name of the sub-folder"]),
        ({"1.csv": "x\n1\n", "u/2.csv": "x\n1\n"}, ["a: expected a label for each file: the name of the sub-folder"]),
        (
            {"train/u/1.csv": "x\n1\n", "test/v/2.csv": "x\n1\n"},
            ["a: expected sub-folders named by labels, got test, train.", '`train="a/train"`, `test="a/test"`'],
        ),
        (
            {"1.csv": "x\n1\n", "labels.csv": "file,label\n2,u\n"},
            ["expected a row for each file of a, got none for '1'"],
        ),
        (
            {"1.csv": "x\n1\n", "labels.csv": "file,label\n1,u\n1.csv,v\n"},
            ["a/labels.csv: row 2, column 'file'"],
        ),
        (
            {"1.csv": "x\n1\n", "labels.csv": "file,label\n2,v\n1,\n"},
            ["a/labels.csv: row 2, column 'label'"],
        ),
        (
            {"1.csv": "x\n1\n", "labels.csv": "a,label\n1,1.5\n"},
            ["a/labels.csv: expected a column 'file'"],
        ),
        ({"1.csv": "x\n1\n", "labels.csv": "file,label\n"}, ["a/labels.csv: expected rows"]),
    ],
)
def test_folders_that_can_not_be_used(tmp_path, monkeypatch, files, messages):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for name, text in files.items():
        write_one(tmp_path / "a" / name, text)
    with pytest.raises(DataError) as error:
        read_sequences("a")
    text = "\n".join(error.value.args)
    assert all(message in text for message in messages), text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id_column": "x"}, "expected no id column, since each file of a folder is a sequence, got 'x'"),
        ({"label_column": "q"}, "expected a column 'q' (`label_column=\"NAME\"`), got columns 'folder', 'x', 'z'"),
        ({"group_column": "q"}, "expected a column 'q' (`group_column=\"NAME\"`), got columns 'folder', 'x', 'z'"),
        ({"layout": "wide"}, 'layout="wide"` is for a file with a row for each sequence, got a folder'),
        ({"layout": "channels_first"}, 'layout="channels_first"` is for a folder of .npy files, got a folder'),
        ({"labels_file": "none.csv"}, "none.csv: there is no such file in"),
    ],
)
def test_arguments_that_do_not_apply(tmp_path, arguments, message):
    folder = write(tmp_path / "a", frames())
    with pytest.raises(DataError) as error:
        SequenceFiles(folder, **arguments)
    assert message in error.value.args[0]


def test_labels_file_is_for_folders(tmp_path):
    one_table(frames(), tmp_path / "a.csv")
    with pytest.raises(DataError, match="is for a folder with a file for each sequence"):
        SequenceFiles(tmp_path / "a.csv", labels_file=str(tmp_path / "a.csv"))


def test_rows_of_other_files_are_counted(tmp_path):
    folder = write(tmp_path / "a", {"u": frames()["cat/0"], "v": frames()["dog/1"]})
    (folder / "labels.csv").write_text("file,label\nu,1\nv,0\nw,\n")
    assert f"{folder}/labels.csv: 1 of 3 rows names no file of {folder}, such as 'w'" in read_sequences(folder).remarks


def test_splits_can_be_folders_and_files(tmp_path):
    found = frames(30)
    train = write(tmp_path / "train", found)
    one_table(frames(6, seed=1), tmp_path / "test.csv")
    new = write(tmp_path / "new", {name.replace("/", ""): frame for name, frame in frames(4, seed=2).items()})
    data = SequenceFiles(train, val=train, test=tmp_path / "test.csv", predict=new)
    assert data.name == "train"
    assert data.sample_ids("train") == sorted(found)
    assert data.sample_ids("predict") == ["cat0", "cat2", "dog1", "dog3"]
    assert data.class_names == ("cat", "dog")
    assert "30 of 30 sequences in val are also in train" in data.report(["train", "val", "test"])
    np.testing.assert_array_equal(
        data.split("test").lengths, [len(frames(6, seed=1)[name]) for name in sorted(frames(6))]
    )


def test_a_label_like_name_is_a_feature_of_a_trained_model(tmp_path):
    train = write(tmp_path / "train", frames(names=("x", "y")))
    new = write(tmp_path / "new", {name.replace("/", ""): frame for name, frame in frames(4, names="xy").items()})
    assert SequenceFiles(train, predict=new).split("predict").values.shape[1] == 2


def test_labels_of_steps_are_in_the_files(tmp_path):
    found = {name: frame.assign(label=np.arange(len(frame)) % 2) for name, frame in frames().items()}
    folder = write(tmp_path / "a", found)
    (folder / "labels.csv").write_text("\n".join(["file,subject", *(f"{name},{name[:3]}" for name in found)]))
    raw = read_sequences(folder, label_per="step", columns=Columns(group="subject"))
    assert raw.labels == [str(label) for name in sorted(found) for label in found[name].label]
    assert raw.groups == [name[:3] for name in sorted(found)]
