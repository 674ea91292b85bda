"""Arguments in messages become flags, and users' data stays unchanged."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import seqlight
from seqlight import DataError, SequenceClassifier, SequenceFiles, SyntheticSequences
from seqlight.cli.flags_in_messages import name_flags, with_flags
from tests.conftest import seqlight_run
from tests.data.test_files import write_lines

NAMES = ("inputs", "val", "val_fraction", "label_column", "feature_columns", "standardise", "class_weights", "seed")


@pytest.mark.parametrize(
    ("argument", "flag"),
    [
        ('inputs="tokens"', "--data.inputs tokens"),
        ("inputs='tokens'", "--data.inputs tokens"),
        ('val="my file.csv"', "--data.val 'my file.csv'"),
        ("val_fraction=0.5", "--data.val_fraction 0.5"),
        ('feature_columns=["NAME"]', """--data.feature_columns '["NAME"]'"""),
        ("standardise=False", "--data.standardise false"),
        ("class_weights=None", "--data.class_weights null"),
    ],
)
def test_argument_becomes_a_flag(argument, flag):
    for text in ("{}", "expected text ({}), got numbers", "give {}, or other data", "a\nIf these are tokens: {}."):
        assert name_flags(text.format(f"`{argument}`"), "data", NAMES) == text.format(flag)


def test_all_arguments_of_a_message_become_flags():
    message = 'give `val="FILE"`, or a larger fraction such as `val_fraction=0.5`'
    expected = "give --data.val FILE, or a larger fraction such as --data.val_fraction 0.5"
    assert name_flags(message, "data", NAMES) == expected


@pytest.mark.parametrize(
    "message",
    [
        "runs/seed=3/val=0.csv: row 1, column 'inputs=tokens': expected a number, got 'val=\"FILE\"'",
        """a.csv: expected a column, got columns 'inputs="tokens"', '`inputs="tokens"`', "`val='FILE'`\"""",
        "a.csv: 2 sequences of 3 steps; inputs=tokens 1, val=1 1",
        "backend='kernel' can't serve LayerNormLSTMCell",
        "val_fraction must be between 0 and 1, got 2.0",
        "a value that is not a literal: `inputs=tokens`, `val=open('x')`, `seed=`, `seed={1, 2}`",
        "another name: `hidden_size=3`, `inputs_=1`, `my.inputs=1`",
        "no assignment: `inputs`, `inputs == 3`",
        "across lines: `inputs=\n3`",
        "`seed=" + "[" * 10_000 + "`",
    ],
)
def test_other_text_is_unchanged(message):
    assert name_flags(message, "data", NAMES) == message


@pytest.mark.parametrize(
    ("cls", "argument", "flag"),
    [
        (SequenceFiles, 'inputs="tokens"', "--data.inputs tokens"),
        (SyntheticSequences, 'test_lengths="41:200"', "--data.test_lengths 41:200"),
        (SequenceClassifier, 'non_finite="skip"', "--model.non_finite skip"),
        (SequenceClassifier, 'class_weights="balanced"', "--data.class_weights balanced"),  # the data have it too
        (SequenceClassifier, "hidden_size=3", "`hidden_size=3`"),
    ],
)
def test_names_are_arguments_of_data_modules_and_models(cls, argument, flag):
    assert (argument.partition("=")[0] in inspect.signature(cls).parameters) == (flag[0] == "-")
    assert with_flags(f"`{argument}`") == flag


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("name,x,label\n1,2,3\n", {}, r"each row belongs to (--data.id_column NAME), got columns 'name', 'x', 'label'"),
        ("id,x\n1,2\n", {}, "label of each sequence (--data.label_column NAME), got"),
        ("id,label\n1,2\n", {}, """(--data.feature_columns '["NAME"]'), got"""),
        ("id,x,label\n1,2,3\n", {"step_column": "t"}, "expected a column 't' (--data.step_column NAME), got"),
        ("id,label,x\na,u,1\na,u,b\n", {}, "got 'b'.\nIf these are tokens: --data.inputs tokens"),
        ("id,label,x\na,u,1\nb,v,1\n", {}, "take a validation split from: give --data.val FILE"),
        ("id,x,label\n1,2,3\n1,2,`inputs=1`\n", {}, "got '`inputs=1`' after '3'.\n"),
    ],
)
def test_errors_about_files_name_flags(text, arguments, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        SequenceFiles(tmp_path / "a.csv", **arguments)
    assert "--" not in str(caught.value)
    assert message in with_flags(str(caught.value))


@pytest.mark.usefixtures("command_line_state")
def test_command_line_prints_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a.jsonl", [{"inputs": [1, 2], "label": row % 2} for row in range(20)])
    (tmp_path / "b.csv").write_text("id,inputs=tokens\n1,2\n")
    fit = ("fit", "--data=SequenceFiles", "--trainer.fast_dev_run=true", "--device=cpu")
    status, out, _ = seqlight_run(*fit, "--data.train=a.jsonl")
    assert status == 0
    assert "a.jsonl: integers are read as tokens; as a feature with --data.inputs features\n" in out
    status, _, err = seqlight_run(*fit, "--data.train=b.csv")
    assert status == 2
    assert err.endswith(
        "b.csv: expected a column with the label of each sequence (--data.label_column NAME), "
        "got columns 'id', 'inputs=tokens'\n"
    )


def test_other_rooms_name_no_flags():
    package = Path(seqlight.__file__).parent
    files = [path for path in package.rglob("*.py") if "cli" not in path.parts and path.parent != package]
    assert len(files) > 100
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"--[a-z]", node.value), f"{path}:{node.lineno}"
