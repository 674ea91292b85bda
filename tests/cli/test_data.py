"""The command `seqlight data`: what would be read, without training."""

import inspect
import json
import re
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqlight import SequenceFiles
from seqlight.cli.data_words import data_flags
from tests.cli.commands import python, run
from tests.conftest import seqlight_run

LABELS = ("cat", "dog", "eel")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)


def write(path="a.csv", seed=0, num_sequences=30, labels=LABELS, **columns):
    """Sequences of 1 to 5 steps with a number, an integer and a constant."""
    rng = np.random.default_rng(seed)
    lengths = np.arange(num_sequences) % 5 + 1
    ids = np.repeat(np.arange(num_sequences), lengths)
    frame = pd.DataFrame(
        {
            "id": ids,
            "step": np.concatenate([np.arange(length) for length in lengths]),
            "x": rng.normal(100, 2, len(ids)).round(3),
            "count": rng.integers(-3, 9, len(ids)),
            "unit": 7,
            "label": [labels[row % len(labels)] for row in ids],
        }
    ).assign(**columns)
    frame.to_csv(path, index=False)
    return frame


def table(text, first):
    """The cells of a table by the name in front, from the line that begins with `first` to an empty line."""
    lines = text[text.index(f"{first} ") :].partition("\n\n")[0].splitlines()
    return {line[:22].strip(): line[22:].split() for line in lines[1:]}


def test_report_is_that_of_fit():
    write()
    report = SequenceFiles("a.csv").report(["train", "val"]).splitlines()
    out = run("data", "a.csv")
    assert out.splitlines()[:2] == report[:2]
    assert report[-1] in out.splitlines()
    guesses = "a.csv: sequence id in column 'id', steps sorted by 'step', label 'label', features 'x', 'count', 'unit'"
    assert report[2] == guesses  # a table in its place
    for remark in report[3:-1]:
        start = remark.partition("`")[0]
        assert f"- {start}" in out


def test_features_have_the_range_of_the_file():
    frame = write()
    found = table(run("data", "a.csv"), "feature")
    for name, kind in (("x", "number"), ("count", "integer-valued"), ("unit", "constant")):
        column = frame[name]
        numbers = [f"{value:.4g}" for value in (column.min(), column.mean(), column.max())]
        assert found[name] == [kind, *numbers, "0"]


def test_missing_values_are_counted():
    frame = write()
    frame.loc[frame.index % 9 == 0, "x"] = np.nan
    frame.to_csv("a.csv", index=False)
    status, _, err = seqlight_run("data", "a.csv")
    assert status == 2
    assert "--data.missing mask" in err
    out = run("data", "a.csv", "--missing", "mask", "--figure", "a.png")
    assert table(out, "feature")["x"][0] == "number"
    assert table(out, "feature")["x"][-1] == "10"
    assert table(out, "feature")["x"][2] == f"{frame['x'].mean():.4g}"


def test_lengths_have_the_quartiles_of_each_split():
    write()
    write("b.csv", seed=1, num_sequences=7)
    out = run("data", "a.csv", "--test", "b.csv")
    lines = {
        line.split()[0]: line.split()[1:] for line in out.split("lengths ")[1].partition("\n\n")[0].splitlines()[1:]
    }
    assert lines["test"] == ["7", "1", "1.5", "2", "3.5", "5"]
    assert lines["train"][0] == "24"
    assert lines["val"][0] == "6"


def test_classes_have_their_numbers_and_shares():
    write(labels=("cat", "dog", "dog"), num_sequences=30)
    write("b.csv", labels=("cat",), num_sequences=5, seed=1)
    found = table(run("data", "a.csv", "--test=b.csv"), "class (sequences)")
    assert found == {
        "dog": ["16", "66.7%", "4", "66.7%", "0", "0.0%"],
        "cat": ["8", "33.3%", "2", "33.3%", "5", "100.0%"],
    }


def test_labels_of_several_are_counted_each():
    lines = [{"inputs": [[float(i)]], "label": ["loud"] * (i % 2) + ["fast"] * (i % 4 == 0)} for i in range(20)]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = table(run("data", "a.jsonl", "--val_fraction", "0"), "label (sequences)")
    assert found == {"loud": ["10", "50.0%"], "fast": ["5", "25.0%"]}


def test_labels_of_steps_are_counted():
    frame = write()
    frame["label"] = ["ab"[step % 2] for step in frame["step"]]
    frame.to_csv("a.csv", index=False)
    out = run("data", "a.csv", "--label_per", "step", "--val_fraction", "0", "--figure", "f.png")
    counts = frame["label"].value_counts()
    assert table(out, "class (steps)") == {
        name: [str(count), f"{count / len(frame):.1%}"] for name, count in counts.items()
    }


def test_tokens_are_counted():
    lines = [{"inputs": ["b", "a", "a"], "label": f"c{i % 2}"} for i in range(10)]
    lines[0]["inputs"].append("once")
    Path("a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert "\n3 different tokens; the most frequent: 'a' 20, 'b' 10, 'once' 1\n" in run("data", "a.jsonl")


def test_many_features_and_classes_are_counted():
    write(labels=[f"c{i}" for i in range(25)], num_sequences=100, **{f"x{i}": range(i, i + 300) for i in range(30)})
    out = run("data", "a.csv")
    # The columns that number the rows are left out.
    assert "... and 5 more classes, 25 in all" in out
    write(**{f"x{i}": np.random.default_rng(i).normal(size=90) for i in range(30)})
    out = run("data", "a.csv")
    assert "... and 13 more features, 33 in all" in out
    assert len(table(out, "feature")) == 21
    assert "features         33 columns" in out


def test_guesses_have_the_flags_that_name_another():
    write()
    out = run("data", "a.csv")
    for text, name, flag in (
        ("sequence id", "'id'", "--data.id_column NAME"),
        ("steps sorted by", "'step'", "--data.step_column NAME"),
        ("label", "'label'", "--data.label_column NAME"),
        ("features", "'x', 'count', 'unit'", "--data.feature_columns '[\"NAME\"]'"),
    ):
        assert re.search(f"^{text} +{name} +{re.escape(flag)}$", out, re.MULTILINE)
    assert "label" not in run("data", "a.csv", "--label_column=label").partition("guessed")[2]
    named = ("--id_column=id", "--step_column=step", "--label_column=label", "--feature_columns", "[x, count]")
    out = run("data", "a.csv", *named)
    assert "guessed" not in out
    assert out.endswith("no doubts\n")


def test_wide_table_has_no_guess_about_steps():
    pd.DataFrame({"label": list("ab") * 9, "x_0": range(18), "x_1": range(3, 21)}).to_csv("w.csv", index=False)
    out = run("data", "w.csv", "--layout", "wide").partition("guessed")[2]
    assert re.search(r"^features +'x'", out, re.MULTILINE)
    assert "step" not in out


def test_doubts_have_their_flags():
    write(labels=("yes", "no", "no"), subject=np.repeat(np.arange(30) % 6, np.arange(30) % 5 + 1))
    write("b.csv", labels=("yes", "no", "no"), subject=3)
    out = run("data", "a.csv", "--test", "b.csv").partition("doubts:\n")[2]
    assert "- constant feature: 'unit'; to choose the features: --data.feature_columns '[\"NAME\"]'\n" in out
    assert "about the other: --data.positive_class no\n" in out
    assert "name it: --data.group_column NAME\n" in out
    assert all(line.startswith("- ") for line in out.splitlines())


def test_sequences_in_several_splits_are_counted():
    write()
    write("b.csv", seed=1)
    out = run("data", "a.csv", "--val", "b.csv", "--test", "b.csv")
    assert "\n- 30 of 30 sequences in test are also in val\n" in out
    assert "also in train" not in out


@pytest.mark.parametrize(
    "words",
    [
        ["a.csv", "--label_column", "y", "--layout", "long"],
        ["--label_column=y", "a.csv"],
        ["a.csv", "--data.label_column", "y"],
        ["--data.train", "a.csv", "--data.init_args.label_column=y"],
        ["--label_column=y", "--", "a.csv"],
    ],
)
def test_flags_have_the_names_of_fit_or_short_ones(words):
    frame = write()
    frame.assign(y=[f"c{row % 2}" for row in frame["id"]]).drop(columns="label").to_csv("a.csv", index=False)
    assert table(run("data", *words), "class (sequences)").keys() == {"c0", "c1"}


def test_every_argument_of_the_data_module_is_a_flag():
    names = inspect.signature(SequenceFiles).parameters.keys() - {"encoding", "train"}
    for name in names:
        assert data_flags(["a.csv", f"--{name}", "3"]) == (["--data.train=a.csv", f"--data.{name}=3"], "")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("", "data needs a file, as in `seqlight data a.csv`"),
        ("-", "data reads a file, not standard input: expected its path, got -"),
        ("a.csv b.csv", "data takes one file, got a.csv b.csv; those of other splits are --val, --test and --predict"),
        ("a.csv --train b.csv", "data takes one file, .*"),
        ("a.csv --labl_column y", "--labl_column: there is no such argument of data; did you mean --label_column\\?"),
        ("a.csv --data.layuot wide", "--data.layuot: .*; did you mean --layout\\?"),
        ("a.csv --label y", "--label: .*; did you mean --label_column\\?"),
        ("a.csv --figrue a.png", "--figrue: .*; did you mean --figure\\?"),
        ("a.csv --xyzzy 3", "--xyzzy: there is no such argument of data"),
        ("a.csv -x 3", "-x: there is no such argument of data"),
        ("a.csv --encoding 3", "--encoding: there is no such argument of data"),
        ("a.csv --task Parity", "--task: there is no such argument of data"),
        ("a.csv --label_column", "--label_column: expected a value"),
        ("a.csv --layout broad", "--data.layout: expected one of long, wide, channels_first.*; got broad"),
        ("a.csv --val_fraction 3", "--data.val_fraction must be between 0 and 1, got 3.0"),
        ("a.csv --label_column q", "a.csv: expected a column 'q' \\(--data.label_column NAME\\), got columns .*"),
        ("a.csv --figure a.jpg", "--figure: expected a file that ends in .png, .svg, .pdf, got 'a.jpg'"),
        ("missing.csv", "missing.csv: can't read it: No such file or directory"),
        ("a.doc", "a.doc: expected a file that ends in .*"),
    ],
)
def test_wrong_words_are_refused(words, answer):
    write()
    status, out, err = seqlight_run("data", *words.split())
    assert (status, out) == (2, "")
    assert re.fullmatch(f"seqlight: error: {answer}\n", err)


def test_figure_does_not_replace_the_data():
    write()
    Path("a.png").symlink_to("a.csv")
    status, _, err = seqlight_run("data", "a.csv", "--figure", "a.png")
    assert (status, err) == (2, "seqlight: error: --figure: expected a path that is not a data file, got 'a.png'\n")
    assert Path("a.csv").read_text().startswith("id,")


def test_figure_that_can_not_be_written_is_an_error():
    write()
    status, out, err = seqlight_run("data", "a.csv", "--figure", "none/a.png")
    assert status == 5
    assert "lengths" in out
    assert err == "seqlight: error: can't write none/a.png: No such file or directory\n"


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")]
)
def test_figure_is_written(suffix, start):
    write()
    run("data", "a.csv", "--figure", f"f.{suffix}")
    content = Path(f"f.{suffix}").read_bytes()
    assert content.startswith(start)
    if suffix == "png":
        width, height = struct.unpack(">II", content[16:24])
        assert width > 800
        assert height > 300


HOSTILE = "\x1b[2J\u202e\nseqlight: error: forged"


def test_hostile_names_are_escaped_and_tables_are_80_columns_wide():
    long = "a name that goes on and on and on and on"
    write(labels=(f"cat{HOSTILE}", f"{long} 1", f"{long} 2"), **{f"x{HOSTILE}": 1.5, long: range(90)})
    out = run("data", "a.csv", "--figure", "f.png")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", out)
    assert not re.search("^seqlight: error", out, re.MULTILINE)
    tables = [part for part in out.split("\n\n") if part.startswith(("feature ", "lengths ", "class ", "guessed "))]
    assert len(tables) == 4
    assert max(len(line) for part in tables for line in part.splitlines()) <= 80


def test_help_is_narrow_and_needs_no_torch():
    program = "import sys; sys.argv = ['', 'data', '--help']\nfrom seqlight.__main__ import main\nstatus = main()"
    result = python("-c", f"{program}\nprint(status, 'torch' in sys.modules)")
    *lines, last = result.stdout.splitlines()
    assert last == "0 False"
    assert lines[0] == "usage: seqlight data FILE [--FLAG VALUE ...]"
    assert max(map(len, lines)) <= 80


def test_classifier_and_parts_of_training_are_not_imported():
    write()
    program = "import sys; sys.argv = ['', 'data', 'a.csv']\nfrom seqlight.__main__ import main\nstatus = main()"
    heavy = ("seqlight.training.classifier", "seqlight.callbacks", "seqlight.figures.data", "tensorboard")
    names = f"[name for name in sys.modules if name.startswith({heavy})]"
    result = python("-c", f"{program}\nprint(status, {names})")
    assert result.stdout.splitlines()[-1] == "0 []"
