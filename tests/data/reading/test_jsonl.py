"""JSON Lines, compared with `json`."""

import json

import numpy as np
import pytest

from seqlight.data.reading.read import read_sequences


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_features", [None, 1, 4])
def test_numbers(tmp_path, seed, num_features):
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(30):
        shape = rng.integers(1, 9) if num_features is None else (rng.integers(1, 9), num_features)
        lines.append(
            {"inputs": rng.standard_normal(shape).tolist(), "label": f"l{number % 3}", "extra": {"any": [None]}}
        )
    lines[1]["inputs"] = [1] if num_features is None else [[1] * num_features]
    raw = read_sequences(write(tmp_path / "a.jsonl", lines))
    expected = [np.reshape(line["inputs"], (len(line["inputs"]), -1)) for line in lines]
    np.testing.assert_array_equal(raw.values, np.concatenate(expected))
    np.testing.assert_array_equal(raw.lengths, [len(values) for values in expected])
    assert raw.labels == [line["label"] for line in lines]
    assert (list(raw.ids), raw.tokens, raw.columns, raw.guesses) == (list(range(30)), None, None, ())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("words", [["a", "b", "é", ""], [3, 17, -1, 10**30]])
def test_tokens(tmp_path, seed, words):
    rng = np.random.default_rng(seed)
    lines = [
        {"id": f"s{number}", "inputs": [words[index] for index in rng.integers(0, 4, rng.integers(1, 9))]}
        for number in range(30)
    ]
    raw = read_sequences(write(tmp_path / "a.jsonl", lines), labelled=False)
    flat = [str(word) for line in lines for word in line["inputs"]]
    assert [raw.tokens[code] for code in raw.values] == flat
    assert raw.tokens == list(dict.fromkeys(flat))
    assert raw.lengths.tolist() == [len(line["inputs"]) for line in lines]
    assert raw.ids == [line["id"] for line in lines]
    assert raw.labels is None
    guess = f'{tmp_path / "a.jsonl"}: integers are read as tokens; as a feature with `inputs="features"`'
    assert raw.guesses == ((guess,) if words[0] == 3 else ())


def test_integers_as_a_feature(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"inputs": [1, 2], "label": 0}, {"inputs": [0.5], "label": 1}])
    raw = read_sequences(path, inputs="features")
    np.testing.assert_array_equal(raw.values, [[1], [2], [0.5]])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a"], ["b", "a"]),
        ([3, 1.0], ["3", "1"]),
        ([True, False], ["True", "False"]),
        ([["b", "a"], []], [("b", "a"), ()]),
        ([[1, 2], [3]], [("1", "2"), ("3",)]),
        (["a", None], ["a", None]),
        ([None, None], None),
    ],
)
def test_labels(tmp_path, labels, expected):
    path = write(tmp_path / "a.jsonl", [{"inputs": [0.5], "label": label} for label in labels])
    assert read_sequences(path, labelled=False).labels == expected


def test_ids_byte_order_mark_line_ends_and_empty_lines(tmp_path):
    lines = [b'{"inputs": [0.5], "label": "a", "id": 7}', b"", b' {"label": "a", "inputs": [1.5]} ', b" "]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    raw = read_sequences(tmp_path / "a.jsonl")
    assert raw.ids == ["7", 1]
    np.testing.assert_array_equal(raw.values, [[0.5], [1.5]])


def test_file_larger_than_the_first_part(tmp_path, monkeypatch):
    from seqlight.data.reading import collect

    monkeypatch.setattr(collect, "_PROBE", 1000)
    lines = [{"inputs": [[number + 0.5, step] for step in range(number % 7 + 1)], "label": 0} for number in range(300)]
    raw = read_sequences(write(tmp_path / "a.jsonl", lines))
    np.testing.assert_array_equal(raw.values, np.concatenate([line["inputs"] for line in lines]))
