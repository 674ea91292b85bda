"""ARFF files in the form of the UCR/UEA archive, compared with the .ts files of the same sets."""

import warnings
from importlib.resources import files

import numpy as np
import pytest

from seqlight import DataError, SequenceFiles
from seqlight.data.reading.raw import Columns
from seqlight.data.reading.read import read_sequences
from tests.data.reading.test_fuzz import as_arff


def parts(raw):
    return np.split(raw.values, np.cumsum(raw.lengths)[:-1])


@pytest.mark.parametrize("name", ["ItalyPowerDemand", "BasicMotions", "JapaneseVowels"])
def test_sequences_equal_those_of_the_ts_file(tmp_path, name):
    expected = read_sequences(files("sktime") / "datasets" / "data" / name / f"{name}_TRAIN.ts")
    path = tmp_path / "a.arff"
    path.write_text(as_arff(parts(expected), expected.labels, np.random.default_rng(0)))
    raw = read_sequences(path)
    np.testing.assert_array_equal(raw.values, expected.values)
    np.testing.assert_array_equal(raw.lengths, expected.lengths)
    assert (raw.labels, raw.columns, raw.ids) == (expected.labels, None, expected.ids)


@pytest.mark.parametrize("name", ["ItalyPowerDemand", "BasicMotions"])
def test_sequences_equal_those_that_sktime_reads(tmp_path, name):
    expected = read_sequences(files("sktime") / "datasets" / "data" / name / f"{name}_TEST.ts")
    path = tmp_path / "a.arff"
    text = as_arff(parts(expected), expected.labels, np.random.default_rng(0)).replace('"', "'")
    path.write_text(text.replace("'the class'", "class"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sktime warns about its own dependencies
        from sktime.datasets import load_from_arff_to_dataframe

        frame, labels = load_from_arff_to_dataframe(str(path))
    raw = read_sequences(path)
    for series, (_, row) in zip(parts(raw), frame.iterrows(), strict=True):
        np.testing.assert_allclose(series, np.stack([column.to_numpy() for column in row], axis=1), rtol=1e-15)
    assert [str(label).strip("'") for label in labels] == raw.labels


HEADER = "@relation r\n@attribute a numeric\n@Attribute 'b c' REAL\n@attribute class {u, 'v w', \"it's\"}\n@data\n"


def read(path, text, **arguments):
    path.write_text(text)
    return read_sequences(path, **arguments)


def test_quotes_comments_and_blanks(tmp_path):
    rows = "% a comment\n1, 2 ,u\n\n 3,'4','v w'\n5,\"6\",'it\\'s'\n1e3,-2,  \"it's\"\n"
    raw = read(tmp_path / "a.arff", HEADER + rows)
    assert raw.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 1000, -2]
    assert raw.labels == ["u", "v w", "it's", "it's"]
    assert raw.remarks == ()


def test_missing_values(tmp_path):
    path = tmp_path / "a.arff"
    raw = read(path, HEADER + "1,?,u\n3,4,'v w'\n")
    assert (raw.values[:, 0].tolist(), raw.lengths.tolist()) == ([1, 3, 4], [1, 2])
    assert raw.remarks == (f"{path}: missing values at the end of a sequence are not a part of it",)
    with pytest.raises(
        DataError, match=r"sequence 1 \(line 7\), dimension 1, step 1: expected a number, got a missing"
    ):
        read(path, HEADER + "1,?,u\n?,4,'v w'\n")
    raw = read(path, HEADER + "1,2,u\n?,4,'v w'\n", missing="mask")
    np.testing.assert_array_equal(raw.values[:, 0], [1, 2, np.nan, 4])
    with pytest.raises(DataError, match="expected at least one time step"):
        read(path, HEADER + "1,2,u\n?,?,'v w'\n")
    raw = read(path, HEADER + "1,2,u\n?,?,'v w'\n", empty="skip")
    assert (raw.labels, raw.ids) == (["u"], [0])
    raw = read(path, HEADER + "1,2,?\n", labelled=False)
    assert raw.labels is None
    with pytest.raises(DataError, match=r"sequence 0 \(line 6\): expected a label, got none"):
        read(path, HEADER + "1,2,?\n")


def test_padding_of_relational_attributes(tmp_path):
    head = "@attribute r relational\n@attribute a numeric\n@end r\n@attribute class {0,1}\n@data\n"
    raw = read(tmp_path / "a.arff", head + "'1,2,?\\n3,4,?',0\n'5,?,?\\n6,7,?',1\n", missing="mask")
    np.testing.assert_array_equal(raw.values, [[1, 3], [2, 4], [5, 6], [np.nan, 7]])
    assert raw.lengths.tolist() == [2, 2]


def test_label_and_group_of_several_attributes(tmp_path):
    head = "@attribute who {a,b}\n@attribute x1 numeric\n@attribute x2 numeric\n@attribute what {0,1}\n@data\n"
    rows = "".join(f"{'ab'[row % 4 // 2]},{row},{row + 1},{row % 2}\n" for row in range(20))
    path = tmp_path / "a.arff"
    with pytest.raises(DataError, match=r"label \(`label_column=\"NAME\"`\), got attributes 'who', 'what'"):
        read(path, head + rows)
    raw = read(path, head + rows, columns=Columns(label="what", group="who"))
    assert (raw.labels[:3], raw.groups[:3]) == (["0", "1", "0"], ["a", "a", "b"])
    data = SequenceFiles(path, label_column="what", group_column="who", val_fraction=0.5)
    assert {row % 4 // 2 for row in data.sample_ids("val")} in ({0}, {1})
    with pytest.raises(DataError, match=r"expected numeric attributes and a label, .* got 'who'"):
        read(path, head + rows, columns=Columns(label="what"))
    numeric = "@attribute x1 numeric\n@attribute x2 numeric\n@attribute target numeric\n@data\n1,2,0\n1,2,1.0\n"
    assert read(path, numeric).labels == ["0", "1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "{0 1, 2 u}\n", r"sequence 0 \(line 6\): expected values between commas, got a sparse row"),
        (HEADER + "1,2,w\n", r"sequence 0 \(line 6\): expected a class of the header, u, v w, it's, got 'w'"),
        (HEADER + "1,2\n", r"\(line 6\): expected 3 values, one for each attribute, got 2"),
        (HEADER + "1,x,u\n", r"step 2: expected a number, got 'x'"),
        (HEADER + "1,2,'u\n", r"expected a closing quote and a comma after each value, got \"'u\""),
        (HEADER + "1,2,'u'v\n", r"expected a closing quote and a comma"),
        (HEADER, "expected sequences, got none"),
        ("@attribute a numeric\n", "expected a line @data"),
        ("1,2,3\n", "line 1: expected @attribute or @data before the first sequence, got '1,2,3'"),
        (
            "@attribute a date 'yyyy'\n@data\n",
            "line 1: expected numbers, classes, text or a relational attribute, got 'date'",
        ),
        ("@attribute a\n@data\n", "line 1: expected @attribute with a name and a type"),
        ("@attribute a {u,v\n@data\n", "line 1: expected the classes between braces"),
        ("@attribute a real\n@attribute a real\n", "line 2: expected attributes with distinct names, got 'a' again"),
        ("@attribute a {0,1}\n@data\n0\n", "expected attributes with numbers besides the label, got none"),
        ("@attribute a real\n@data\n1\n", r"expected an attribute with the label \(`label_column=\"NAME\"`\), got"),
        (
            "@attribute r relational\n@attribute a {0,1}\n@end r\n@attribute class {0,1}\n@data\n",
            "line 2: expected numeric attributes in 'r', got nominal",
        ),
        (
            "@attribute r relational\n@attribute a real\n@end r\n@attribute class {0,1}\n@data\n'1,2\\n1',0\n",
            r"dimension 2: expected 2 values, as in dimension 1, got 1",
        ),
        (
            "@attribute r relational\n@attribute a real\n@end r\n@attribute class {0,1}\n@data\n'1\\n1',0\n'1',1\n",
            r"expected 2 features, as in earlier sequences, got 1",
        ),
    ],
)
def test_files_that_can_not_be_used(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.arff", text)


def test_inputs_tokens_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"got a \.arff file, which has numbers"):
        read(tmp_path / "a.arff", HEADER, inputs="tokens")


def test_labels_of_steps_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"got a \.arff file: one per sequence"):
        read(tmp_path / "a.arff", HEADER, label_per="step")
