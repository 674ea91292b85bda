"""Seeded random files: valid ones have the values that other libraries wrote, damaged ones are refused or readable.

The known arrays are written by csv, json, NumPy and pyarrow. `pytest -m long tests/data/reading/test_fuzz.py` runs many
more seeds; a failure names its seed.
"""

import csv
import gzip
import json
import struct

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from seqlight.data.reading import collect, csv_file, csv_rows, npz_member
from seqlight.data.reading.raw import DataError
from seqlight.data.reading.read import SUFFIXES, read_sequences

FEW, MANY = range(12), range(12, 2000)
WORDS = ["a", "b b", 'say "x"', "c,d", "é", "=1+1", "-", "0x", "日本", "line\nend", "\x1b[31m", "'"]


def seeds(test):
    """Parametrise by a few seeds, and by many with the marker `fuzz`."""
    many = [pytest.param(seed, marks=pytest.mark.long) for seed in MANY]
    return pytest.mark.parametrize("seed", [*FEW, *many])(test)


class Known:
    """Random sequences: the values of each sequence (T, F) or its tokens (T,), its id and its class."""

    def __init__(self, rng, suffix):
        tables = suffix not in (".jsonl", ".npz", ".ts", ".arff")
        self.num = int(rng.integers(1, 12))
        self.num_features = int(rng.integers(1, 5))
        self.tokens = suffix not in (".ts", ".arff") and rng.random() < 0.4
        self.integers = self.tokens and suffix in (".jsonl", ".npz") and rng.random() < 0.5
        words = [word for word in WORDS if suffix != ".ts" or word in ("a", "é", "-", "0x", "日本", "=1+1")]
        self.lengths = rng.integers(1, 9, self.num)
        self.labels = [str(label) for label in rng.choice(words, self.num)]
        self.ids = [f"{rng.choice(words)}{number}" for number in range(self.num)]
        if self.integers:
            pool = np.array([0, 1, -1, 2**31, 2**61 - 1, 2**62 - 2, -(2**63), 2**63 - 1])
            self.values = [rng.choice(pool, length) for length in self.lengths]
        elif self.tokens:
            pool = [*words, *(["", " "] if suffix == ".jsonl" else [])]
            if tables:  # a table's first token decides that they are tokens: "0x" and "-" are no numbers
                pool = words
            self.values = [rng.choice(pool, length) for length in self.lengths]
        else:
            scale = 10.0 ** rng.integers(-30, 30)
            self.values = [rng.standard_normal((length, self.num_features)) * scale for length in self.lengths]
        if self.tokens:
            self.num_features = 1


def write(known, path, rng):
    """Write the sequences with another library; returns the order of the sequences in the file."""
    order = range(known.num)
    if path.suffix not in (".jsonl", ".npz", ".ts", ".arff"):
        rows = [
            [known.ids[i], step, known.labels[i], *(np.atleast_1d(known.values[i][step]).tolist())]
            for i in order
            for step in range(known.lengths[i])
        ]
        if rng.random() < 0.5:
            rng.shuffle(rows)
        names = ["id", "step", "label", *(f"x{number}" for number in range(known.num_features))]
        order = [known.ids.index(name) for name in dict.fromkeys(row[0] for row in rows)]
        if path.suffix != ".parquet":
            quoting = csv.QUOTE_ALL if rng.random() < 0.5 else csv.QUOTE_MINIMAL
            mark = "\t" if ".tsv" in path.suffixes else str(rng.choice([",", ",", ";"]))
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "wt", newline="", encoding="utf-8-sig" if rng.random() < 0.3 else "utf-8") as file:
                line_end = "\r\n" if rng.random() < 0.5 else "\n"
                writer = csv.writer(file, delimiter=mark, quoting=quoting, lineterminator=line_end)
                writer.writerows([names, *rows])
        else:
            columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
            compression = str(rng.choice(["none", "snappy", "zstd"]))
            parquet.write_table(pa.table(columns), path, row_group_size=5, compression=compression)
    elif path.suffix == ".jsonl":
        keys = zip(known.ids, known.labels, known.values, strict=True)
        lines = [{"id": name, "label": label, "inputs": values.tolist()} for name, label, values in keys]
        path.write_text("\n".join(json.dumps(line, ensure_ascii=bool(rng.random() < 0.5)) for line in lines))
    elif path.suffix == ".npz":
        shape = (known.num, 8) if known.tokens else (known.num, 8, known.num_features)
        inputs = np.zeros(shape, known.values[0].dtype if known.integers or not known.tokens else "U20")
        for row, values in enumerate(known.values):
            inputs[row, : len(values)] = values
        save = np.savez if rng.random() < 0.5 else np.savez_compressed
        save(path, inputs=inputs, lengths=known.lengths, targets=known.labels, ids=known.ids)
    elif path.suffix == ".arff":
        path.write_text(as_arff(known.values, known.labels, rng), encoding="utf-8")
    else:
        classes = " ".join(dict.fromkeys(known.labels))
        lines = ["# a comment", "@problemName random", f"@classLabel true {classes}", "@data"]
        for values, label in zip(known.values, known.labels, strict=True):
            lines.append(":".join([*(",".join(map(repr, column.tolist())) for column in values.T), label]))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return order


def quoted(text, mark="'"):
    return mark + text.replace("\\", "\\\\").replace(mark, f"\\{mark}").replace("\n", "\\n") + mark


def as_arff(values, labels, rng):
    """Text in the form of the UCR/UEA archive: numeric attributes for one feature, a relational one for several."""
    longest, mark = max(map(len, values)), str(rng.choice(["'", '"']))
    steps = [f"@attribute att{step} numeric" for step in range(longest)]
    if values[0].shape[1] > 1:
        steps = ["@attribute all relational", *(f"  {step}" for step in steps), "@end all"]
    classes = ",".join(quoted(label) for label in dict.fromkeys(labels))
    lines = ["% a comment", "@relation random", *steps, f"@ATTRIBUTE 'the class' {{{classes}}}", "@data"]
    for series, label in zip(values, labels, strict=True):
        rows = [",".join(map(repr, column.tolist())) for column in series.T]
        padding = ",?" * (longest - len(series))
        row = quoted("\n".join(rows), mark) if len(rows) > 1 else rows[0] + padding
        lines.append(f"{row},{quoted(label, mark)}")
    return "\n".join(lines) + "\n"


def small_parts(monkeypatch, rng):
    """Read in small parts, whose borders fall anywhere."""
    monkeypatch.setattr(csv_file, "_BLOCK", int(rng.integers(300, 2000)))
    monkeypatch.setattr(csv_rows, "_CHUNK", int(rng.integers(1, 50)))
    monkeypatch.setattr(npz_member, "_CHUNK", int(rng.integers(1, 500)))
    monkeypatch.setattr(collect, "_PROBE", int(rng.integers(1, 500)))


@seeds
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_valid_files_have_the_values_that_were_written(tmp_path, monkeypatch, suffix, seed):
    rng = np.random.default_rng((seed, SUFFIXES.index(suffix)))
    small_parts(monkeypatch, rng)
    known = Known(rng, suffix)
    order = write(known, tmp_path / f"a{suffix}", rng)
    raw = read_sequences(tmp_path / f"a{suffix}", inputs="tokens" if known.tokens else "features")
    expected = [known.values[i] for i in order]
    assert raw.lengths.tolist() == [len(values) for values in expected]
    assert raw.labels == [known.labels[i] for i in order]
    assert list(raw.ids) == (list(range(known.num)) if suffix in (".ts", ".arff") else [known.ids[i] for i in order])
    if known.tokens:
        assert [raw.tokens[code] for code in raw.values] == [str(token) for values in expected for token in values]
        assert len(set(raw.tokens)) == len(raw.tokens)
    else:
        np.testing.assert_array_equal(raw.values, np.concatenate(expected))


SNIPPETS = [b'"', b"'", b",", b"\n", b"\r", b"\0", b":", b"{", b"}", b"[", b"]", b"[" * 2000, b"1e999", b"NaN", b"-"]
SNIPPETS += [b"9" * 5000, b"\xff", b"\xef\xbb\xbf", b"@data\n", b"null", b"true", b"\\u0000", b"\\ud800", b'"inputs"']
SNIPPETS += [struct.pack("<q", number) for number in (-1, 2**31, 2**62)] + [b"a" * 3000, b"PK\x01\x02", b"PAR1"]


def damaged(content, rng):
    """The bytes with one to three random changes."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start, stop = sorted(rng.integers(0, len(content) + 1, 2).tolist())
        kind = rng.integers(6)
        if kind == 0:
            del content[start:]
        elif kind == 1:
            del content[start : min(stop, start + 20)]
        elif kind == 2:
            content[start:start] = SNIPPETS[rng.integers(len(SNIPPETS))]
        elif kind == 3:
            content[start:start] = content[start:stop]
        elif kind == 4:
            content[start : start + 8] = rng.bytes(8)
        elif content:
            content[min(start, len(content) - 1)] ^= 1 << rng.integers(8)
    return bytes(content)


@seeds
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_are_read_or_refused(tmp_path, monkeypatch, suffix, seed):
    """No other exception than DataError, with a short message; what is read is in itself consistent."""
    rng = np.random.default_rng((seed, SUFFIXES.index(suffix), 1))
    small_parts(monkeypatch, rng)
    path = tmp_path / f"a{suffix}"
    write(Known(rng, suffix), path, rng)
    content = path.read_bytes()
    messages = []
    for _ in range(8):
        path.write_bytes(damaged(content, rng))
        inputs = str(rng.choice(["auto", "tokens", "features"]))
        try:
            raw = read_sequences(path, inputs=inputs, labelled=bool(rng.random() < 0.5))
        except DataError as error:
            messages.append(str(error))
            continue
        assert len(raw.values) == raw.lengths.sum()
        assert raw.lengths.min() >= 1
        assert len(raw.ids) == len(raw.lengths) == len(set(map(str, raw.ids)))
        assert raw.labels is None or len(raw.labels) == len(raw.lengths)
        if raw.tokens is None:
            assert np.isfinite(raw.values).all()
        else:
            assert raw.values.min() >= 0
            assert raw.values.max() < len(raw.tokens)
            assert len(set(raw.tokens)) == len(raw.tokens)
    for message in messages:
        assert message.startswith(str(path))
        assert len(message.splitlines()) <= 5
        assert len(message) < 2000 + len(str(path))
