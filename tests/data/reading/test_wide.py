"""Tables with a row per sequence, compared with pandas and sktime."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.reading import csv_file
from seqlight.data.reading.raw import Columns
from seqlight.data.reading.read import read_sequences


def frame_of(rng, num=30, length=12, features=("x",), ragged=False, start=0):
    """A wide frame, and the series (T, F) that are in it."""
    series = [
        rng.standard_normal((rng.integers(1, length + 1) if ragged else length, len(features))) for _ in range(num)
    ]
    series[0] = rng.standard_normal((length, len(features)))
    columns = {"id": [f"s{row}" for row in range(num)]}
    for number, feature in enumerate(features):
        for step in range(length):
            columns[f"{feature}_{step + start}"] = [s[step, number] if step < len(s) else np.nan for s in series]
    return pd.DataFrame({**columns, "label": [("u", "v", "w")[row % 3] for row in range(num)]}), series


def write(frame, path, **arguments):
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False, **arguments)
    return path


@pytest.mark.parametrize("block", [1 << 20, 700])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("features", [("x",), ("acc", "gyro x", "z2")])
def test_series_equal_those_that_were_written(tmp_path, monkeypatch, features, ragged, suffix, block):
    monkeypatch.setattr(csv_file, "_BLOCK", block)
    frame, series = frame_of(np.random.default_rng(0), features=features, ragged=ragged)
    shuffled = frame[np.random.default_rng(1).permutation(frame.columns)]  # x_10 can come before x_9
    path = write(shuffled, tmp_path / f"a{suffix}")
    raw = read_sequences(path, layout="wide", columns=Columns(features=features))
    np.testing.assert_array_equal(raw.values, np.concatenate(series))
    np.testing.assert_array_equal(raw.lengths, [len(values) for values in series])
    assert (raw.ids, raw.labels) == (frame.id.tolist(), frame.label.tolist())
    assert raw.columns == Columns("id", "", "label", features)
    assert any("empty cells at the end of a row" in remark for remark in raw.remarks) == ragged


def test_values_equal_pandas_long_form(tmp_path):
    frame, _ = frame_of(np.random.default_rng(2), features=("x", "y"), start=1)
    path = write(frame, tmp_path / "a.csv")
    raw = read_sequences(path, layout="wide")
    long = pd.wide_to_long(
        pd.read_csv(path, float_precision="round_trip"), ["x", "y"], i="id", j="step", sep="_"
    ).reset_index()
    long = long.sort_values(
        ["id", "step"], key=lambda column: column.str[1:].astype(int) if column.name == "id" else column
    )
    np.testing.assert_array_equal(raw.values, long[["x", "y"]].to_numpy())
    [guess] = raw.guesses
    assert "sequence id in column 'id', label 'label', features 'x', 'y', of 12 steps in a row" in guess


@pytest.mark.parametrize("names", ["t{}", "x.{}", "x-{}", "x[{}]", "{}", "x {}", "dim0_{}"])
def test_names_of_steps(tmp_path, names):
    frame, series = frame_of(np.random.default_rng(3))
    frame.columns = ["id", *(names.format(step) for step in range(12)), "label"]
    raw = read_sequences(write(frame, tmp_path / "a.csv"), layout="wide")
    np.testing.assert_array_equal(raw.values, np.concatenate(series))
    assert len(raw.columns.features) == 1


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".tsv.gz"])
def test_archive_tsv_equals_sktimes(tmp_path, suffix, ragged):
    """Without a header, the label first; the archive pads unequal lengths with NaN."""
    frame, series = frame_of(np.random.default_rng(4), ragged=ragged)
    table = frame.drop(columns=["id", "label"])
    table.insert(0, "class", np.arange(30) % 3 - 1)  # the archive has numbers such as -1, too
    path = tmp_path / f"a{suffix}"
    table.to_csv(path, index=False, header=False, sep="\t" if "tsv" in suffix else ",", na_rep="NaN")
    raw = read_sequences(path, layout="wide")
    np.testing.assert_array_equal(raw.lengths, [len(values) for values in series])
    np.testing.assert_array_equal(raw.values, np.concatenate(series))
    assert raw.labels == [str(label) for label in table["class"]]
    assert list(raw.ids) == list(range(30))
    assert "label '1' (the first, since there is no header), features 'value', of 12 steps in a row" in raw.guesses[0]
    if suffix == ".tsv":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sktime warns about its own dependencies
            from sktime.datasets import load_from_ucr_tsv_to_dataframe

            nested, labels = load_from_ucr_tsv_to_dataframe(str(path))
        cells = [cell.to_numpy() for cell in nested.iloc[:, 0]]
        # pandas reads text quickly, not to the nearest float64.
        np.testing.assert_allclose(raw.values[:, 0], np.concatenate([c[~np.isnan(c)] for c in cells]), rtol=1e-12)
        assert raw.labels == [str(label) for label in labels]


def test_classes_as_numpy_writes_them(tmp_path):
    table = np.column_stack([[1, 2, -1, 10], np.arange(8).reshape(4, 2) / 4])
    np.savetxt(tmp_path / "a.tsv", table, delimiter="\t")
    raw = read_sequences(tmp_path / "a.tsv", layout="wide")
    assert raw.labels == ["1", "2", "-1", "10"]
    np.testing.assert_array_equal(raw.values.reshape(4, 2), table[:, 1:])


def test_label_in_another_column_without_header(tmp_path):
    values = np.random.default_rng(5).standard_normal((20, 6))
    path = tmp_path / "a.csv"
    pd.DataFrame(values).assign(label=np.arange(20) % 2).to_csv(path, index=False, header=False)
    raw = read_sequences(path, layout="wide", columns=Columns(label="7"))
    np.testing.assert_array_equal(raw.values[:, 0], values.reshape(-1))
    assert raw.labels == [str(row % 2) for row in range(20)]


def test_other_files_are_read_as_the_training_file(tmp_path):
    """With the same features in another order, without labels, and from the plain encoding."""
    frame, series = frame_of(np.random.default_rng(6), features=("x", "y"), ragged=True)
    path = write(frame, tmp_path / "a.csv")
    other = write(frame[[*frame.columns[:0:-1], "id"]].drop(columns="label"), tmp_path / "b.csv")
    data = SequenceFiles(path, path, predict=other, layout="wide", standardise=False)
    assert data.sample_ids("predict") == frame.id.tolist()
    np.testing.assert_array_equal(data.split("predict").values, np.concatenate(series).astype(np.float32))
    arguments = {"layout": "wide", "standardise": False, "encoding": json.loads(json.dumps(data.encoding.to_plain()))}
    again = SequenceFiles(test=path, **arguments)
    np.testing.assert_array_equal(again.split("test").values, data.split("val").values)
    (tmp_path / "c.jsonl").write_text(json.dumps({"inputs": [[1.5, 2.5]], "label": "u"}))
    assert SequenceFiles(test=tmp_path / "c.jsonl", **arguments).split("test").values.tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize(("separator", "decimal"), [(";", ","), ("\t", "."), (",", ",")])
def test_separators_and_decimal_commas(tmp_path, separator, decimal):
    frame, series = frame_of(np.random.default_rng(7))
    path = write(frame, tmp_path / "a.csv", sep=separator, decimal=decimal)
    np.testing.assert_array_equal(read_sequences(path, layout="wide").values, np.concatenate(series))


def test_several_label_columns(tmp_path):
    frame, _ = frame_of(np.random.default_rng(8))
    held = np.random.default_rng(9).integers(0, 2, (30, 2))
    frame = frame.drop(columns="label").assign(walk=held[:, 0], run=held[:, 1])
    raw = read_sequences(write(frame, tmp_path / "a.csv"), layout="wide", columns=Columns(label=("walk", "run")))
    assert raw.labels == [tuple(np.array(["walk", "run"])[row == 1]) for row in held]


def test_empty_rows(tmp_path):
    frame, series = frame_of(np.random.default_rng(10))
    frame.iloc[[2, 5], 1:-1] = np.nan
    path = write(frame, tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"row 3: expected at least one .*\n2 of 30 sequences have no time steps"):
        read_sequences(path, layout="wide")
    raw = read_sequences(path, layout="wide", empty="skip")
    kept = [row for row in range(30) if row not in (2, 5)]
    assert (raw.ids, raw.labels) == ([f"s{row}" for row in kept], [frame.label[row] for row in kept])
    np.testing.assert_array_equal(raw.values, np.concatenate([series[row] for row in kept]))


HEADER = "id,label,x_0,x_1,y_0,y_1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "a,u,1,2,3,4\nb,u,1,,3,4\n", "row 2, column 'x_1': expected a number, got an empty cell before"),
        (HEADER + "a,u,,2,,4\n", "row 1, column 'x_0': expected a number, got an empty cell before the row's last"),
        (HEADER + "a,u,1,2,3,b\n", "row 1, column 'y_1': expected a number, got 'b'"),
        (HEADER + "a,u,1,2,3,inf\n", "row 1, column 'y_1': expected a finite number .*, got inf"),
        (
            HEADER + "a,u,1,2,3,4\na,u,1,2,3,4\n",
            r'row 2, column \'id\': expected one row for each sequence, got \'a\' again\.\n.*layout="long"',
        ),
        (HEADER + "a,,1,2,3,4\n", "row 1, column 'label': expected a label, got an empty cell"),
        (HEADER + "a,u,1,2,3\n", "row 1: expected 6 cells, as in the header, got 5"),
        (HEADER, "expected rows, got only the names of columns"),
        (
            "id,label,x_0,x_1,age\n",
            r'such as x_0, x_1, besides id and label, got \'age\'\.\n.*`feature_columns=\["x"\]`',
        ),
        ("id,label,x_0,x_1,y_0\n", "expected the same steps of all features, got 2 of 'x' and 1 of 'y'"),
        ("id,label,x_1,x-1\n", "expected each step once, got 'x_1' and 'x-1'"),
        ("id,x_0,x_1\n", r"expected a column with the label of each sequence \(`label_column"),
        ("id,label\na,b\n", "expected columns with the number of a step, such as x_0, x_1, .* got none"),
        ("1,0.5,2\n1,0.5\n", "expected 3 cells"),
        ("0.5,0.25,1\n", r"expected a class in the first column, since .* got '0.5'\.\n.*`label_column=\"3\"`"),
    ],
)
def test_wide_tables_that_can_not_be_used(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_sequences(tmp_path / "a.csv", layout="wide")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(features=("z",)), "expected columns such as z_0, z_1 for the feature 'z'"),
        (Columns(step="t"), "expected no step column, since a row is a sequence, got 't'"),
        (Columns(label="kind"), r"expected a column 'kind' \(`label_column"),
    ],
)
def test_named_columns_that_are_not_there(tmp_path, columns, message):
    (tmp_path / "a.csv").write_text(HEADER + "a,u,1,2,3,4\n")
    with pytest.raises(DataError, match=message):
        read_sequences(tmp_path / "a.csv", layout="wide", columns=columns)


@pytest.mark.parametrize("text", ["kind,x_0,x_1\nu,1,2\n", "1\t0.5\t0.5\n2\t0.1\t0.2\n"])
def test_wide_table_read_as_long_names_the_layout(tmp_path, text):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(DataError, match=r'`layout="wide"`'):
        read_sequences(tmp_path / "a.tsv")


@pytest.mark.parametrize(("layout", "suffix"), [("wide", ".npz"), ("wide", ".jsonl"), ("channels_first", ".csv")])
def test_layout_of_another_format_is_refused(tmp_path, layout, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(DataError, match=f'`layout="{layout}"` is for files that end in'):
        SequenceFiles(path, layout=layout)


def test_tokens_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "a,u,1,2,3,4\n")
    with pytest.raises(DataError, match="got a wide table, which has numbers"):
        read_sequences(tmp_path / "a.csv", layout="wide", inputs="tokens")
