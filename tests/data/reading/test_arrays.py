"""Sequences in memory, compared with the arrays that they are given as."""

import numpy as np
import pandas as pd
import pytest
import torch

from seqlight.data.reading.arrays import Arrays, read_arrays
from seqlight.data.reading.raw import DataError

SHAPES = [(3, 2), (1, 2), (5, 2)]


def read(inputs, labels=None, kind="auto", **given):
    return read_arrays(Arrays(inputs, labels, **given), "arrays", kind, labelled=labels is not None)


def numbers(*shape, dtype="float32"):
    """Numbers that every type used here can hold."""
    return np.random.default_rng(0).integers(0, 90, shape).astype(dtype)


def texts(raw):
    """The tokens of each sequence."""
    ends = np.cumsum(raw.lengths)[:-1]
    return [[raw.tokens[code] for code in codes] for codes in np.split(raw.values, ends)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("convert", [list, tuple, lambda arrays: [array.tolist() for array in arrays], "objects"])
def test_list_of_arrays(dtype, convert):
    arrays = [numbers(*shape, dtype=dtype) for shape in SHAPES]
    if convert == "objects":
        given = np.empty(len(arrays), object)
        given[:] = arrays
    else:
        given = convert(arrays)
    raw = read(given, ["b", "a", "b"])
    np.testing.assert_array_equal(raw.values, np.concatenate(arrays).astype(float))
    assert raw.lengths.tolist() == [3, 1, 5]
    assert raw.labels == ["b", "a", "b"]
    assert (raw.ids, raw.tokens, raw.columns, raw.guesses) == (range(3), None, None, ())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int32])
@pytest.mark.parametrize("convert", [list, tuple, torch.stack])
def test_tensors(dtype, convert):
    tensors = [torch.from_numpy(numbers(4, 3)).to(dtype) for _ in range(3)]
    raw = read(convert(tensors), torch.tensor([0, 1, 0]), "features")
    np.testing.assert_array_equal(raw.values, torch.cat(tensors).double().numpy())
    assert raw.labels == ["0", "1", "0"]


def test_tensors_that_need_gradients():
    weights = torch.ones(2, 3, 1, requires_grad=True)
    np.testing.assert_array_equal(read(2 * weights).values, np.full((6, 1), 2.0))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy, np.ndarray.tolist, list])
def test_padded_array_with_lengths(order, convert):
    array, lengths = np.asarray(numbers(6, 5, 3), order=order), [5, 1, 3, 5, 2, 4]
    raw = read(convert(array), lengths=torch.tensor(lengths))
    expected = np.concatenate([row[:length] for row, length in zip(array, lengths, strict=True)])
    np.testing.assert_array_equal(raw.values, expected)
    assert raw.lengths.tolist() == lengths


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_sequences_of_single_numbers_are_one_feature(shape):
    array = numbers(*shape)
    np.testing.assert_array_equal(read(array).values, array.reshape(-1, 1))
    np.testing.assert_array_equal(read(list(array)).values, array.reshape(-1, 1))


def test_values_are_copied():
    array = numbers(2, 3, 1)
    raw = read(array)
    raw.values[:] = -1
    assert (array >= 0).all()


@pytest.mark.parametrize("convert", [list, np.asarray, lambda words: np.asarray(words, object), tuple])
def test_lists_of_tokens(convert):
    sequences = [["b", "a", "é"], ["a"], ["c", "b"]]
    raw = read([convert(words) for words in sequences])
    assert texts(raw) == sequences
    assert raw.tokens == ["b", "a", "é", "c"]
    assert raw.guesses == ()


@pytest.mark.parametrize("kind", ["auto", "tokens", "features"])
@pytest.mark.parametrize("convert", [list, np.asarray, torch.tensor])
def test_integers_are_tokens_unless_features_are_asked_for(kind, convert):
    raw = read([convert([30, 2]), convert([2, 2, 5])], kind=kind)
    if kind == "features":
        assert raw.values.tolist() == [[30], [2], [2], [2], [5]]
    else:
        assert texts(raw) == [["30", "2"], ["2", "2", "5"]]
    guess = 'arrays: integers are read as tokens; as a feature with `kind="features"`'
    assert raw.guesses == ((guess,) if kind == "auto" else ())


def test_integers_beside_numbers_are_numbers():
    assert read([[1, 2], [0.5]]).values.tolist() == [[1], [2], [0.5]]


def test_padded_tokens():
    raw = read(np.array([["a", "b", ""], ["c", "", ""]]), lengths=[2, 1])
    assert texts(raw) == [["a", "b"], ["c"]]


def test_more_features_than_steps_is_remarked():
    [remark] = read(numbers(5, 2, 7)).guesses
    assert remark == (
        "arrays: inputs of shape (5, 2, 7) are read as 2 steps of 7 features; if they are (N, channels, time), give "
        "`inputs.transpose(0, 2, 1)`"
    )
    assert read(numbers(5, 7, 7)).guesses == ()


def test_ids_and_groups():
    raw = read(numbers(3, 2), ids=np.array([7, 3, 5]), groups=pd.Series(["u", "v", "u"]))
    assert (raw.ids, raw.groups) == (["7", "3", "5"], ["u", "v", "u"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([3, 1, 3], ["3", "1", "3"]),
        (np.array([3.0, 1.0, 3.0]), ["3", "1", "3"]),
        ([True, False, True], ["True", "False", "True"]),
        (np.array([["x"], ["y"], ["x"]]), ["x", "y", "x"]),
        (pd.Series(["x", "y", "x"], index=[5, 3, 1]), ["x", "y", "x"]),
        (pd.Series(["x", "y", "x"], dtype="category"), ["x", "y", "x"]),
        (pd.Series([1, 2, 1], dtype="Int64"), ["1", "2", "1"]),
        (torch.tensor([2, 0, 2]), ["2", "0", "2"]),
        ([torch.tensor(2), np.int64(0), 2], ["2", "0", "2"]),
    ],
)
def test_one_label_for_each_sequence(labels, expected):
    raw = read(numbers(3, 4), labels)
    assert (raw.labels, raw.label_names) == (expected, None)


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor, list, lambda rows: [np.asarray(row) for row in rows]])
@pytest.mark.parametrize("dtype", [int, float, bool])
def test_vectors_of_labels(convert, dtype):
    rows = [[dtype(bit) for bit in row] for row in ([0, 1, 1], [0, 0, 0], [0, 0, 1])]
    raw = read(numbers(3, 4), convert(rows))
    assert raw.labels == [("1", "2"), (), ("2",)]
    assert raw.label_names == ("0", "1", "2")


def test_lists_of_label_names():
    raw = read(numbers(4, 4), [["x", "y"], {"y"}, [], ("x",)])
    assert (raw.labels, raw.label_names) == ([("x", "y"), ("y",), (), ("x",)], None)


def test_labels_can_be_missing_where_none_are_needed():
    raw = read_arrays(Arrays(numbers(3, 4), [None, pd.NA, float("nan")]), "arrays", labelled=False)
    assert raw.labels is None


LISTS = [[[0.5, 1.0]], [[0.5, 1.0]]]


@pytest.mark.parametrize(
    ("inputs", "given", "message"),
    [
        ([], {}, "expected sequences, got none"),
        (np.zeros((0, 3, 2)), {}, "expected sequences, got none"),
        (3, {}, "expected a list of sequences, or an array, got 3"),
        ("a.csv", {}, "expected a list of sequences, or an array, got 'a.csv'; for a file, use SequenceFiles"),
        ({"a": [1]}, {}, r"expected a list of sequences, or an array, got \{'a': \[1\]\}"),
        (np.zeros(5), {}, r"expected inputs of shape \(N, T\) or \(N, T, F\), or a list of sequences, got \(5,\)"),
        (np.zeros((5, 1, 1, 1)), {}, r"expected inputs of shape .*, got \(5, 1, 1, 1\)"),
        (pd.DataFrame({"a": [1]}), {}, r"expected arrays, got a frame.\nIf .* SequenceFrames\(train=frame\)"),
        (torch.ones(2, 2).to_sparse(), {}, "expected a dense tensor, or a list of tensors"),
        (torch.nn.utils.rnn.pack_sequence([torch.ones(2)]), {}, "expected arrays, got a PackedSequence"),
        (np.ma.masked_greater(np.arange(6.0).reshape(2, 3), 4), {}, "expected an array without masked values.\nIf .*"),
        (["ab", "c"], {}, "sequence 0: expected time steps, got text 'ab'.\nIf each character is a token"),
        ([["a", 1]], {}, "sequence 0: expected time steps of one kind, got text and 1"),
        ([["a"], [1.0]], {}, "sequence 1: expected text, as in earlier sequences, got numbers"),
        ([[1], ["a"]], {}, "sequence 1: expected numbers, as in earlier sequences, got text"),
        ([[["a"]]], {}, r"sequence 0: expected tokens of shape \(T,\), got \(1, 1\)"),
        ([["a", ""]], {}, "sequence 0, step 2: expected a token, got empty text; if this is padding, give `lengths`"),
        ([["a", ""]], {"lengths": [2]}, "sequence 0, step 2: expected a token, got empty text$"),
        (
            [[1.0, None]],
            {},
            "sequence 0, step 2, .*, got nan.\nIf NaN is padding, give `lengths`\nIf values may be missing",
        ),
        ([[1.0, {}]], {}, "sequence 0: expected numbers or text, got {}"),
        ([[1.0], []], {"ids": ["u", "v"]}, "sequence 'v': expected at least one time step, got a sequence of length 0"),
        ([np.zeros((3, 0))], {}, "sequence 0: expected at least one feature in each step"),
        ([np.zeros((3, 2, 2))], {}, r"sequence 0: expected numbers or text of shape .*, got float64 \(3, 2, 2\)"),
        ([np.zeros(2, complex)], {}, "sequence 0: expected numbers or text .*, got complex128"),
        ([np.zeros(2, "datetime64[s]")], {}, "sequence 0: expected numbers or text .*, got datetime64"),
        ([[[1.0], [2.0, 3.0]]], {}, r"sequence 0: expected an array of shape \(T,\) or \(T, F\)"),
        ([[[1.0]], [[2.0, 3.0]]], {}, "sequence 1: expected 1 features, as in earlier sequences, got 2"),
        (
            [[1.0, np.inf]],
            {},
            "sequence 0, step 2, feature 1: expected a finite number within float32's range, got inf$",
        ),
        (
            [[1.0, np.nan]],
            {},
            "sequence 0, step 2, .*, got nan.\nIf NaN is padding, give `lengths`\nIf values may be missing",
        ),
        ([[1.0, np.nan]], {"lengths": [2]}, "sequence 0, step 2, .*, got nan.\nIf values may be missing"),
        ([[np.nan, 1.0]], {}, "sequence 0, step 1, .*, got nan.\nIf values may be missing"),
        (LISTS, {"lengths": [1]}, r"lengths: expected 2 integers, one for each sequence, got int64 \(1,\)"),
        (LISTS, {"lengths": [1.0, 1.0]}, "lengths: expected 2 integers, .*, got float64"),
        (LISTS, {"lengths": [0, 1]}, "lengths: expected 1 to 1 time steps, got 0 for sequence 0"),
        (LISTS, {"lengths": [1, 2]}, "lengths: expected 1 to 1 time steps, got 2 for sequence 1"),
        (LISTS, {"ids": ["a"]}, "ids: expected 2 values, one for each sequence, got 1"),
        (LISTS, {"ids": [1, 1.0]}, "ids: expected distinct ids, got '1' for sequences 0 and 1"),
        (LISTS, {"ids": ["a", None]}, "ids: expected a name for each sequence, got None for 1"),
        (LISTS, {"groups": "ab"}, "groups: expected 2 values, one for each sequence, got 'ab'"),
        (LISTS, {"labels": [1]}, "labels: expected 2, one for each sequence, got 1"),
        (LISTS, {"labels": "ab"}, "labels: expected 2, one for each sequence, got 'ab'"),
        (LISTS, {"labels": ["a", None]}, "label of sequence 1: expected a label, got none"),
        (LISTS, {"labels": [1, float("nan")]}, "label of sequence 1: expected a label, got none"),
        (LISTS, {"labels": pd.Series([1, pd.NA], dtype="Int64")}, "label of sequence 1: expected a label, got none"),
        (LISTS, {"labels": [0.5, 1.0]}, "label of sequence 0: expected a class: text or an integer .*, got 0.5"),
        (LISTS, {"labels": [["a"], "a"]}, "label of sequence 1: expected a list of labels, .*, got one class, 'a'"),
        (LISTS, {"labels": [["a", "a"], []]}, "label of sequence 0: expected a list of distinct labels, .*'a', 'a'"),
        (LISTS, {"labels": np.array([[0, 1], [0, 2]])}, "label of sequence 1: expected a class, or 0 or 1 .*, got 2"),
        (LISTS, {"labels": [[0.5, 1], [1]]}, "label of sequence 0: expected a list of names, .*, got 0.5"),
    ],
)
def test_wrong_sequences_are_refused(inputs, given, message):
    with pytest.raises(DataError, match=f"^arrays: {message}"):
        read(inputs, **given)


def test_labels_are_required():
    with pytest.raises(DataError, match=r"^arrays: expected a label for each sequence, got none$"):
        read_arrays(Arrays(LISTS), "arrays")


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ([["a"]], "features", 'sequence 0: expected numbers (`kind="features"`), got text'),
        (
            [[1], [0.5]],
            "tokens",
            'sequence 1: expected text or integers of shape (T,) (`kind="tokens"`), got float64 (1,)',
        ),
        ([[[1]]], "tokens", 'sequence 0: expected text or integers of shape (T,) (`kind="tokens"`), got int64 (1, 1)'),
    ],
)
def test_inputs_of_another_kind_are_refused(inputs, kind, message):
    with pytest.raises(DataError) as error:
        read(inputs, kind=kind)
    assert str(error.value) == f"arrays: {message}"
