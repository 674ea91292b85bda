"""The sequences that rows of a table belong to."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.reading.raw import Columns
from seqlight.data.reading.read import read_sequences


def frame_of_trials(seed=0):
    """Three subjects with three trials each, which have the same numbers for each subject; rows in any order."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        [(f"s{s}", k, t) for s in range(3) for k in range(3) for t in range(4)], columns=["subject", "trial", "t"]
    )
    frame["x"] = rng.standard_normal(len(frame))
    frame["label"] = np.where(frame.trial % 2, "odd", "even")
    return frame.sample(frac=1, random_state=seed)


def write(frame, path):
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("trials", [int, float, str])
def test_several_columns_equal_pandas_groups(tmp_path, trials, suffix):
    frame = frame_of_trials().astype({"trial": int}).astype({"trial": trials})
    path = write(frame, tmp_path / f"a{suffix}")
    raw = read_sequences(path, columns=Columns(id=("subject", "trial")))
    groups = {
        f"{s}/{int(float(k))}": g.sort_values("t") for (s, k), g in frame.groupby(["subject", "trial"], sort=False)
    }
    if (suffix, trials) == (".csv", float):  # text of a CSV file stays as it is
        groups = {f"{name}.0": group for name, group in groups.items()}
    assert raw.ids == list(groups)
    np.testing.assert_array_equal(raw.lengths, [4] * 9)
    np.testing.assert_array_equal(raw.values[:, 0], np.concatenate([group.x for group in groups.values()]))
    assert raw.labels == [group.label.iloc[0] for group in groups.values()]
    assert dataclasses.astuple(raw.columns)[:4] == (("subject", "trial"), "t", "label", ("x",))


def test_several_columns_are_kept_with_the_model(tmp_path):
    path = write(frame_of_trials(), tmp_path / "a.csv")
    data = SequenceFiles(path, path, id_column=["subject", "trial"])
    other = write(frame_of_trials(1), tmp_path / "b.csv")
    again = SequenceFiles(predict=other, encoding=json.loads(json.dumps(data.encoding.to_plain())))
    assert sorted(again.sample_ids("predict")) == sorted(f"s{s}/{k}" for s in range(3) for k in range(3))


@pytest.mark.parametrize("missing", ["subject", "trial"])
def test_empty_cell_of_one_of_several_columns_is_named(tmp_path, missing):
    frame = frame_of_trials().reset_index(drop=True).astype({"trial": object})
    frame.loc[7, missing] = None
    path = write(frame, tmp_path / "a.csv")
    with pytest.raises(DataError, match=f"row 8, column '{missing}': expected the sequence that the row belongs to"):
        read_sequences(path, columns=Columns(id=("subject", "trial")))


def test_ids_that_would_look_the_same_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,x,label\n1/2,3,0.5,u\n1,2/3,0.5,v\n")
    with pytest.raises(DataError, match="expected id columns without '/', which joins them"):
        read_sequences(tmp_path / "a.csv", columns=Columns(id=("a", "b")))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", ["patient_id", "subject", "Trial", "sequence"])
def test_column_that_makes_sequences_is_taken(tmp_path, name, suffix):
    """The column `id` numbers the rows."""
    frame = pd.DataFrame(
        {"id": range(100, 124), name: np.repeat([5, 9, 7, 2], 6), "x": np.arange(24.0) % 7, "label": "u"}
    )
    path = write(frame, tmp_path / f"a{suffix}")
    raw = read_sequences(path)
    assert raw.columns == Columns(name, "", "label", ("x",), ("id",))
    assert (raw.ids, raw.lengths.tolist()) == (["5", "9", "7", "2"], [6] * 4)
    assert '`id_column="id"`' in raw.guesses[-1]
    assert f"'id' has another value in each row, so {name!r} is taken as the sequence id" in raw.guesses[-1]


def test_row_numbers_are_no_feature_of_a_test_file(tmp_path):
    frame = pd.DataFrame(
        {
            "id": range(48),
            "patient_id": np.repeat(range(8), 6),
            "x": np.arange(48.0) % 7,
            "label": np.repeat([1, 2] * 4, 6),
        }
    )
    path = write(frame, tmp_path / "a.csv")
    data = SequenceFiles(path, test=path)
    assert data.input_size == 1
    again = SequenceFiles(test=path, encoding=json.loads(json.dumps(data.encoding.to_plain())))
    assert again.split("test").lengths.tolist() == [6] * 8
    frame.drop(columns="id").to_csv(tmp_path / "b.csv", index=False)
    assert len(SequenceFiles(path, test=tmp_path / "b.csv").split("test").lengths) == 8


def test_row_numbers_beside_several_columns_are_asked_about(tmp_path):
    path = write(frame_of_trials().assign(id=range(36)), tmp_path / "a.csv")
    with pytest.raises(DataError) as caught:
        read_sequences(path)
    assert re.search(
        r"column 'id' has another value in each row.*\n.*`id_column=\[\"subject\", \"trial\"\]`", str(caught.value)
    )
    raw = read_sequences(path, columns=Columns(id=("subject", "trial"), features=("x",)))
    assert len(raw.lengths) == 9


def test_id_that_repeats_is_kept(tmp_path):
    frame = pd.DataFrame({"id": np.repeat(range(6), 4), "patient_id": np.repeat(range(3), 8), "x": 0.5, "label": "u"})
    raw = read_sequences(write(frame, tmp_path / "a.csv"))
    assert (raw.columns.id, raw.columns.left_out) == ("id", None)
    assert len(raw.guesses) == 1


def test_sequences_of_one_step_name_the_flag(tmp_path):
    frame = pd.DataFrame({"id": range(20), "x": np.arange(20.0), "label": [1, 2] * 10})
    path = write(frame, tmp_path / "a.csv")
    [line] = [line for line in SequenceFiles(path, path).report(["train"]).splitlines() if "single time step" in line]
    assert '`id_column="NAME"`' in line


LABEL = "id,step,x,y\n1,0,0.5,0.1\n1,1,0.5,0.3\n2,0,0.5,0.1\n2,1,0.5,0.2\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LABEL, 'no other column looks like a label. The column with the label: `label_column="NAME"`'),
        (
            "id,step,x,y,outcome\n1,0,0.5,0.1,u\n1,1,0.5,0.3,u\n",
            "the label may also be 'outcome'. The column with the label: `label_column=\"outcome\"`",
        ),
    ],
)
def test_guessed_label_that_varies_within_a_sequence(tmp_path, text, expected):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_sequences(tmp_path / "a.csv")
    lines = str(caught.value).splitlines()
    assert "row 2, column 'y': expected the same label in all rows of sequence '1', got '0.3' after '0.1'." in lines[0]
    assert lines[1] == f"That 'y' is the label was guessed by its name; {expected}"
    assert 'If each step has a label: `label_per="step"`' in lines[2]


def test_named_label_that_varies_within_a_sequence(tmp_path):
    (tmp_path / "a.csv").write_text(LABEL)
    with pytest.raises(DataError) as caught:
        read_sequences(tmp_path / "a.csv", columns=Columns(label="y"))
    assert str(caught.value).splitlines()[1] == 'If this is not the label, name its column: `label_column="NAME"`'
