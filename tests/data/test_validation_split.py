"""The validation sequences of a training file: by group, by fold, by time."""

import json

import numpy as np
import pandas as pd
import pytest

import seqlight
from seqlight import DataError, SequenceFiles
from seqlight.common.unused import UnusedArgumentWarning
from seqlight.data.reading import csv_file


def frame_of(num_sequences=60, num_groups=10, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 6, num_sequences)
    frame = pd.DataFrame({"id": [f"s{row}" for row in np.repeat(np.arange(num_sequences), lengths)]})
    frame["t"] = np.concatenate([np.arange(length) for length in lengths])
    subjects = rng.choice(num_groups, num_sequences)
    frame["subject"] = [f"p{subject}" for subject in np.repeat(subjects, lengths)]
    frame["x"] = rng.normal(0, 1, len(frame))
    frame["label"] = np.repeat(rng.choice(["a", "b"], num_sequences, p=[0.3, 0.7]), lengths)
    return frame


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(frame, name="a.csv"):
    frame.to_parquet(name) if name.endswith(".parquet") else frame.to_csv(name, index=False)
    return frame


def again(data, **changes):
    """The data module as it is made from a checkpoint."""
    arguments = json.loads(json.dumps(seqlight.common.description.to_plain(dict(data.hparams))))
    return SequenceFiles(**{**arguments, **changes})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("block", [300, 1 << 20])
@pytest.mark.parametrize("order", [1, 2])
def test_groups_are_not_divided(monkeypatch, suffix, block, order):
    monkeypatch.setattr(csv_file, "_BLOCK", block)
    frame = frame_of()
    write(frame if order == 1 else frame.sample(frac=1, random_state=0), f"a{suffix}")
    data = SequenceFiles(f"a{suffix}", group_column="subject", val_fraction=0.3)
    assert data.encoding.columns.features == ("x",)
    subject = frame.groupby("id").subject.first()
    train, val = (set(data.sample_ids(split)) for split in ("train", "val"))
    assert train | val == set(subject.index)
    assert not set(subject[list(train)]) & set(subject[list(val)])
    assert 0.15 < len(val) / 60 < 0.45
    lines = data.report(["train", "val"]).splitlines()
    number = len(set(subject[list(val)]))
    assert lines[1].startswith(
        f"val     taken from a{suffix}, {number} of 10 values of 'subject': {len(val)} sequences"
    )
    assert not [line for line in lines if "of a group" in line]
    assert set(again(data).sample_ids("val")) == val


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_divide_the_file(grouped):
    frame = write(frame_of())
    parts, subject = [], frame.groupby("id").subject.first()
    for fold in range(1, 5):
        data = SequenceFiles(
            "a.csv", fold=f"{fold}/4", group_column="subject" if grouped else None, feature_columns=["x"]
        )
        parts.append(set(data.sample_ids("val")))
        assert parts[-1] | set(data.sample_ids("train")) == set(subject.index)
        assert not parts[-1] & set(data.sample_ids("train"))
        assert not grouped or not set(subject[list(parts[-1])]) & set(subject[data.sample_ids("train")])
        assert set(again(data).sample_ids("val")) == parts[-1]
        assert f"val     taken from a.csv, fold {fold} of 4" in data.report(["train", "val"])
    assert sum(map(len, parts)) == len(set().union(*parts)) == 60
    if not grouped:  # few groups can be put together in the same way
        assert set(SequenceFiles("a.csv", fold="1/4", seed=1, feature_columns=["x"]).sample_ids("val")) not in parts


def dates(frame, kind):
    """A time for each row, an hour apart within a sequence, and a day between the sequences; and the split."""
    days = frame.id.str[1:].astype(int)
    times = pd.Timestamp("2025-01-01") + pd.to_timedelta(24 * days + frame.t, "h")
    return {
        "text": lambda: times.dt.strftime("%Y-%m-%d %H:%M:%S"),
        "zone": lambda: times.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ns": lambda: times.astype("datetime64[ns]"),
        "ms": lambda: times.astype("datetime64[ms]"),
        "seconds": lambda: times.astype("datetime64[s]").astype("int64"),
        "decimals": lambda: times.astype("datetime64[s]").astype("int64") + 0.5,
    }[kind]()


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(
    ("kind", "time"),
    [
        ("text", "2025-02-10"),
        ("text", "2025-02-10T00:00"),
        ("text", "2025-02-10T01:00:00+01:00"),
        ("zone", "2025-02-10"),
        ("ns", "2025-02-10"),
        ("ms", "2025-02-10"),
        ("seconds", "1739145600"),
        ("decimals", "1739145600"),
    ],
)
def test_later_sequences_validate(kind, time, shuffled):
    """The tenth of February is day 40 of the year, from 0."""
    frame = frame_of().drop(columns="subject")
    frame["t"] = dates(frame, kind)
    write(frame.sample(frac=1, random_state=0) if shuffled else frame, "a.parquet" if kind in ("ns", "ms") else "a.csv")
    data = SequenceFiles(f"a.{'parquet' if kind in ('ns', 'ms') else 'csv'}", time_split=time)
    assert set(data.sample_ids("val")) == {f"s{day}" for day in range(40, 60)}
    assert f", from {time} on: 20 sequences" in data.report(["train", "val"])
    assert "begin before" not in data.report(["train", "val"])
    assert set(again(data).sample_ids("val")) == {f"s{day}" for day in range(40, 60)}


def test_dates_without_times():
    import pyarrow as pa
    from pyarrow import parquet

    frame = frame_of().drop(columns="subject")
    frame["t"] = (
        pd.Timestamp("2025-01-01") + pd.to_timedelta(10 * frame.id.str[1:].astype(int) + frame.t, "D")
    ).dt.date
    parquet.write_table(pa.table({**frame.to_dict("list"), "t": pa.array(frame.t, pa.date32())}), "a.parquet")
    for time, first in {"2025-04-11": 10, "2025-04-11T00:00:01": 10, "2025-04-20": 11}.items():
        data = SequenceFiles("a.parquet", time_split=time)
        assert set(data.sample_ids("val")) == {f"s{row}" for row in range(first, 60)}
    end = frame.t[frame.id == "s9"].max()
    for time, first in {f"{end}": 9, f"{end}T00:00:01": 10}.items():  # a date is the beginning of its day
        data = SequenceFiles("a.parquet", time_split=time)
        assert set(data.sample_ids("val")) == {f"s{row}" for row in range(first, 60)}


def test_sequences_that_begin_earlier_are_counted():
    """Sequence 3 goes from 30 to 33 or further, the next one begins at 40."""
    frame = frame_of().drop(columns="subject")
    frame["t"] += 10 * frame.id.str[1:].astype(int)
    write(frame)
    data = SequenceFiles("a.csv", time_split="31")
    assert set(data.sample_ids("train")) == {"s0", "s1", "s2"}
    assert "1 of 57 validation sequences begin before 31" in data.report(["train", "val"]).splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fold": "6/5"}, "fold must be the number of a fold and of all folds, such as 2/5; got '6/5'"),
        ({"fold": "0/5"}, "fold must be .* got '0/5'"),
        ({"fold": "1/1"}, "fold must be .* got '1/1'"),
        ({"fold": "2"}, "fold must be .* got '2'"),
        ({"time_split": "soon"}, "time_split must be a date such as 2025-01-01, .*; got 'soon'"),
        ({"time_split": "nan"}, "time_split must be a date such as 2025-01-01, .*; got 'nan'"),
        ({"fold": "1/2", "time_split": "5"}, "fold and time_split exclude each other, got '1/2' and '5'"),
        ({"fold": "1/2", "val": "b.csv"}, "fold takes validation sequences from the training data, but val is given"),
        ({"time_split": "5", "val": "b.csv"}, "time_split takes validation sequences from the training data, .*"),
        ({"group_column": "person"}, r"a\.csv: expected a column 'person' .`group_column=\"NAME\"`., got columns .*"),
        ({"group_column": "x", "feature_columns": ["x"]}, r"a\.csv: expected each column for one purpose, got 'x' .*"),
        (
            {"group_column": "subject", "fold": "1/11"},
            r"a\.csv: expected at least 11 groups in .*, got 10",
        ),
        ({"time_split": "2025-01-01"}, r"a\.csv: expected a number, as in the column of steps, got `time_split=.*"),
        (
            {"time_split": "5", "step_column": ""},
            r"a\.csv: expected a column of times .*, got none",
        ),
        ({"time_split": "99"}, r"a\.csv: expected sequences that end before 99 and others .*; they end from 1 to 4"),
        ({"time_split": "-1"}, r"a\.csv: expected sequences that end before -1 and others .*; they end from 1 to 4"),
        ({"fold": "1/60"}, None),
        ({"fold": "61/61"}, r"a\.csv: 60 sequences are too few to take a validation split from: give .*"),
    ],
)
def test_splits_that_are_impossible_are_refused(arguments, message):
    write(frame_of())
    arguments = {"group_column": None, "feature_columns": None if "group_column" in arguments else ["x"], **arguments}
    if message is None:
        assert len(SequenceFiles("a.csv", **arguments).sample_ids("val")) == 1
        return
    with pytest.raises(ValueError, match=f"^{message}$"):
        SequenceFiles("a.csv", **arguments)


def test_group_must_be_the_same_within_a_sequence():
    frame = frame_of()
    frame.loc[1, "subject"] = "other"
    write(frame)
    with pytest.raises(DataError, match=r"row 2, column 'subject': .* rows of sequence 's0', got 'other' after 'p\d'$"):
        SequenceFiles("a.csv", group_column="subject")
    frame.loc[1, "subject"] = None
    write(frame)
    with pytest.raises(DataError, match=r"row 2, column 'subject': expected the group .*, got an empty cell"):
        SequenceFiles("a.csv", group_column="subject")


def write_formats(frame):
    """The same sequences as `frame` in all formats that can have groups."""
    parts = [part for _, part in frame.groupby("id", sort=False)]
    firsts = [part.iloc[0] for part in parts]
    lengths = [len(part) for part in parts]
    padded = np.zeros((len(parts), max(lengths), 1))
    for row, part in zip(padded, parts, strict=True):
        row[: len(part), 0] = part.x
    columns = {name: np.array([row[name] for row in firsts], str) for name in ("id", "label", "subject")}
    arrays = {"ids": columns["id"], "targets": columns["label"], "subject": columns["subject"]}
    np.savez("a.npz", inputs=padded, lengths=lengths, **arrays)
    lines = [
        {"inputs": part.x.tolist(), **row[["id", "label", "subject"]]} for part, row in zip(parts, firsts, strict=True)
    ]
    with open("a.jsonl", "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    steps = {
        f"x_{step}": [part.x.iloc[step] if step < len(part) else None for part in parts] for step in range(max(lengths))
    }
    write(pd.DataFrame({**columns, **steps}), "wide.csv")


@pytest.mark.parametrize(("path", "layout"), [("a.jsonl", "long"), ("a.npz", "long"), ("wide.csv", "wide")])
def test_groups_of_other_formats_are_those_of_a_table(path, layout):
    frame = write(frame_of())
    write_formats(frame)
    expected = SequenceFiles("a.csv", group_column="subject", val_fraction=0.3)
    data = SequenceFiles(path, group_column="subject", val_fraction=0.3, layout=layout)
    assert data.sample_ids("val") == expected.sample_ids("val")
    assert "values of 'subject'" in data.report(["train", "val"])
    # A split for prediction needs no groups.
    other = frame.query("t < 1").drop(columns=["subject", "t"])
    write(other, "new.csv")
    assert len(again(data, predict="new.csv", layout="long").sample_ids("predict")) == 60


def test_files_without_groups():
    np.savez("a.npz", inputs=np.ones((20, 3, 2)), targets=np.arange(20) % 2)
    with open("a.jsonl", "w") as file:
        file.writelines(json.dumps({"inputs": [[1.0]], "label": row % 2}) + "\n" for row in range(20))
    with open("a.ts", "w") as file:
        file.write("@classLabel true a b\n@data\n" + "1,2:a\n3,4:b\n" * 5)
    for path in ("a.npz", "a.jsonl", "a.ts"):
        with pytest.raises(DataError, match=rf"^{path}: expected 'subject', the group of each sequence: a column of a"):
            SequenceFiles(path, group_column="subject")
        SequenceFiles(path)


@pytest.mark.parametrize(
    ("path", "group", "message"),
    [
        ("a.jsonl", "subject", r"a.jsonl: line 2: expected a group 'subject', as in earlier sequences, got none"),
        ("a.jsonl", "other", r"a.jsonl: line 2: expected no group 'other', as in earlier sequences, got 'v'"),
        ("a.jsonl", "label", r"a.jsonl: expected another key for the group of each sequence, got 'label'"),
        ("a.jsonl", "list", r"a.jsonl: line 1: expected a sequence like"),
        ("a.npz", "subject", r"a.npz: subject: expected the group of each sequence, got none for sequence 1"),
        ("a.npz", "short", r"a.npz: short: expected shape \(4,\), one for each sequence, got \(3,\)"),
        ("a.npz", "ids", r"a.npz: expected another array for the group of each sequence, got 'ids'"),
        ("a.npz", "complex", r"a.npz: complex: expected text or integers, got complex128"),
        ("wide.csv", "subject", r"wide.csv: row 2, column 'subject': expected the group of the sequence, got an empty"),
        ("wide.csv", "other", r"wide.csv: expected a column 'other' \(`group_column="),
    ],
)
def test_groups_that_can_not_be_used(path, group, message):
    lines = [
        {"inputs": [[1.0]], "label": "a", "subject": "u", "list": [1]},
        {"inputs": [[2.0]], "label": "b", "subject": "", "other": "v", "list": [1]},
    ]
    with open("a.jsonl", "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    arrays = {"subject": ["u", "", "v", "w"], "short": [1, 2, 3], "complex": np.ones(4, complex)}
    np.savez("a.npz", inputs=np.ones((4, 3, 2)), targets=[0, 1, 0, 1], **arrays)
    write(
        pd.DataFrame({"id": [1, 2], "subject": ["a", None], "x_0": 1, "x_1": 1, "label": [0, 1]}),
        "wide.csv",
    )
    with pytest.raises(DataError, match=message):
        SequenceFiles(path, group_column=group, layout="wide" if path == "wide.csv" else "long")


def test_groups_of_empty_sequences_are_left_out():
    subject = np.array(["u", "v", "w", "u", "v", "w"])
    arrays = {"inputs": np.ones((6, 3, 2)), "targets": np.arange(6) % 2, "subject": subject}
    np.savez("a.npz", lengths=[1, 0, 2, 3, 1, 2], **arrays)
    data = SequenceFiles("a.npz", group_column="subject", empty="skip", val_fraction=0.3)
    found = {*data.sample_ids("train")}, {*data.sample_ids("val")}
    assert sorted(map(sorted, found), key=len) in ([[4], [0, 2, 3, 5]], [[0, 3], [2, 4, 5]], [[2, 5], [0, 3, 4]])


def test_text_that_could_be_a_group_is_answered():
    write(frame_of())
    with pytest.raises(DataError, match=r"'subject': expected a number, got 'p\d'") as caught:
        SequenceFiles("a.csv")
    assert '`group_column="NAME"`' in str(caught.value)


def test_groups_in_several_splits_are_counted():
    frame, other = write(frame_of()), frame_of(20, 12, seed=1)
    write(other, "b.csv")
    write(other.drop(columns="subject"), "c.csv")
    data = SequenceFiles("a.csv", val="b.csv", test="c.csv", group_column="subject")
    subjects = other.groupby("id").subject.first()
    common = sorted(set(frame.subject) & set(subjects))
    lines = data.report(["train", "val", "test"]).splitlines()
    expected = f"{subjects.isin(common).sum()} of 20 sequences in val are of a group that is also in train ('subject': "
    assert [line for line in lines if line.startswith(expected + ", ".join(common[:5]) + ", ...)")]
    assert "test has no column 'subject': not compared by group" in lines
    assert not [
        line for line in SequenceFiles("a.csv", val="b.csv", feature_columns=["x"]).report(["val"]) if "group" in line
    ]


def test_group_is_no_feature_of_new_files():
    frame = write(frame_of())
    data = SequenceFiles("a.csv", group_column="subject")
    write(frame.drop(columns="label"), "b.csv")
    write(frame.drop(columns=["label", "subject"]), "c.csv")
    for name in ("b.csv", "c.csv"):
        assert again(data, predict=name).split("predict").values.shape == (len(frame), 1)


@pytest.mark.parametrize(
    "change", [{"fold": "2/3"}, {"fold": None}, {"group_column": None}, {"time_split": "5", "fold": None}], ids=str
)
def test_the_choice_can_not_change_after_training(change):
    write(frame_of())
    data = SequenceFiles("a.csv", fold="1/3", group_column="subject")
    with pytest.raises(ValueError, match=" can't change after training, because it chooses the validation"):
        again(data, **change)


@pytest.mark.parametrize("arguments", [{"fold": "1/3"}, {"time_split": "3"}])
def test_fraction_has_no_effect_on_folds_and_times(arguments):
    write(frame_of().drop(columns="subject"))
    with pytest.warns(UnusedArgumentWarning, match=f"has no effect with `{next(iter(arguments))}`"):
        SequenceFiles("a.csv", val_fraction=0.5, **arguments)


def test_fold_is_taken_whatever_the_fraction_is(tmp_path):
    rows = [f"s{number},{number % 7},{'uv'[number % 2]}" for number in range(12)]
    (tmp_path / "a.csv").write_text("id,x,label\n" + "\n".join(rows))
    with pytest.warns(UnusedArgumentWarning, match="`val_fraction=0` has no effect with `fold`"):
        data = SequenceFiles(tmp_path / "a.csv", val_fraction=0, fold="1/3")
    assert (len(data.split("train").lengths), len(data.split("val").lengths)) == (8, 4)
