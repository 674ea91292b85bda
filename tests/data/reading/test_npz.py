"""NumPy archives, compared with the arrays they were made from."""

import numpy as np
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.reading import npz_member
from seqlight.data.reading.read import read_sequences


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2", "i4", "u1", "?"])
@pytest.mark.parametrize("with_lengths", [True, False])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_features(tmp_path, monkeypatch, order, dtype, with_lengths, save):
    monkeypatch.setattr(npz_member, "_CHUNK", 500)
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
    monkeypatch.setattr(npz_member, "_CHUNK", 500)
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


REMARK = '(20, 6, 100) are read as 6 steps of 100 features; if they are (N, channels, time): `layout="channels_first"`'


def test_more_features_than_steps_is_a_remark(tmp_path):
    """Arrays (N, C, T) of aeon and tsai have the same form as ours."""
    rng = np.random.default_rng(3)
    np.savez(tmp_path / "a.npz", inputs=rng.standard_normal((20, 6, 100)), targets=np.arange(20) % 2)
    [guess] = read_sequences(tmp_path / "a.npz").guesses
    assert guess == f"{tmp_path / 'a.npz'}: inputs of shape {REMARK}"
    assert guess in SequenceFiles(tmp_path / "a.npz").report(["train"])
    np.savez(tmp_path / "b.npz", inputs=rng.standard_normal((20, 100, 6)), targets=np.arange(20) % 2)
    assert read_sequences(tmp_path / "b.npz").guesses == ()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "i4"])
@pytest.mark.parametrize("with_lengths", [True, False])
def test_channels_first(tmp_path, monkeypatch, order, dtype, with_lengths):
    monkeypatch.setattr(npz_member, "_CHUNK", 500)
    rng = np.random.default_rng(0)
    inputs = np.asarray(rng.integers(0, 99, (40, 3, 11)), dtype, order)
    lengths = rng.integers(1, 12, 40) if with_lengths else np.full(40, 11)
    arrays = {"inputs": inputs, "targets": np.arange(40) % 2} | ({"lengths": lengths} if with_lengths else {})
    np.savez(tmp_path / "a.npz", **arrays)
    raw = read_sequences(tmp_path / "a.npz", layout="channels_first")
    expected = [row.T[:length] for row, length in zip(inputs, lengths, strict=True)]
    np.testing.assert_array_equal(raw.values, np.concatenate(expected).astype(np.float32))
    np.testing.assert_array_equal(raw.lengths, lengths)
    assert raw.guesses == ()


def test_channels_first_of_one_channel_and_of_other_formats(tmp_path):
    inputs = np.random.default_rng(1).standard_normal((20, 5))
    np.savez(tmp_path / "a.npz", inputs=inputs, targets=np.arange(20) % 2)
    raw = read_sequences(tmp_path / "a.npz", layout="channels_first")
    np.testing.assert_array_equal(raw.values, inputs.reshape(-1, 1))
    np.savez(tmp_path / "b.npz", inputs=inputs[:, None], targets=np.arange(20) % 2)
    (tmp_path / "c.jsonl").write_text('{"inputs": [[0.5], [1.5]], "label": 1}')
    data = SequenceFiles(tmp_path / "b.npz", tmp_path / "b.npz", tmp_path / "c.jsonl", layout="channels_first")
    assert (data.input_size, data.split("test").lengths.tolist()) == (1, [2])


def test_error_in_channels_first_names_step_and_feature(tmp_path):
    inputs = np.ones((4, 3, 8))
    inputs[2, 1, 5] = np.inf
    np.savez(tmp_path / "a.npz", inputs=inputs, targets=[0, 1, 0, 1])
    with pytest.raises(DataError, match=r"sequence 2, step 6, feature 2: expected a finite number .*, got inf"):
        read_sequences(tmp_path / "a.npz", layout="channels_first")


def test_lengths_beyond_the_steps_name_the_layout(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.ones((2, 3, 8)), lengths=[5, 8], targets=[0, 1])
    with pytest.raises(
        DataError, match=r'expected 1 to 3 time steps, got 5 for sequence 0\.\n.*`layout="channels_first"`'
    ):
        read_sequences(tmp_path / "a.npz")
    assert read_sequences(tmp_path / "a.npz", layout="channels_first").lengths.tolist() == [5, 8]


@pytest.mark.parametrize(
    ("steps", "hint"),
    [
        (slice(3, None), "If shorter sequences are padded with NaN: add an array 'lengths' with the number of steps"),
        (slice(None, 2), "If NaN pads the start: move each sequence to the start"),
        (slice(1, 2), ""),
    ],
)
@pytest.mark.parametrize("layout", ["long", "channels_first"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 2)])
def test_nan_padding_is_answered(tmp_path, shape, layout, steps, hint):
    inputs = np.ones(shape)
    inputs[2, steps] = np.nan
    if layout == "channels_first" and inputs.ndim == 3:
        inputs = inputs.transpose(0, 2, 1)
    np.savez(tmp_path / "a.npz", inputs=inputs, targets=[0, 1, 0, 1])
    with pytest.raises(DataError, match=r"sequence 2, step .*, feature 1: expected a finite number") as caught:
        read_sequences(tmp_path / "a.npz", layout=layout)
    assert "".join(str(caught.value).splitlines()[1:]).startswith(hint)
    assert str(caught.value).splitlines()[1 + bool(hint) :] == ['If values may be missing: `missing="mask"`']


@pytest.mark.parametrize("name", ["inputs", "targets", "ids"])
def test_arrays_of_objects_are_answered(tmp_path, name):
    arrays = {
        "inputs": np.array([["a", "b"], ["c", "d"]]),
        "targets": np.array(["u", "v"]),
        "ids": np.array(["1", "2"]),
    }
    np.savez(tmp_path / "a.npz", **{**arrays, name: arrays[name].astype(object)})
    with pytest.raises(
        DataError, match=rf"pickled objects, .*\.\nSave text as {name}\.astype\(str\), numbers as"
    ) as caught:
        read_sequences(tmp_path / "a.npz")
    assert ("an array 'lengths'" in str(caught.value)) == (name == "inputs")
