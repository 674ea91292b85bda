"""The format of the UCR/UEA archive, compared with sktime."""

import warnings

import numpy as np
import pytest

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
