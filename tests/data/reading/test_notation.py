"""Whether a column of text has numbers or tokens, wherever its unusual cells are."""

import json

import numpy as np
import pandas as pd
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.reading import csv_file
from seqlight.data.reading.read import read_sequences

NUMBERS = [f"{number / 8 - 3}" for number in range(60)]
WHOLE = [str(number % 7) for number in range(60)]
WORDS = [("cat", "the", "a", "mat", "on", "x1")[number % 6] for number in range(60)]


def write(path, cells):
    """Sequences of five steps with one column."""
    rows = [f's{row // 5},{row},{"uv"[row // 5 % 2]},"{cell}"' for row, cell in enumerate(cells)]
    path.write_text("\n".join(["id,t,label,x", *rows]))
    return path


def with_cell(cells, row, cell):
    return [*cells[:row], cell, *cells[row + 1 :]]


UNUSUAL = {  # a cell, and what the message says about it
    "NA": 'If values may be missing: `missing="mask"`',
    "n/a": 'If values may be missing: `missing="mask"`',
    "?": 'If values may be missing: `missing="mask"`',
    "-": 'If values may be missing: `missing="mask"`',
    "null": 'If values may be missing: `missing="mask"`',
    "1.5%": "Write numbers as digits",
    "12 %": "Write numbers as digits",
    "$4.20": "Write numbers as digits",
    "1.5 kg": "Write numbers as digits",
    "3.2°C": "Write numbers as digits",
    "1,234.5": "Write numbers with a decimal point, and without commas",
    "1.234,5": "Write numbers with a decimal point, and without commas",
    "1'234.5": "Write numbers as digits",
    "high": "If these are tokens",
    "3 4 5": "Write numbers as digits",
    "0x1F": "If these are tokens",
}


@pytest.mark.parametrize("block", [1 << 20, 300])
@pytest.mark.parametrize("row", [0, 1, 33, 59])
@pytest.mark.parametrize("cell", UNUSUAL)
def test_cell_that_is_no_number_is_named_in_any_row(tmp_path, monkeypatch, cell, row, block):
    monkeypatch.setattr(csv_file, "_BLOCK", block)
    with pytest.raises(DataError) as caught:
        read_sequences(write(tmp_path / "a.csv", with_cell(NUMBERS, row, cell)))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith(f"row {row + 1}, column 'x': expected a number, got {cell!r}.")
    assert lines[1].startswith(UNUSUAL[cell])
    assert lines[-1] == 'If these are tokens: `inputs="tokens"`'
    assert len(lines) <= 3


@pytest.mark.parametrize("row", [0, 33])
def test_empty_cell_is_named_in_any_row(tmp_path, row):
    with pytest.raises(DataError, match=f"row {row + 1}, column 'x': expected a number, got an empty cell"):
        read_sequences(write(tmp_path / "a.csv", with_cell(NUMBERS, row, "")))


@pytest.mark.parametrize("cell", UNUSUAL)
def test_whole_column_of_another_notation_is_no_text(tmp_path, cell):
    """The whole column decides. If the first cell did, 63 tokens would be learned, without an error."""
    numbers = [cell.replace("1", str(number % 9)) for number in range(60)]
    path = write(tmp_path / "a.csv", numbers)
    if UNUSUAL[cell].startswith("If these"):
        assert read_sequences(path).tokens == list(dict.fromkeys(numbers))
    else:
        with pytest.raises(DataError, match="row 1, column 'x': expected a number, got"):
            read_sequences(path)
    assert read_sequences(path, inputs="tokens").tokens == list(dict.fromkeys(numbers))


@pytest.mark.parametrize("row", [0, 33])
@pytest.mark.parametrize("cell", ["7", "NA", "-", "?"])
def test_words_with_some_integers_are_tokens(tmp_path, cell, row):
    cells = with_cell(WORDS, row, cell)
    raw = read_sequences(write(tmp_path / "a.csv", cells))
    assert [raw.tokens[code] for code in raw.values] == cells
    assert 'is read as tokens; as a feature with `inputs="features"`' in raw.guesses[-1]


@pytest.mark.parametrize("block", [1 << 20, 300])
@pytest.mark.parametrize("row", [0, 33, 59])
def test_decimals_among_words_are_refused(tmp_path, monkeypatch, row, block):
    """A sensor that writes words now and then, or words with a number: only the user knows."""
    monkeypatch.setattr(csv_file, "_BLOCK", block)
    path = write(tmp_path / "a.csv", with_cell(WORDS, row, "23.5"))
    with pytest.raises(DataError) as caught:
        read_sequences(path)
    assert 'inputs="tokens"' in str(caught.value)
    if block == 1 << 20 and row < 59:  # the first rows show that there are numbers
        assert f"row {1 if row else 2}, column 'x': expected a number, got " in str(caught.value)
    elif row == 59:  # the last row is never among them
        assert "row 60, column 'x': expected text as in earlier rows, got '23.5'" in str(caught.value)
    assert read_sequences(path, inputs="tokens").tokens[0] == ("cat" if row else "23.5")


@pytest.mark.parametrize(("words", "tokens"), [(29, False), (31, True)])
def test_as_many_integers_as_words_are_numbers(tmp_path, words, tokens):
    cells = [*WORDS[:words], *WHOLE[words:]]
    path = write(tmp_path / "a.csv", cells)
    if tokens:
        assert read_sequences(path).tokens is not None
    else:
        with pytest.raises(DataError, match="row 1, column 'x': expected a number, got 'cat'"):
            read_sequences(path)


def test_integers_are_said_to_be_a_feature_by_all_rows(tmp_path):
    path = write(tmp_path / "a.csv", WHOLE)
    assert any("integers are read as a feature" in guess for guess in read_sequences(path).guesses)
    raw = read_sequences(write(tmp_path / "b.csv", with_cell(WHOLE, 7, "0.5")))
    assert not any("integers are read" in guess for guess in raw.guesses)
    np.testing.assert_array_equal(raw.values[:, 0], np.float64(with_cell(WHOLE, 7, "0.5")))


@pytest.mark.parametrize("cell", [" 5 ", "+5", "5.", ".5", "5e-3", "5E+2", "-0"])
def test_notations_of_numbers_that_are_read(tmp_path, cell):
    raw = read_sequences(write(tmp_path / "a.csv", with_cell(NUMBERS, 0, cell)))
    assert raw.values[0, 0] == float(cell)


@pytest.mark.parametrize("names", [["x"], ["x", "z"]])
def test_test_file_is_read_as_the_training_file(tmp_path, names):
    """A test file of one row, whose notation alone would be unclear."""
    rows = [f"s{row // 5},{'uv'[row // 5 % 2]}," + ",".join([NUMBERS[row]] * len(names)) for row in range(60)]
    (tmp_path / "a.csv").write_text("\n".join([",".join(["id", "label", *names]), *rows]))
    (tmp_path / "b.csv").write_text(",".join(["id", "label", *names]) + "\n1,u," + ",".join(["NA"] * len(names)))
    data = SequenceFiles(tmp_path / "a.csv", test=tmp_path / "b.csv")
    with pytest.raises(DataError, match="row 1, column 'x': expected a number, got 'NA'"):
        data.split("test")


@pytest.mark.parametrize("suffix", [".jsonl", ".npz", ".parquet"])
@pytest.mark.parametrize(
    ("texts", "said"), [(["0.5", "-1.25", "3"], True), (["5", "7", "9"], False), (["a", "b", "c"], False)]
)
def test_numbers_stored_as_text_are_a_remark(tmp_path, texts, said, suffix):
    """They are tokens in a format that has numbers of its own."""
    path = tmp_path / f"a{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps({"inputs": texts, "label": label}) + "\n" for label in "uv"))
    elif suffix == ".npz":
        np.savez(path, inputs=np.array([texts, texts]), targets=["u", "v"])
    else:
        pd.DataFrame({"id": [0, 0, 0], "label": "u", "x": texts}).to_parquet(path)
    raw = read_sequences(path)
    assert raw.tokens == texts
    assert any(f"such as {texts[0]!r}" in guess and "as tokens" in guess for guess in raw.guesses) == said or (
        suffix,
        texts[0],
    ) == (".parquet", "5")
