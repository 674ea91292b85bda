"""Rows of CSV files, compared with those that Python's csv module finds."""

import csv

import numpy as np
import pytest

from seqlight.data.reading import csv_file, csv_rows
from seqlight.data.reading.raw import DataError
from seqlight.data.reading.read import read_sequences


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_rows_are_those_of_pythons_csv(tmp_path, monkeypatch, separator, chunk, seed):
    """Random text of quotes, separators, line ends and letters, well formed or not."""
    monkeypatch.setattr(csv_rows, "_CHUNK", chunk)
    rng = np.random.default_rng(seed)
    text = "".join(rng.choice(list('"",;\n\raé') + [separator] * 2, rng.integers(1, 60)))
    (tmp_path / "a.csv").write_text(text, newline="", encoding="utf-8")
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter=separator) if row]
    with open(tmp_path / "a.csv", "a") as file:
        file.write("\nend")  # a row of its own if all quotes before it are closed
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        closed = list(csv.reader(file, delimiter=separator))[-1] == ["end"]
    if closed:
        found = list(csv_rows.rows(tmp_path / "a.csv", 1000, separator))
        cells = [csv_rows.count_cells(row, separator) for row in found]
        assert cells == [*map(len, rows), 1]
        return
    where = f"row {len(rows) - 1}" if len(rows) > 1 else "the header"
    with pytest.raises(DataError, match=f"{where}: expected a closing quote before the end of the file"):
        list(csv_rows.rows(tmp_path / "a.csv", 1000, separator))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_quoted_cells_are_read(tmp_path, monkeypatch, quoting, line_end, seed):
    """Cells with quotes, commas and line ends, in the last column too, over several blocks."""
    monkeypatch.setattr(csv_file, "_BLOCK", 200)
    rng = np.random.default_rng(seed)
    labels = ["".join(rng.choice(["a", "b", '"', ",", line_end[-1]], 6)) for _ in range(30)]
    with open(tmp_path / "a.csv", "w", newline="") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator=line_end)
        writer.writerows([("id", "x", "label"), *((number, 0.5, label) for number, label in enumerate(labels))])
    raw = read_sequences(tmp_path / "a.csv")
    labels = [label.strip() for label in labels]
    assert raw.labels == labels
    with open(tmp_path / "a.csv", "rb+") as file:  # without a line end after the last row
        file.truncate((tmp_path / "a.csv").stat().st_size - len(line_end))
    assert read_sequences(tmp_path / "a.csv").labels == labels
