"""The format of the UCR/UEA archive, compared with sktime."""

import warnings

import numpy as np
import pytest

from seqlight import DataError
from seqlight.data.reading.read import read_sequences


def sktime_reads(path):
    """Series (T, F) and labels as read by sktime."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sktime warns about its own dependencies
        from sktime.datasets import load_from_tsfile

        nested, labels = load_from_tsfile(str(path), return_data_type="nested_univ")
    series = [np.stack([cell.to_numpy() for cell in row], 1) for row in nested.to_numpy()]
    return series, labels


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("num_features", [1, 3])
@pytest.mark.parametrize("equal", [True, False])
def test_sequences_equal_sktimes(tmp_path, seed, num_features, equal):
    rng = np.random.default_rng(seed)
    lines = [
        "# A comment: with a colon",
        "@problemName Random",
        "@timestamps false",
        "@missing false",
        f"@univariate {str(num_features == 1).lower()}",
        *([f"@dimensions {num_features}"] if num_features > 1 else []),
        f"@equalLength {str(equal).lower()}",
        *(["@seriesLength 6"] if equal else []),
        "@classLabel true up down",
        "@data",
    ]
    for _ in range(20):
        length = 6 if equal else rng.integers(1, 9)
        dimensions = [",".join(map(repr, rng.standard_normal(length).tolist())) for _ in range(num_features)]
        lines.append(":".join([*dimensions, str(rng.choice(["up", "down"]))]))
    (tmp_path / "a.ts").write_text("\n".join(lines) + "\n")
    raw = read_sequences(tmp_path / "a.ts")
    series, labels = sktime_reads(tmp_path / "a.ts")
    np.testing.assert_array_equal(raw.lengths, [len(values) for values in series])
    np.testing.assert_array_equal(raw.values, np.concatenate(series))
    assert raw.labels == labels.tolist()
    assert (raw.ids, raw.tokens, raw.guesses) == (range(20), None, ())


def test_unlabelled_file_with_mixed_case_tags_and_blanks(tmp_path):
    text = "\ufeff@CLASSLABEL False\r\n@Data\r\n 1, 2.5 ,3e2:4,5,6\r\n\r\n# no sequence\r\n7:8\r\n"
    (tmp_path / "a.ts").write_bytes(text.encode())
    raw = read_sequences(tmp_path / "a.ts", labelled=False)
    np.testing.assert_array_equal(raw.values, [[1, 4], [2.5, 5], [300, 6], [7, 8]])
    assert (raw.lengths.tolist(), raw.labels) == ([3, 1], None)


def test_numeric_classes(tmp_path):
    (tmp_path / "a.ts").write_text("@classLabel true 1.0 -1\n@data\n0.5:1\n0.5:-1.0\n")
    assert read_sequences(tmp_path / "a.ts").labels == ["1", "-1"]


@pytest.mark.parametrize("mark", ["%", "#"])
def test_comments_before_the_data(tmp_path, mark):
    """The file has the form of those converted from .arff: without @problemName, and with comments between the tags."""
    lines = [
        "% A comment: with a colon",
        "@timestamps false",
        "",
        f"  {mark} @data",
        "@classLabel true up down",
        "%",
        "@data",
    ]
    (tmp_path / "a.ts").write_text("\n".join([line.replace("%", mark) for line in lines] + ["1,2:up", "3,4,5:down"]))
    raw = read_sequences(tmp_path / "a.ts")
    np.testing.assert_array_equal(raw.values[:, 0], [1, 2, 3, 4, 5])
    assert (raw.lengths.tolist(), raw.labels) == ([2, 3], ["up", "down"])


@pytest.mark.parametrize("num_features", [1, 3])
@pytest.mark.parametrize("kind", ["integers", "dates"])
def test_series_with_times_equal_sktimes(tmp_path, kind, num_features):
    rng = np.random.default_rng(0)
    lines = [
        "@problemName T",
        "@timestamps true",
        f"@univariate {str(num_features == 1).lower()}",
        "@classLabel true a b",
    ]
    lines.append("@data")
    for row in range(20):
        length = rng.integers(1, 9)
        times = np.cumsum(rng.integers(1, 60, length))
        texts = [str(time) if kind == "integers" else f"2019-01-01 00:{time // 60:02}:{time % 60:02}" for time in times]
        dimensions = [
            ",".join(
                f"({time},{value!r})" for time, value in zip(texts, rng.standard_normal(length).tolist(), strict=True)
            )
            for _ in range(num_features)
        ]
        lines.append(":".join([*dimensions, "ab"[row % 2]]))
    (tmp_path / "a.ts").write_text("\n".join(lines) + "\n")
    raw = read_sequences(tmp_path / "a.ts")
    series, labels = sktime_reads(tmp_path / "a.ts")
    np.testing.assert_array_equal(raw.lengths, [len(values) for values in series])
    np.testing.assert_array_equal(raw.values, np.concatenate(series))
    assert raw.labels == labels.tolist()


TIMED = "@timestamps true\n@classLabel true a b\n@data\n"


def test_series_are_sorted_by_their_times(tmp_path):
    numbers = " ( 2 , 30 ),(1.5, 20) , (-1,10):(2,3),(1.5,2),(-1,1):a"
    dates = "(2019-10-01,1),(2019-09-01,2):(2019-10-01,3),(2019-09-01,4):b"
    (tmp_path / "a.ts").write_text(f"{TIMED}{numbers}\n{dates}\n")
    np.testing.assert_array_equal(read_sequences(tmp_path / "a.ts").values, [[10, 1], [20, 2], [30, 3], [2, 4], [1, 3]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("(0,1),(1,2):(0,1),(2,2):a", "dimension 2: expected the times of dimension 1, got others"),
        ("(0,1),(1,2),(0,3):a", "expected distinct times, got '0' twice"),
        ("(0,1),2:a", r"dimension 1, step 2: expected \(time,value\) \(@timestamps true\), got '2'"),
        ("(0,1,5):a", r"dimension 1, step 1: expected \(time,value\)"),
        ("1,2:a", r"dimension 1, step 1: expected \(time,value\)"),
        ("(0,1),(1,?):a", "dimension 1, step 2: expected a number, got a missing value"),
        ("(0,1),(soon,2):a", "expected times that are all numbers or all ISO dates, got '0' and others"),
        ("(nan,1),(nan,2):a", "expected times that are all numbers or all ISO dates"),
    ],
)
def test_times_that_can_not_be_used(tmp_path, line, message):
    (tmp_path / "a.ts").write_text(f"{TIMED}{line}\n")
    with pytest.raises(DataError, match=rf"sequence 0 \(line 4\).*: .*{message}|sequence 0 \(line 4\), {message}"):
        read_sequences(tmp_path / "a.ts")
