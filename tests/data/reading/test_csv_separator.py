"""Separators, decimal commas and compression, compared with pandas."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.reading import csv_file, progress
from seqlight.data.reading.raw import Columns
from seqlight.data.reading.read import read_sequences

NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "'|'"}


def frame_of(seed=0, decimals=3):
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(20), rng.integers(1, 9, 20))
    frame = pd.DataFrame(
        {"id": rows, "t": np.arange(len(rows)) / 4, "x": rng.standard_normal(len(rows)).round(decimals)}
    )
    return frame.assign(z=rng.integers(0, 99, len(rows)), label=np.where(rows % 2, "u", "v"))


def check(raw, frame):
    np.testing.assert_array_equal(raw.values, frame[["x", "z"]].to_numpy())
    np.testing.assert_array_equal(raw.lengths, frame.groupby("id").size())
    assert raw.labels == frame.groupby("id").label.first().tolist()


@pytest.fixture(params=[1 << 20, 300])
def block(request, monkeypatch):
    monkeypatch.setattr(csv_file, "_BLOCK", request.param)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz"])
@pytest.mark.parametrize("separator", NAMES)
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.usefixtures("block")
def test_tables_equal_pandas(tmp_path, decimal, separator, suffix):
    frame, path = frame_of(), tmp_path / f"a{suffix}"
    frame.to_csv(path, index=False, sep=separator, decimal=decimal)
    raw = read_sequences(path)
    check(raw, pd.read_csv(path, sep=separator, decimal=decimal))
    usual = "\t" if "tsv" in suffix else ","
    expected = [] if separator == usual else [f"{path}: columns are separated by {NAMES[separator]}"]
    if decimal == ",":
        example = next(str(t).replace(".", ",") for t in frame.x)
        expected.append(f"{path}: numbers have decimal commas, such as {example}")
    assert list(raw.remarks) == expected


@pytest.mark.parametrize("separator", NAMES)
def test_separators_within_quotes(tmp_path, separator):
    """Names and cells with other separators, and with the separator itself."""
    frame = frame_of().rename(columns={"z": "z; or, so|\t"})
    frame["label"] = np.where(frame.id % 2, "a;b,c|d\te;f", "g")
    frame.to_csv(tmp_path / "a.csv", index=False, sep=separator)
    raw = read_sequences(tmp_path / "a.csv")
    check(raw, frame.rename(columns={"z; or, so|\t": "z"}))


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("id,label,x;y;z;w\n1,u,5\n", ","),  # the header alone would have more cells with semicolons
        ("id;t;x, m;label\n1;2;3;u\n", ";"),
        ("id;t;x;label\n1;2;3,5;u\n", ";"),
        ("id,label,x\n", ","),
        ("id;label;x\n", ";"),
    ],
)
def test_separator_fits_the_first_row(tmp_path, text, separator):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError) if text.count("\n") == 1 else _nothing():
        raw = read_sequences(tmp_path / "a.csv")
        assert len(raw.remarks) - any("decimal" in remark for remark in raw.remarks) == (separator != ",")
        assert raw.labels == ["u"]


class _nothing:  # noqa: N801
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return False


@pytest.mark.parametrize("separator", [";", "\t"])
def test_rows_that_differ_are_named(tmp_path, separator):
    rows = [f"s{row},{row},u,1,2".replace(",", separator) for row in range(30)]
    for wrong, got in (("s,9,u,1", 4), ("s,9,u,1,2,3", 6)):
        text = "\n".join(
            ["id,t,label,x,z".replace(",", separator), *rows[:8], wrong.replace(",", separator), *rows[9:]]
        )
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(DataError, match=f"row 9: expected 5 cells, as in the header, got {got}"):
            read_sequences(tmp_path / "a.csv")


def test_report_says_what_was_recognised(tmp_path):
    """In each file."""
    frame_of().to_csv(tmp_path / "a.csv", index=False, sep=";", decimal=",")
    frame_of(1).to_csv(tmp_path / "b.tsv.gz", index=False, sep="\t")
    data = SequenceFiles(tmp_path / "a.csv", test=tmp_path / "b.tsv.gz")
    report = data.report(["train", "val", "test"])
    assert report.count("columns are separated by semicolons") == report.count("numbers have decimal commas") == 1
    assert data.split("test").values.shape == (len(frame_of(1)), 2)
    assert SequenceFiles(tmp_path / "b.tsv.gz").name == "b"


@pytest.mark.parametrize("separator", [",", "\t"])
def test_commas_that_may_be_thousands_are_refused(tmp_path, separator):
    rows = [("a", "1,234", "u"), ("b", "17", "v"), ("c", "2,000", "v")]
    quoted = [
        "id,label,x".replace(",", separator),
        *(f'{name}{separator}{label}{separator}"{x}"' for name, x, label in rows),
    ]
    (tmp_path / "a.csv").write_text("\n".join(quoted))
    with pytest.raises(DataError) as caught:
        read_sequences(tmp_path / "a.csv")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("row 1, column 'x': expected a number, got '1,234'.")
    assert lines[1] == "Write numbers with a decimal point, and without commas between thousands"


@pytest.mark.parametrize(
    "cells", [["1,234", "0,5"], ["1,2345"], ["0,123"], ["1234,567"], ["1,5e3", "2"], [",5"], ["-1,"]]
)
def test_commas_that_can_only_be_decimal(tmp_path, cells):
    text = "".join(f'{number},u,"{cell}"\n' for number, cell in enumerate(cells))
    (tmp_path / "a.csv").write_text("id,label,x\n" + text)
    expected = pd.read_csv(io.StringIO("x\n" + "\n".join(f'"{cell}"' for cell in cells)), decimal=",").x
    np.testing.assert_array_equal(read_sequences(tmp_path / "a.csv").values[:, 0], expected)


def test_commas_between_semicolons_are_decimal(tmp_path):
    (tmp_path / "a.csv").write_text("id;label;x\n1;u;1,234\n2;v;2,000\n")
    np.testing.assert_array_equal(read_sequences(tmp_path / "a.csv").values[:, 0], [1.234, 2])


def test_decimal_commas_of_steps_and_dates(tmp_path):
    (tmp_path / "a.csv").write_text("id;t;label;x\n1;0,5;u;3\n1;0,25;u;2\n1;-1,5;u;1\n")
    assert read_sequences(tmp_path / "a.csv").values[:, 0].tolist() == [1, 2, 3]
    (tmp_path / "b.csv").write_text("id;t;label;x\n1;2024-01-01T00:00:01.5;u;2,5\n1;2024-01-01T00:00:01.25;u;1,5\n")
    assert read_sequences(tmp_path / "b.csv").values[:, 0].tolist() == [1.5, 2.5]


@pytest.mark.usefixtures("block")
def test_number_of_the_other_notation_is_named(tmp_path):
    rows = [f"s{row};{row};u;1,5" for row in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["id;t;label;x", *rows, "s;1;u;1.5"]))
    with pytest.raises(DataError, match=r"row 101, column 'x': expected a number.*got '1.5'"):
        read_sequences(tmp_path / "a.csv")
    rows = [row.replace(",", ".") for row in rows]
    (tmp_path / "a.csv").write_text("\n".join(["id;t;label;x", *rows, "s;1;u;1,5"]))
    with pytest.raises(DataError, match="row 101, column 'x': expected a number, got '1,5'"):
        read_sequences(tmp_path / "a.csv")


def test_tokens_may_have_commas(tmp_path):
    (tmp_path / "a.csv").write_text('id,label,x\n1,u,"a,b"\n1,u,c\n1,u,"d,"\n')
    assert read_sequences(tmp_path / "a.csv").tokens == ["a,b", "c", "d,"]


@pytest.mark.parametrize("damage", ["cut", "middle", "plain"])
def test_damaged_gzip_is_refused(tmp_path, damage):
    frame = frame_of()
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    whole = (tmp_path / "a.csv.gz").read_bytes()
    broken = {"cut": whole[:-30], "middle": whole[:200] + bytes(50) + whole[250:], "plain": b"id,label,x\n1,u,2\n"}[
        damage
    ]
    (tmp_path / "a.csv.gz").write_bytes(broken)
    with pytest.raises(DataError, match=r"a\.csv\.gz: expected a whole file as gzip writes it: "):
        read_sequences(tmp_path / "a.csv.gz")


def test_errors_in_a_compressed_file_name_the_row(tmp_path):
    for text, expected in (
        (b"id,label,x\n1,u,2\n1,u,b\n", "row 2, column 'x': expected a number, got 'b'"),
        (b"id,label,x\n1,u,2\n1,u\n", "row 2: expected 3 cells, as in the header, got 2"),
        (b"id,label,x\n1,u,2\n1,\xe4,3\n", "row 2: expected text in UTF-8, got byte 0xe4"),
        (b'id,label,x\n1,u,2\n1,u,"3\n', "row 2: expected a closing quote before the end of the file"),
    ):
        (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text))
        with pytest.raises(DataError, match=expected):
            read_sequences(tmp_path / "a.csv.gz", inputs="features")


def test_compressed_file_in_parts_and_its_progress(tmp_path, monkeypatch):
    """Parts compressed one by one are one file, as the command cat makes it."""
    monkeypatch.setattr(csv_file, "_BLOCK", 1000)
    frame = frame_of()
    text = frame.to_csv(index=False).encode()
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(text[:500]) + gzip.compress(text[500:]))
    bars = []

    class Bar(progress.tqdm):
        def close(self):
            bars.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(progress, "tqdm", Bar)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    check(read_sequences(path, columns=Columns(features=("x", "z"))), frame)
    assert (path.stat().st_size, path.stat().st_size) in bars


@pytest.mark.parametrize("start", ["\n\n", "\r\n"])
def test_empty_lines_before_the_header(tmp_path, start):
    (tmp_path / "a.csv").write_text(f"{start}id,label,x\n1,u,2\n\n1,u,b\n", newline="")
    with pytest.raises(DataError, match="row 2, column 'x': expected a number, got 'b'"):
        read_sequences(tmp_path / "a.csv", inputs="features")


def test_header_of_one_cell_names_the_separators(tmp_path):
    (tmp_path / "a.csv").write_text("id x label\n1 0.5 u\n")
    with pytest.raises(
        DataError, match=r"got columns 'id x label'\.\nColumns are separated by commas, semicolons, tabs"
    ):
        read_sequences(tmp_path / "a.csv")
