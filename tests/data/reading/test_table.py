"""CSV and Parquet, compared with pandas."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from seqlight.data.reading import csv_file
from seqlight.data.reading.raw import Columns
from seqlight.data.reading.read import read_sequences


def write(frame, path, index=False):
    if path.suffix == ".csv":
        frame.to_csv(path, index=index)
    else:
        frame.to_parquet(path, row_group_size=37, index=index)
    return path


def random_frame(rng, num_sequences=40, num_features=3):
    lengths = rng.integers(1, 12, num_sequences)
    ids = np.repeat([f"s{number}" for number in rng.permutation(num_sequences)], lengths)
    steps = np.concatenate([rng.choice(1000, length, replace=False) for length in lengths])
    labels = {name: rng.choice(["up", "down", "1"]) for name in set(ids)}
    frame = pd.DataFrame({"id": ids, "t": steps, "label": [labels[name] for name in ids]})
    for feature in range(num_features):
        frame[f"x{feature}"] = rng.standard_normal(len(ids))
    return frame


def check_against_groupby(raw, frame, step, features, label="label", sequence="id"):
    groups = {name: group.sort_values(step) if step else group for name, group in frame.groupby(sequence, sort=False)}
    assert list(raw.ids) == [str(name) for name in groups]
    np.testing.assert_array_equal(raw.lengths, [len(group) for group in groups.values()])
    expected = np.concatenate([group[features].to_numpy() for group in groups.values()])
    np.testing.assert_array_equal(raw.values, expected)
    assert raw.labels == [str(group[label].iloc[0]) for group in groups.values()]
    assert raw.values.dtype == np.float64
    assert raw.lengths.dtype == np.int64


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(csv_file, "_BLOCK", 1000)


@pytest.mark.parametrize("order", ["sorted", "interleaved", "shuffled"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("small_blocks")
def test_sequences_equal_pandas_groups(tmp_path, seed, suffix, order):
    rng = np.random.default_rng(seed)
    frame = random_frame(rng)
    if order == "interleaved":
        frame = frame.iloc[np.argsort(rng.random(len(frame)), kind="stable")]
    elif order == "shuffled":
        frame = frame.sort_values("t")
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}"))
    check_against_groupby(raw, frame, "t", ["x0", "x1", "x2"])
    assert raw.columns == Columns("id", "t", "label", ("x0", "x1", "x2"))
    [guess] = raw.guesses
    assert "sequence id in column 'id', steps sorted by 't', label 'label', features 'x0', 'x1', 'x2'" in guess


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.usefixtures("small_blocks")
def test_without_steps_rows_keep_their_order(tmp_path, suffix):
    rng = np.random.default_rng(5)
    frame = random_frame(rng).drop(columns="t").sample(frac=1, random_state=1)
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}"))
    check_against_groupby(raw, frame, None, ["x0", "x1", "x2"])
    assert raw.columns.step == ""
    assert "rows in the order of the file" in raw.guesses[0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_empty_step_name_ignores_a_step_column(tmp_path, suffix):
    frame = random_frame(np.random.default_rng(5)).sample(frac=1, random_state=1)
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}"), columns=Columns(step=""))
    check_against_groupby(raw, frame, None, ["t", "x0", "x1", "x2"])
    again = read_sequences(tmp_path / f"a{suffix}", columns=raw.columns)
    assert (again.columns, again.guesses) == (raw.columns, ())
    np.testing.assert_array_equal(again.values, raw.values)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_named_columns_are_read_and_others_ignored(tmp_path, suffix):
    frame = random_frame(np.random.default_rng(6)).rename(columns={"id": "who", "t": "when", "label": "what"})
    frame["comment"] = "text"
    columns = Columns("who", "when", "what", ("x2", "x0"))
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}"), columns=columns)
    check_against_groupby(raw, frame, "when", ["x2", "x0"], "what", "who")
    assert (raw.columns, raw.guesses) == (columns, ())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("Sequence_ID Timestamp Target a", Columns("Sequence_ID", "Timestamp", "Target", ("a",))),
        ("ID id label a", Columns("ID", "", "label", ("id", "a"))),
        ("id y a", Columns("id", "", "y", ("a",))),
        ("id y label a", Columns("id", "", "label", ("y", "a"))),
        ("sample_id index id class a", Columns("id", "index", "class", ("sample_id", "a"))),
    ],
)
def test_column_names_are_guessed(tmp_path, names, expected):
    names = names.split()
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    assert read_sequences(tmp_path / "a.csv").columns == expected


def steps_of(kind, rng, size):
    numbers = rng.permutation(size)
    days = pd.Timestamp("2024-01-30") + pd.to_timedelta(numbers, "D")
    return {
        "integers": numbers - 7,
        "beyond float64": 2**62 + numbers,
        "decimals": numbers / 8 - 1,
        "days": days.strftime("%Y-%m-%d"),
        "seconds": (pd.Timestamp("2024-01-30") + pd.to_timedelta(numbers, "s")).strftime("%Y-%m-%dT%H:%M:%S"),
        "UTC": days.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "timestamps": days,
        "zones": days.tz_localize("UTC"),
        "dates": days.date,
    }[kind], numbers


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *((".csv", kind) for kind in ("integers", "beyond float64", "decimals", "days", "seconds", "UTC")),
        *(
            (".parquet", kind)
            for kind in ("integers", "beyond float64", "decimals", "days", "timestamps", "zones", "dates")
        ),
    ],
)
def test_types_of_steps(tmp_path, suffix, kind):
    rng = np.random.default_rng(7)
    steps, numbers = steps_of(kind, rng, 50)
    frame = pd.DataFrame({"id": "a", "t": steps, "label": "b", "x": numbers})
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(raw.values[:, 0], np.arange(50))


@pytest.mark.usefixtures("small_blocks")
def test_integer_steps_followed_by_decimals(tmp_path):
    rows = [f"a,{step},b,{step}" for step in [*range(400), *(400.5 + step for step in range(50))][::-1]][::-1]
    (tmp_path / "a.csv").write_text("id,t,label,x\n" + "\n".join([*rows[1:], rows[0]]))
    raw = read_sequences(tmp_path / "a.csv")
    np.testing.assert_array_equal(raw.values[:, 0], np.array([float(row.split(",")[1]) for row in rows]))


LABELS = {
    "text": (["b", "a"], ["b", "a"]),
    "integers": ([3, 1], ["3", "1"]),
    "integral floats": ([3.0, 1.0], ["3", "1"]),
    "bools": ([True, False], ["True", "False"]),
    "categories": (pd.Categorical(["b", "a"], categories=["z", "a", "b"]), ["b", "a"]),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", LABELS)
def test_types_of_labels(tmp_path, kind, suffix):
    labels, expected = LABELS[kind]
    frame = pd.DataFrame({"id": [8, 7], "label": labels, "x": [1, 2]})
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}"))
    assert (raw.ids, raw.labels, raw.label_names) == (["8", "7"], expected, None)


def test_ids_are_in_row_order_not_category_order(tmp_path):
    ids = pd.Categorical(["b", "c", "b", "a"], categories=["z", "a", "b", "c"])
    raw = read_sequences(write(pd.DataFrame({"id": ids, "label": 1, "x": [1, 2, 3, 4]}), tmp_path / "a.parquet"))
    assert raw.ids == ["b", "c", "a"]
    np.testing.assert_array_equal(raw.values[:, 0], [1, 3, 2, 4])


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.int8())])
def test_lists_of_labels(tmp_path, kind):
    a, b = (1, 2) if kind == pa.list_(pa.int8()) else ("a", "b")
    labels = pa.array([[a, b], [a, b], [], [b], None], kind)
    table = pa.table({"id": [0, 0, 1, 2, 3], "label": labels, "x": [1.0, 2, 3, 4, 5]})
    parquet.write_table(table, tmp_path / "a.parquet")
    raw = read_sequences(tmp_path / "a.parquet", labelled=False)
    assert raw.labels == [(str(a), str(b)), (), (str(b),), None]
    assert raw.label_names is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", [int, float, bool])
def test_columns_of_labels(tmp_path, kind, suffix):
    held = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0]])
    frame = pd.DataFrame({"id": [0, 1, 1, 2], "x": [0.5, 1, 2, 3]})
    for index in range(3):
        frame[f"label_{index}"] = held[[0, 1, 1, 2], index].astype(kind)
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}"))
    assert raw.label_names == ("label_0", "label_1", "label_2")
    assert raw.labels == [tuple(f"label_{index}" for index in np.flatnonzero(row)) for row in held]
    assert raw.columns.features == ("x",)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("inputs", ["auto", "tokens"])
@pytest.mark.usefixtures("small_blocks")
def test_single_text_column_is_tokens(tmp_path, suffix, inputs):
    rng = np.random.default_rng(8)
    frame = random_frame(rng, 100, 0)
    frame["word"] = rng.choice(["the", "a", "cat", "7", " "], len(frame))
    frame.loc[0, "word"] = "cat"
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}"), inputs=inputs)
    in_order = pd.concat([group.sort_values("t") for _, group in frame.groupby("id", sort=False)])["word"]
    assert [raw.tokens[code] for code in raw.values] == in_order.tolist()
    assert raw.tokens == frame["word"].unique().tolist()
    assert raw.values.dtype == np.int32


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_single_integer_column_is_a_feature_or_tokens(tmp_path, suffix):
    frame = pd.DataFrame({"id": [0, 0, 1], "label": "a", "x": [7, 5, 7]})
    path = write(frame, tmp_path / f"a{suffix}")
    raw = read_sequences(path)
    np.testing.assert_array_equal(raw.values, [[7], [5], [7]])
    assert f'{path}: integers are read as a feature; as tokens with `inputs="tokens"`' in raw.guesses
    raw = read_sequences(path, inputs="tokens")
    assert (raw.tokens, raw.values.tolist()) == (["7", "5"], [0, 1, 0])
    assert not any("integers" in guess for guess in raw.guesses)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_labels_can_be_missing_if_not_required(tmp_path, suffix):
    frame = pd.DataFrame({"id": [0, 0, 1], "label": ["a", "a", None], "x": [1.0, 2, 3]})
    assert read_sequences(write(frame, tmp_path / f"a{suffix}"), labelled=False).labels == ["a", None]
    frame["label"] = None
    assert read_sequences(write(frame, tmp_path / f"b{suffix}"), labelled=False).labels is None
    path = write(frame.drop(columns="label"), tmp_path / f"c{suffix}")
    raw = read_sequences(path, labelled=False, columns=Columns("id", None, "label", ("x",)))
    assert (raw.labels, raw.columns.label) == (None, None)


@pytest.mark.parametrize("kind", ["int8", "uint64", "float16", "float32", "bool", "decimal", "dictionary"])
def test_types_of_features(tmp_path, kind):
    numbers = [1, 0, 1]
    column = {
        "decimal": lambda: pa.array(numbers).cast(pa.decimal128(25, 2)),
        "dictionary": lambda: pa.array(numbers).dictionary_encode(),
    }.get(kind, lambda: pa.array(np.array(numbers).astype(kind)))()
    parquet.write_table(
        pa.table({"id": [0, 0, 1], "label": [1, 1, 2], "x": column, "z": column}), tmp_path / "a.parquet"
    )
    np.testing.assert_array_equal(read_sequences(tmp_path / "a.parquet").values, [[1, 1], [0, 0], [1, 1]])


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_byte_order_mark_line_ends_and_quotes(tmp_path, start, end):
    lines = ['id,label,"x, or so",z', '1,"a, b",1.5, 2', '2,"two\nlines",-1e-3,+4', "", '2,"two\nlines",.5,5.']
    (tmp_path / "A.CSV").write_bytes(start + end.join(line.encode() for line in lines))
    raw = read_sequences(tmp_path / "A.CSV")
    assert raw.columns.features == ("x, or so", "z")
    assert (raw.ids, raw.labels) == (["1", "2"], ["a, b", "two\nlines"])
    np.testing.assert_array_equal(raw.values, np.array([[1.5, 2], [-1e-3, 4], [0.5, 5]]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_pandas_index_is_not_a_feature(tmp_path, suffix):
    frame = random_frame(np.random.default_rng(9)).sample(frac=1, random_state=1)
    raw = read_sequences(write(frame, tmp_path / f"a{suffix}", index=True))
    check_against_groupby(raw, frame, "t", ["x0", "x1", "x2"])
    assert "without the index" in raw.guesses[0]


def test_text_of_digits_is_a_feature_in_csv_and_tokens_in_parquet(tmp_path):
    frame = pd.DataFrame({"id": [0, 0, 1], "label": 1, "x": ["7", "5.5", "7"]})
    np.testing.assert_array_equal(read_sequences(write(frame, tmp_path / "a.csv")).values, [[7], [5.5], [7]])
    assert read_sequences(write(frame, tmp_path / "a.parquet")).tokens == ["7", "5.5"]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())]
)
def test_types_of_text(tmp_path, kind):
    def text(*values):
        return pa.array(values, kind.value_type if pa.types.is_dictionary(kind) else kind).cast(kind)

    table = {
        "id": text("b", "b", "a"),
        "t": text("2", "1", "3"),
        "label": text("u", "u", "v"),
        "x": text("k", "l", "k"),
    }
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    raw = read_sequences(tmp_path / "a.parquet")
    assert (raw.ids, raw.labels, raw.tokens, raw.values.tolist()) == (["b", "a"], ["u", "v"], ["k", "l"], [1, 0, 0])
    table |= {"label_a": text("0", "0", "1"), "label_b": text("1", "1", "1")}
    del table["label"]
    parquet.write_table(pa.table(table), tmp_path / "b.parquet")
    assert read_sequences(tmp_path / "b.parquet").labels == [("label_b",), ("label_a", "label_b")]


@pytest.mark.usefixtures("small_blocks")
def test_line_ends_within_quotes(tmp_path):
    rng = np.random.default_rng(10)
    frame = random_frame(rng)
    frame["comment"] = ["\n" * rng.integers(1, 30) + "," for _ in range(len(frame))]
    path = write(frame, tmp_path / "a.csv")
    raw = read_sequences(path, columns=Columns(features=("x0", "x1", "x2")))
    check_against_groupby(raw, frame, "t", ["x0", "x1", "x2"])
