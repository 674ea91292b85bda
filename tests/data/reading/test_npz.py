"""NumPy archives, compared with the arrays they were made from."""

import numpy as np
import pytest

from seqlight.data.reading import npz
from seqlight.data.reading.read import read_sequences


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2", "i4", "u1", "?"])
@pytest.mark.parametrize("with_lengths", [True, False])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_features(tmp_path, monkeypatch, order, dtype, with_lengths, save):
    monkeypatch.setattr(npz, "_CHUNK", 500)
    rng = np.random.default_rng(0)
    inputs = np.asarray(rng.integers(0, 9, (40, 7, 3)) / (2 if "f" in dtype else 1), order=order).astype(dtype)
    lengths = rng.integers(1, 8, 40)
    targets = rng.integers(0, 3, 40)
    save(tmp_path / "a.npz", inputs=inputs, targets=targets, **({"lengths": lengths} if with_lengths else {}))
    raw = read_sequences(tmp_path / "a.npz")
    lengths = lengths if with_lengths else [7] * 40
    expected = np.concatenate([row[:length] for row, length in zip(inputs, lengths, strict=True)])
    np.testing.assert_array_equal(raw.values, expected)
    np.testing.assert_array_equal(raw.lengths, lengths)
    assert raw.labels == [str(target) for target in targets]
    assert (raw.ids, raw.columns, raw.guesses) == (range(40), None, ())


def test_two_dimensions_of_floats_are_one_feature(tmp_path):
    inputs = np.random.default_rng(1).standard_normal((5, 4))
    np.savez(tmp_path / "a.npz", inputs=inputs)
    raw = read_sequences(tmp_path / "a.npz", labelled=False)
    np.testing.assert_array_equal(raw.values, inputs.reshape(-1, 1))


@pytest.mark.parametrize("words", [["b", "a", "é"], [3, 17, -1]])
def test_tokens(tmp_path, monkeypatch, words):
    monkeypatch.setattr(npz, "_CHUNK", 500)
    rng = np.random.default_rng(2)
    inputs = np.asarray(words)[rng.integers(0, 3, (40, 7))]
    lengths = rng.integers(1, 8, 40)
    np.savez(tmp_path / "a.npz", inputs=inputs, lengths=lengths, ids=np.arange(40) * 2)
    raw = read_sequences(tmp_path / "a.npz", labelled=False)
    flat = [str(word) for row, length in zip(inputs, lengths, strict=True) for word in row[:length]]
    assert [raw.tokens[code] for code in raw.values] == flat
    assert raw.tokens == list(dict.fromkeys(flat))
    assert raw.ids == [str(number) for number in range(0, 80, 2)]
    guess = f'{tmp_path / "a.npz"}: integers are read as tokens; as a feature with `inputs="features"`'
    assert raw.guesses == ((guess,) if words[0] == 3 else ())
    if words[0] == 3:
        raw = read_sequences(tmp_path / "a.npz", labelled=False, inputs="features")
        assert raw.values[:, 0].astype(int).astype(str).tolist() == flat


@pytest.mark.parametrize(
    ("targets", "expected", "names"),
    [
        (["b", "a"], ["b", "a"], None),
        ([3, 1], ["3", "1"], None),
        ([3.0, 1.0], ["3", "1"], None),
        ([[3.0], [1.0]], ["3", "1"], None),
        ([True, False], ["True", "False"], None),
        ([[1, 0, 1], [0, 0, 0]], [("0", "2"), ()], ("0", "1", "2")),
        ([[True, False], [False, True]], [("0",), ("1",)], ("0", "1")),
        ([np.nan, 1], [None, "1"], None),
        ([np.nan, np.nan], None, None),
    ],
)
def test_targets(tmp_path, targets, expected, names):
    np.savez(tmp_path / "a.npz", inputs=np.ones((2, 1, 1)), targets=targets)
    raw = read_sequences(tmp_path / "a.npz", labelled=False)
    assert (raw.labels, raw.label_names) == (expected, names)


def test_padding_is_ignored(tmp_path):
    inputs = np.full((2, 3), np.nan)
    inputs[0, 0] = inputs[1, :2] = 1
    np.savez(tmp_path / "a.npz", inputs=inputs, lengths=[1, 2], targets=["a", "b"])
    np.testing.assert_array_equal(read_sequences(tmp_path / "a.npz").values, np.ones((3, 1)))
