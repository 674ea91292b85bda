"""Error messages for files that can't be used."""

import contextlib
import io
import os
import re
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from seqlight.data.reading import collect, csv_file, memory
from seqlight.data.reading.raw import Columns, DataError
from seqlight.data.reading.read import read_sequences


def refusal(path, **arguments):
    """The error message without the path. It is short and names the file."""
    with pytest.raises(DataError) as caught:
        read_sequences(path, **arguments)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert 1 <= len(message.splitlines()) <= 3
    assert len(message) < 400 + len(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".npz", ".ts"])
def test_paths(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    assert "can't read it: No such file or directory" in refusal(path)
    path.write_bytes(b"")
    assert "expected sequences, got an empty file" in refusal(path)
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    assert "expected a folder with files that end in" in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".npz", ".ts"])
def test_pipe_is_refused_without_waiting(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)

    def wait(*arguments, **keywords):
        raise AssertionError("opened, which waits for a writer")

    monkeypatch.setattr("builtins.open", wait)
    assert refusal(path) == ": expected a file, got a pipe or device"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permission(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("id,x\n")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root can read everything

        def refuse(*arguments, **keywords):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    assert "can't read it: Permission denied" in refusal(path)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.csv.bz2", "a.npz.gz", "a.gz", "a.npy"])
def test_suffix(tmp_path, name):
    assert (
        "expected a file that ends in .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .jsonl, .npz, .ts, .arff, got"
        in refusal(tmp_path / name)
    )


HEADER = "id,t,label,x,z\n"
TABLES = {  # the file's text, and a pattern of the message
    "header only": (HEADER, "expected rows, got only the names of columns"),
    "blank lines only": ("\n\n", r'expected a column with the sequence each row belongs to \(`id_column="NAME"`\)'),
    "no id": ("name,t,label,x\n1,2,3,4\n", r"""\(`id_column="NAME"`\), got columns 'name', 't', 'label', 'x'"""),
    "no label": (
        "id,t,x\n1,2,3\n",
        r"""label of each sequence \(`label_column="NAME"`\), got columns 'id', 't', 'x'""",
    ),
    "no features": ("id,t,label\n1,2,3\n", r'features besides id, step and label \(`feature_columns=\["NAME"\]`\)'),
    "semicolons": (
        "id;t;label;x\n1;2;3;4,5\n1;2;3;4.5\n",
        "row 1, column 'x': expected a number, got '4,5'.\nWrite numbers with a decimal point",
    ),
    "semicolons and a short row": ("id;t;label;x\n1;2;3\n", "row 1: expected 4 cells, as in the header, got 3"),
    "tabs": ("id\tx\n1\t2\n", r"the label of each sequence \(`label_column=\"NAME\"`\), got columns 'id', 'x'"),
    "truth values": (
        HEADER + "a,0,u,1,True\n",
        "row 1, column 'z': expected a number, got 'True'.\nWrite true and false as 1 and 0$",
    ),
    "names twice": ("id,x,label,x\n1,2,3,4\n", "columns with distinct names, got 'x' 2 times"),
    "no number": (
        HEADER + "a,0,u,1,2\na,1,u,1,high\n",
        r"""row 2, column 'z': expected a number, got 'high'.\n.*`feature_columns=\["NAME"\]`; .*`group_column=.*`$""",
    ),
    "no number in a column of numbers": (
        "id,label,x\na,u,1\na,u,b\n",
        r"""row 2, column 'x': expected a number, got 'b'.\n.*`inputs="tokens"`$""",
    ),
    "empty feature": (HEADER + "a,0,u,1,\n", "row 1, column 'z': expected a number, got an empty cell"),
    "empty token": ("id,label,x\na,u,b\na,u,\n", "row 2, column 'x': expected a token, got an empty cell"),
    "empty id": (HEADER + ",0,u,1,2\n", "row 1, column 'id': expected the sequence .* got an empty cell"),
    "empty step": (HEADER + "a,,u,1,2\n", "row 1, column 't': expected a step, got an empty cell"),
    "empty label": (HEADER + "a,0,u,1,2\na,1,,1,2\n", "row 2, column 'label': expected a label, got an empty cell"),
    "NaN": (HEADER + "a,0,u,nan,2\n", "row 1, column 'x': expected a finite number .*, got nan"),
    "infinity": (HEADER + "a,0,u,1,-inf\n", "row 1, column 'z': expected a finite number .*, got -inf"),
    "beyond float32": (
        HEADER + "a,0,u,1,1e300\n",
        "column 'z': expected a finite number within float32's range, got 1e300",
    ),
    "label changes": (
        HEADER + "a,0,u,1,2\nb,0,v,1,2\na,1,v,1,2\n",
        "row 3, column 'label': expected the same label in all rows of sequence 'a', got 'v' after 'u'.\n"
        "That 'label' is the label was guessed by its name; no other column looks like a label. "
        'The column with the label: `label_column="NAME"`\nIf each step has a label: `label_per="step"`',
    ),
    "step twice": (
        HEADER + "a,1,u,1,2\na,0,u,1,2\nb,1,v,1,2\na,1.0,u,1,2\n",
        "rows 1 and 4, column 't': expected distinct steps in a sequence, got the same step twice in sequence 'a'",
    ),
    "step no number": (HEADER + "a,soon,u,1,2\n", "row 1, column 't': expected a number or an ISO date, got 'soon'"),
    "step of another kind": (
        HEADER + "a,0,u,1,2\na,2024-01-01,u,1,2\n",
        r"row 2, column 't': expected a step of the same type as before \(double\), got '2024-01-01'",
    ),
    "step NaN": (HEADER + "a,0,u,1,2\na,nan,u,1,2\n", "row 2, column 't': expected a step, got NaN"),
    "too few cells": (HEADER + "a,0,u,1,2\na,1,u,1\n", "row 2: expected 5 cells, as in the header, got 4"),
    "too many cells": (HEADER + "a,0,u,1,2\n\na,1,u,1,2,3\n", "row 2: expected 5 cells, as in the header, got 6"),
    "label column neither 0 nor 1": (
        "id,label_a,label_b,x\na,0,1,3\nb,1,2,3\n",
        "row 2, column 'label_b': expected 0 or 1, got '2'",
    ),
    "label column empty": (
        "id,label_a,label_b,x\na,0,,3\n",
        "row 1, column 'label_a, label_b': expected a label, got an empty",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_csv(tmp_path, case):
    text, expected = TABLES[case]
    (tmp_path / "a.csv").write_text(text)
    assert re.search(expected, refusal(tmp_path / "a.csv"))


def test_rows_are_counted_over_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_file, "_BLOCK", 1000)
    rows = [f"s{row // 7},{row},u,1,2" for row in range(1000)]
    for wrong, expected in (
        ("s128,902,u,1,x", "row 900, column 'z': expected a number, got 'x'"),
        ("s128,899,u,1", "row 900: expected 5 cells, as in the header, got 4"),
        ("s128,899,v,1,2", "row 900, column 'label': expected the same label in all rows of sequence 's128'"),
        ("s128,898,u,1,2", "rows 899 and 900, column 't': expected distinct steps"),
        ("s128,899,u,1,\ufffe", "row 900, column 'z': expected a number"),
    ):
        (tmp_path / "a.csv").write_text(HEADER + "\n".join([*rows[:899], wrong, *rows[900:]]), encoding="utf-8")
        assert expected in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER.encode() + b"a,0,\xe4,1,2\n", "row 1: expected text in UTF-8, got byte 0xe4"),
        (b"id,l\xe4bel,x\na,0,1\n", "the header: expected text in UTF-8, got byte 0xe4"),
        ((HEADER + "a,0,u,1,2\n").encode("utf-16"), "the header: expected text in UTF-8, got byte 0xff"),
    ],
)
def test_csv_not_utf8(tmp_path, text, expected):
    (tmp_path / "a.csv").write_bytes(text)
    assert expected in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + 'a,0,u,1,"2\n' * 3, r"row 1, column 'z': expected a number, got '2\\na,0,u,1,2'"),
        (HEADER + "\0" * 50, "row 1: expected 5 cells, as in the header, got 1"),
        ("\0" * 50, r"""\(`id_column="NAME"`\), got columns '(\\x00){14}..."""),
        ('id,"', "the header: expected a closing quote before the end of the file"),
        (HEADER + '"' * 5, "row 1: expected a closing quote before the end of the file"),
        (HEADER + "a,0,u,1,2\na,1,\x80,1\n", "row 2: expected text in UTF-8, got byte 0x80"),
    ],
)
def test_malformed_csv(tmp_path, text, expected):
    (tmp_path / "a.csv").write_text(text, encoding="latin-1")
    assert re.search(expected, refusal(tmp_path / "a.csv"))


def with_open_quote(row, cell, num_rows):
    """A table in which the quote before one cell is not closed."""
    rows = [[f"s{number}", "0", "u", "1", "2"] for number in range(1, num_rows + 1)]
    rows[row - 1][cell] = '"' + rows[row - 1][cell]
    return HEADER + "".join(",".join(each) + "\n" for each in rows)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("num_rows", [8, 100, 400])  # rows of 11 bytes in one block of 1000 bytes, in two, and in more
@pytest.mark.parametrize("cell", [0, 2, 4])  # in the last cell, the row has as many cells as the header
@pytest.mark.parametrize("back", [0, 5, None])
def test_open_quote_is_named_with_its_row(tmp_path, monkeypatch, back, cell, num_rows, line_end):
    monkeypatch.setattr(csv_file, "_BLOCK", 1000)
    row = 3 if back is None else num_rows - back
    text = with_open_quote(row, cell, num_rows).replace("\n", line_end)
    (tmp_path / "a.csv").write_text("\ufeff" + text, newline="", encoding="utf-8")
    rest = len(",".join(text.splitlines()[row:]))
    limit = "within 1000 bytes" if rest > 1000 else "before the end of the file"
    begins = ["s", "", "u", "", "2"][cell]
    message = refusal(tmp_path / "a.csv", columns=Columns(features=("x",)))  # the last column is not read
    assert f": row {row}: expected a closing quote {limit}, for the cell that begins with '\"{begins}" in message
    assert message == refusal(tmp_path / "a.csv")


def test_open_quote_at_the_end_is_no_part_of_a_label(tmp_path):
    """Without a check, the rows below the quote would be the text of a class."""
    (tmp_path / "a.csv").write_text('id,x,label\na,1,u\nb,2,"v\nb,3,v\n')
    assert "row 2: expected a closing quote before the end of the file" in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("row", [1, 2, 300])
@pytest.mark.parametrize("line_end", ["\n", "\n\n", ""])
def test_row_over_the_limit_is_named(tmp_path, row, quoted, line_end):
    long = "a\n" * (1 << 20) if quoted else "a" * (1 << 21)
    rows = [f"s{number},0,u,1,2\n" for number in range(1, row)]
    rows.append(f"s{row},0," + (f'"{long}"' if quoted else long) + f",1,2{line_end}")
    (tmp_path / "a.csv").write_text(HEADER + "".join(rows))
    message = refusal(tmp_path / "a.csv")
    assert message.startswith(f": row {row}: expected a ")
    assert "1048576 bytes" in message


def test_long_header(tmp_path):
    (tmp_path / "a.csv").write_text("id,label," + "x" * 200_000 + "\na,u,1\n")
    assert "expected the names of columns in the first row: field larger than field limit" in refusal(
        tmp_path / "a.csv"
    )
    (tmp_path / "a.csv").write_text('id,label,"x\na,u,1\n' + "a,u,1\n" * 200_000)
    assert "the header: expected a closing quote before the end of the file" in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            Columns(id="who"),
            """expected a column 'who' (`id_column="NAME"`), got columns 'id', 't', 'label', 'x', 'z'""",
        ),
        (Columns(step="when"), """expected a column 'when' (`step_column="NAME"`)"""),
        (Columns(label="what"), """expected a column 'what' (`label_column="NAME"`)"""),
        (Columns(label=("label", "z", "w")), """expected a column 'w' (`label_column="NAME"`)"""),
        (Columns(features=("x", "y")), """expected a column 'y' (`feature_columns=["NAME"]`)"""),
        (Columns(id="x", features=("x", "z")), "expected each column for one purpose, got 'x' 2 times"),
    ],
)
def test_named_columns(tmp_path, suffix, columns, expected):
    frame = pd.DataFrame([["a", 0, "u", 1, 2]], columns=HEADER.strip().split(","))
    path = tmp_path / f"a{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    assert expected in refusal(path, columns=columns)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": []}, "expected rows, got only the names of columns"),
        ({"x": [[1.0], [2.0]]}, "row 2, column 'id': expected one row for each sequence, got 'a' again"),
        ({"x": [{"a": 1.0}, {"a": 2.0}]}, "column 'x': expected numbers, got struct<"),
        ({"x": ["a", "b"]}, "row 1, column 'x': expected a number, got 'a'"),
        ({"x": [1.0, None]}, "row 2, column 'x': expected a number, got an empty cell"),
        ({"x": [1.0, float("inf")]}, "row 2, column 'x': expected a finite number within float32's range, got inf"),
        ({"x": [1.0, -1e300]}, "row 2, column 'x': expected a finite number within float32's range, got -1e+300"),
        ({"x": [b"a", b"b"]}, "column 'x': expected numbers, got binary"),
        ({"id": ["a", None]}, "row 2, column 'id': expected the sequence that the row belongs to, got an empty cell"),
        (
            {"label": [0.5, 1.5]},
            "row 1, column 'label': expected a class: text or an integer (for a number to predict: ",
        ),
        ({"label": [1.0, float("nan")]}, "row 2, column 'label': expected a label, got an empty cell"),
        ({"label": [["a"], ["a", "b"]]}, "row 2, column 'label': expected the same label in all rows of sequence 'a'"),
        ({"label": [["a"], None]}, "row 2, column 'label': expected a label, got an empty cell"),
        ({"label": [{"a": 1}, {"a": 1}]}, "column 'label': expected labels, got struct<"),
        ({"id": [[1], [1]]}, "column 'id': expected one value in each row, got lists"),
        ({"t": [[1], [2]]}, "expected columns with features besides id, step and label"),
        ({"z": ["a", "a"], "x": [None, "b"]}, "row 1, column 'x': expected a number, got an empty cell"),
        ({"t": [1, None]}, "row 2, column 't': expected a step, got an empty cell"),
        ({"t": [1, 1]}, "rows 1 and 2, column 't': expected distinct steps in a sequence"),
    ],
)
def test_parquet(tmp_path, changes, expected):
    columns = {"id": ["a", "a"], "t": [0, 1], "label": ["u", "u"], "x": [1.0, 2.0], "z": [1.0, 2.0]} | changes
    if not columns["id"]:
        columns = dict.fromkeys(columns, ())
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert expected in refusal(tmp_path / "a.parquet")


def test_parquet_with_duplicate_names(tmp_path):
    parquet.write_table(pa.table([[1], [2], [3], [4]], names=["id", "x", "label", "x"]), tmp_path / "a.parquet")
    assert "expected columns with distinct names, got 'x' 2 times" in refusal(tmp_path / "a.parquet")


def test_corrupt_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"id": np.arange(500) // 10, "label": "u", "x": np.random.default_rng(0).random(500)})
    frame.to_parquet(path)
    whole = path.read_bytes()
    for broken in (b"no parquet", whole[:-100], whole[: len(whole) // 2], b"PAR1" * 3):
        path.write_bytes(broken)
        assert "can't be read as Parquet: " in refusal(path)
    for start in range(8, len(whole) - 50, len(whole) // 40):  # either readable, or refused with a DataError
        path.write_bytes(whole[:start] + bytes(50) + whole[start + 50 :])
        with contextlib.suppress(DataError):
            read_sequences(path)


@pytest.mark.parametrize("inputs", ["tokens", "features"])
def test_table_read_as_other_inputs(tmp_path, inputs):
    path = tmp_path / "a.csv"
    path.write_text("id,label,x,z\n1,2,a,4\n")
    expected = {
        "tokens": 'expected one column of tokens (`feature_columns=["NAME"]`), got x, z',
        "features": "row 1, column 'x': expected a number, got 'a'",
    }
    assert expected[inputs] in refusal(path, inputs=inputs)
    parquet.write_table(pa.table({"id": [1], "label": [1], "x": [0.5]}), tmp_path / "a.parquet")
    assert "column 'x': expected tokens, text or integers, got double" in refusal(
        tmp_path / "a.parquet", inputs="tokens"
    )


GOOD = '{"inputs": [[1, 2], [3, 4]], "label": "u"}\n'
LINES = {
    "broken": ('{"inputs": [[1, 2]\n', "expected JSON: Input data was truncated"),
    "text": ("inputs\n", "expected JSON: JSON is malformed"),
    "another type": ("[1, 2]\n", "expected a sequence like {.*}: Expected `object`, got `array`"),
    "no inputs": ('{"input": [[1, 2]]}\n', "Object missing required field `inputs`"),
    "null": ('{"inputs": [[1, null]], "label": "u"}\n', "step 1, feature 2: .*, got nan.\nIf values may be missing"),
    "text as number": ('{"inputs": [[1, "2"]], "label": "u"}\n', r"Expected `float \| null`, got `str`"),
    "NaN": ('{"inputs": [[1, NaN]], "label": "u"}\n', "expected JSON with finite numbers, got NaN or Infinity"),
    "infinity": ('{"inputs": [[1, 2], [-Infinity, 1]], "label": "u"}\n', "finite numbers, got NaN or Infinity"),
    "beyond float64": ('{"inputs": [[1, 1e999]], "label": "u"}\n', "[Nn]umber out of range"),
    "beyond float32": (
        '{"inputs": [[1, 2], [3, -1e300]], "label": "u"}\n',
        r"step 2, feature 2: expected a finite number within float32's range, got -1e\+300",
    ),
    "length 0": (
        '{"inputs": [], "label": "u"}\n',
        r'got a sequence of length 0\n1 of 3 .*`empty="skip"` leaves it out$',
    ),
    "no features": ('{"inputs": [[], []], "label": "u"}\n', "expected at least one feature in each step"),
    "ragged": ('{"inputs": [[1, 2], [3]], "label": "u"}\n', "step 2: expected 2 features, as in step 1, got 1"),
    "other features": (
        '{"inputs": [[1, 2, 3]], "label": "u"}\n',
        "expected 2 features, as in earlier sequences, got 3",
    ),
    "mixed within": ('{"inputs": ["a", 1], "label": "u"}\n', "expected time steps of one kind, got 'a' and 1"),
    "mixed with lists": ('{"inputs": [[1, 2], 1], "label": "u"}\n', r"time steps of one kind, got \[1.0, 2.0\] and 1"),
    "tokens": (
        '{"inputs": ["a"], "label": "u"}\n',
        "expected steps with lists of numbers, as in earlier lines, got text tokens",
    ),
    "no label": ('{"inputs": [[1, 2]]}\n', "expected a label, got none"),
    "label null": ('{"inputs": [[1, 2]], "label": null}\n', "expected a label, got none"),
    "label with decimals": ('{"inputs": [[1, 2]], "label": 0.5}\n', "expected a class: text or an integer .*, got 0.5"),
    "label of another kind": (
        '{"inputs": [[1, 2]], "label": ["u"]}\n',
        "expected one class as label, .* a list of labels",
    ),
    "label an object": ('{"inputs": [[1, 2]], "label": {}}\n', r"got `object` - at `\$.label`"),
    "deep": ('{"inputs": [[1, 2]], "other": ' + "[" * 100_000 + "}\n", "expected JSON"),
}


@pytest.mark.parametrize("case", LINES)
def test_jsonl(tmp_path, case):
    line, expected = LINES[case]
    (tmp_path / "a.jsonl").write_text(f"{GOOD}\n{line}{GOOD}")
    message = refusal(tmp_path / "a.jsonl")
    assert message.startswith(": line 3")
    assert re.search(expected, message)


@pytest.mark.parametrize(
    ("lines", "arguments", "expected"),
    [
        (
            '{"inputs": [1]}\n{"inputs": [0.5]}',
            {},
            'line 2: expected integer tokens, .* numbers.\n.*`inputs="features"`$',
        ),
        ('{"inputs": ["a"]}\n{"inputs": [1]}', {}, "line 2: expected text tokens, .* got integer tokens"),
        ('{"inputs": ["a"]}', {"inputs": "features"}, r'expected numbers \(`inputs="features"`\), got text tokens'),
        ('{"inputs": [0.5]}', {"inputs": "tokens"}, r'expected text or integers \(`inputs="tokens"`\), got numbers'),
        (
            '{"inputs": [1], "id": 1}\n\n{"inputs": [2], "id": "1"}',
            {},
            "line 3: expected distinct ids, got '1' as in .*line 1",
        ),
        (" \n\n", {}, "expected sequences, got none"),
    ],
)
def test_jsonl_lines_that_differ(tmp_path, lines, arguments, expected):
    (tmp_path / "a.jsonl").write_text(lines)
    assert re.search(expected, refusal(tmp_path / "a.jsonl", labelled=False, **arguments))


def test_jsonl_not_utf8(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"inputs": ["\xe4"]}\n')
    assert "line 1: expected text in UTF-8, got byte 0xe4" in refusal(tmp_path / "a.jsonl", labelled=False)
    (tmp_path / "a.jsonl").write_bytes(GOOD.encode("utf-16"))
    assert "line 1: expected JSON" in refusal(tmp_path / "a.jsonl", labelled=False)


ONES = np.ones((3, 4, 2))
ARRAYS = {
    "no inputs": ({"x": ONES}, "expected an array 'inputs', got targets, x"),
    "no arrays of time": ({"inputs": np.ones(3)}, r"inputs: expected shape \(N, T\) or \(N, T, F\) .*, got \(3,\)"),
    "no steps": ({"inputs": np.ones((3, 0, 2))}, r"without zeros, got \(3, 0, 2\)"),
    "no sequences": ({"inputs": np.ones((0, 4, 2))}, r"without zeros, got \(0, 4, 2\)"),
    "complex": ({"inputs": ONES * 1j}, "inputs: expected numbers or text, got complex128"),
    "dates": ({"inputs": ONES.astype("M8[s]")}, "inputs: expected numbers or text, got datetime64"),
    "pickled inputs": ({"inputs": ONES.astype(object)}, "inputs: expected numbers or text, got pickled objects"),
    "pickled targets": ({"targets": np.array(["a", None, 1], object)}, "targets: expected .*, got pickled objects"),
    "other number of targets": ({"targets": [1, 2]}, r"targets: expected shape \(3,\), one for each .*, got \(2,\)"),
    "targets of a step": ({"targets": np.ones((3, 4, 2))}, r"targets: expected shape \(3,\)"),
    "regression": (
        {"targets": [1, 0.5, 2]},
        "targets: expected a class: text or an integer .*, got 0.5 for sequence 1",
    ),
    "missing label": (
        {"targets": [1, np.nan, 2]},
        "targets: expected a label, got none for sequence 1",
    ),
    "missing text": (
        {"targets": ["a", "", "b"], "ids": ["u", "v", "w"]},
        "targets: expected a label, got none for sequence 'v'",
    ),
    "multilabel of numbers": (
        {"targets": [[0, 1], [1, 3], [0, 0]]},
        "expected 0 or 1 for each label, got 3 for sequence 1",
    ),
    "multilabel of text": (
        {"targets": [["a", "b"]] * 3},
        "targets: expected 0 or 1 for each label, got a for sequence 0",
    ),
    "lengths 0": (
        {"lengths": [1, 0, 4]},
        "lengths, sequence 1: expected at least one time step, got a sequence of length 0",
    ),
    "lengths beyond": ({"lengths": [1, 2, 5], "ids": [7, 8, 9]}, "lengths: expected 1 to 4 .*, got 5 for sequence '9'"),
    "lengths of floats": ({"lengths": [1.0, 2, 3]}, "lengths: expected integers, got float64"),
    "lengths of another shape": ({"lengths": [[1], [2], [3]]}, r"lengths: expected shape \(3,\), .*, got \(3, 1\)"),
    "ids twice": ({"ids": ["a", "b", "a"]}, "ids: expected distinct ids, got 'a' for sequences 0 and 2"),
    "ids of floats": ({"ids": [1.0, 2, 3]}, "ids: expected text or integers, got float64"),
    "NaN": (
        {"inputs": np.where(np.arange(24).reshape(3, 4, 2) == 13, np.nan, 1)},
        "sequence 1, step 3, feature 2: .* got nan",
    ),
    "beyond float32": (
        {"inputs": np.full((3, 4), 1e300)},
        r"sequence 0, step 1, feature 1: .* float32's range, got 1e\+300",
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_npz(tmp_path, case):
    changes, expected = ARRAYS[case]
    arrays = {"inputs": ONES, "targets": np.array(["a", "b", "a"])} | changes
    if "x" in arrays:
        del arrays["inputs"]
    np.savez(tmp_path / "a.npz", **arrays)
    assert re.search(expected, refusal(tmp_path / "a.npz"))


def test_npz_without_targets(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=ONES)
    assert "expected an array 'targets' with a label for each sequence, got none" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("inputs", "array", "expected"),
    [
        ("features", np.full((2, 2), "a"), "inputs: expected numbers, got text"),
        ("tokens", ONES, "inputs: expected tokens, integers or text (N, T), got float64 (3, 4, 2)"),
        ("auto", np.full((2, 2, 2), "a"), "inputs: expected tokens of shape (N, T), got text (2, 2, 2)"),
    ],
)
def test_npz_read_as_other_inputs(tmp_path, inputs, array, expected):
    np.savez(tmp_path / "a.npz", inputs=array)
    assert expected in refusal(tmp_path / "a.npz", inputs=inputs, labelled=False)


def header(shape, dtype="<f8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (
            header((10**6, 10**6, 8)) + bytes(64),
            "expected an array as large as its header says, .* 64000000000000 bytes, got 64",
        ),
        (header((2**62, 2**62, 2**62)), "expected an array as large as its header says"),
        (header((-1, 4)) + bytes(64), "expected an array as large as its header says"),
        (header((-1, -8)) + bytes(64), "expected an array as large as its header says"),
        (header((2, 2, 1)), "32 bytes, got 0 bytes"),
        (header((2, 2), "|O") + bytes(10), "pickled objects, which are not opened"),
        (b"no array at all", "expected a NumPy array"),
        (b"", "expected"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "expected"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "expected"),
        (b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16, "expected"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os')", "expected"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"{'shape': 1     ", "expected"),
    ],
)
def test_npz_with_false_headers(tmp_path, member, expected):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("inputs.npy", member)
    assert re.search(expected, refusal(tmp_path / "a.npz", labelled=False))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((10**9, 125_000), "expected a file that fits into memory: .* 1 PB, and .* are free"),
        ((2, 5), "expected a whole .npz file, .*: an array ends early"),
    ],
)
def test_npz_with_false_directory(tmp_path, shape, expected):
    """An array of ten bytes whose header and directory entry declare more."""
    path, start = tmp_path / "a.npz", header(shape)
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("inputs.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as file:
            file.write(start + bytes(10))
        archive.filelist[0].file_size = 8 * shape[0] * shape[1] + len(start)
    assert re.search(expected, refusal(path, labelled=False))


def test_corrupt_npz(tmp_path):
    path = tmp_path / "a.npz"
    array = io.BytesIO()
    np.save(array, np.random.default_rng(0).random((20, 9, 2)))
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("inputs.npy", array.getvalue())
        assert read_sequences(path, labelled=False).values.shape == (180, 2)
        whole = path.read_bytes()
        for broken in (b"no zip", whole[: len(whole) // 2], whole[:-10]):
            path.write_bytes(broken)
            assert "expected a whole .npz file, as numpy.savez writes it" in refusal(path, labelled=False)
        for start in range(0, len(whole) - 20, len(whole) // 60):  # either readable, or refused with a DataError
            path.write_bytes(whole[:start] + bytes(20) + whole[start + 20 :])
            with contextlib.suppress(DataError):
                read_sequences(path, labelled=False)


SERIES = "@classLabel true u v\n@data\n1,2:3,4:u\n"
ARCHIVES = {
    "no @data": ("@classLabel true u v\n1,2:u\n", "line 2: expected @data before the first sequence, got '1,2:u'"),
    "only a header": ("@classLabel true u v\n", "expected a line @data with sequences after it"),
    "no sequences": ("@classLabel true u v\n@data\n", "expected sequences, got none"),
    "regression": (
        "@targetLabel true\n@data\n1,2:0.5\n",
        r"expected classes \(@classLabel\), got numbers \(@targetLabel true\)",
    ),
    "missing": (SERIES + "1,?:3,4:u\n", r"sequence 1 \(line 4\), dimension 1, step 2: .*, got a missing value, '\?'"),
    "no number": (SERIES + "1,2:3,b:u\n", r"sequence 1 \(line 4\), dimension 2, step 2: expected a number, got 'b'"),
    "NaN": (
        SERIES + "1,2:3,NaN:u\n",
        r"sequence 1 \(line 4\), step 2, feature 2: expected a finite number .*, got nan",
    ),
    "beyond float32": (SERIES + "1,2:3,1e300:u\n", r"step 2, feature 2: expected a finite number .*, got 1e\+300"),
    "unknown class": (SERIES + "1,2:3,4:w\n", r"sequence 1 \(line 4\): expected a class of @classLabel, u, v, got 'w'"),
    "no label": (SERIES + "1,2:3,4:\n", r"sequence 1 \(line 4\): expected a label, got none"),
    "labels not there": ("@data\n1,2:3,4\n", r"sequence 0 \(line 2\): expected a label, got none"),
    "unequal dimensions": (SERIES + "1,2:3:u\n", "dimension 2: expected 2 values, as in dimension 1, got 1"),
    "other dimensions": (
        SERIES + "1,2:u\n",
        r"sequence 1 \(line 4\): expected 2 features, as in earlier sequences, got 1",
    ),
    "length 0": (SERIES + ":3:u\n", r"sequence 1 \(line 4\), dimension 1: expected at least one value, .* length 0"),
    "no dimension": (SERIES + "u\n", r"sequence 1 \(line 4\): expected values, ':' and a class, got 'u'"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_ts(tmp_path, case):
    text, expected = ARCHIVES[case]
    (tmp_path / "a.ts").write_text(text)
    assert re.search(expected, refusal(tmp_path / "a.ts"))


def test_ts_not_utf8_or_tokens(tmp_path):
    (tmp_path / "a.ts").write_bytes(SERIES.encode() + b"1:2:\xe4\n")
    assert "line 4: expected text in UTF-8, got byte 0xe4" in refusal(tmp_path / "a.ts")
    assert 'expected text or integers (`inputs="tokens"`), got a .ts file' in refusal(
        tmp_path / "a.ts", inputs="tokens"
    )


def large(path):
    """Write a file whose sequences take a few megabytes."""
    values = np.random.default_rng(0).random((40_000, 8)).round(3)
    frame = pd.DataFrame(values, columns=list("abcdefgh"))
    frame.insert(0, "id", np.arange(len(values)) // 40)
    frame.insert(1, "label", "u")
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".npz":
        np.savez(path, inputs=values.reshape(1000, 40, 8), targets=np.ones(1000, int))
    elif path.suffix == ".jsonl":
        rows = values.reshape(1000, 40, 8).tolist()
        path.write_text("".join(f'{{"inputs": {row}, "label": 1}}\n' for row in rows))
    else:
        rows = (":".join(",".join(map(str, column)) for column in row.T) for row in values.reshape(1000, 40, 8))
        path.write_text("@classLabel true u\n@data\n" + "".join(f"{row}:u\n" for row in rows))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".npz", ".ts"])
def test_file_larger_than_memory(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    large(path)
    required = []
    with monkeypatch.context() as patch:
        patch.setattr(collect, "_PROBE", 100_000)  # bytes, of 2 million
        patch.setattr(memory, "require", lambda num_bytes, path, in_memory=True: required.append(num_bytes))
        assert read_sequences(path).values.shape == (40_000, 8)
    # Nearly all memory is required at the file's beginning: values, and for a table the sequence of each row.
    assert 0.99 < max(required) / (40_000 * 8 * 8) < (1.2 if suffix in (".csv", ".parquet") else 1.05)
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    message = refusal(path)
    assert re.search("expected a file that fits into memory: .* need about .* [kM]B, and 100 kB are free", message)


def test_available_memory_is_at_most_the_machines():
    import psutil

    assert 0 < memory.available() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("limit", "expected"), [("3000", 3000 - 1700 + 500), ("max", 9000), ("1000", 0), ("10**9", 9000), ("99999", 9000)]
)
def test_available_memory_in_a_container(tmp_path, monkeypatch, limit, expected):
    for name, text in (("max", limit), ("current", "1700"), ("stat", "anon 1200\nactive_file 300\ninactive_file 200")):
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(memory, "_CGROUPS", (tuple(str(tmp_path / name) for name in ("max", "current", "stat")),))

    class Machine:
        available = 9000

    monkeypatch.setattr("psutil.virtual_memory", Machine)
    assert memory.available() == expected


def test_amounts():
    assert [memory._amount(number) for number in (5, 1500, 2_000_000, 123 * 10**9, 4 * 10**18)] == [
        "5 bytes",
        "1.5 kB",
        "2 MB",
        "123 GB",
        "4e+03 PB",
    ]


def test_empty_cell_among_tokens_of_parquet(tmp_path):
    parquet.write_table(pa.table({"id": [1, 1], "label": [1, 1], "x": [None, "a"]}), tmp_path / "a.parquet")
    assert "row 1, column 'x': expected a token, got an empty cell" in refusal(tmp_path / "a.parquet")
