"""Commands with the user's files: training, test and predictions, and refused files."""

import contextlib
import csv
import json
import os
import re

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlight
from tests.cli.commands import run
from tests.conftest import seqlight_run
from tests.data.test_files import write_lines, write_table

pytestmark = pytest.mark.usefixtures("command_line_state")
QUICK = ("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--device=cpu")
BEST = "runs/a-GRUCell/version_0/checkpoints/best.ckpt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data files and a run on them, and the run's output."""
    folder = tmp_path_factory.mktemp("files")
    with contextlib.chdir(folder):
        for seed, name in enumerate("abc"):
            write_table(folder / f"{name}.csv", 40, seed)
        frame = pd.read_csv("c.csv")
        groups = frame.groupby("id", sort=False)
        lines = [{"id": f"new {name}", "inputs": rows[["x0", "x1"]].values.tolist()} for name, rows in groups]
        write_lines(folder / "d.jsonl", lines)
        out = run(
            *("fit", "--data=SequenceFiles", "--data.train=a.csv", "--data.val=b.csv", "--data.test=c.csv"),
            *("--data.class_weights=[1, 3]", *QUICK),
        )
    return folder, out


@pytest.fixture
def folder(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    return trained[0]


def test_run_first_reports_its_files(trained):
    lines = trained[1].splitlines()
    assert [line.split(":")[0].split() for line in lines[:3]] == [
        ["train", "a.csv"],
        ["val", "b.csv"],
        ["test", "c.csv"],
    ]
    assert lines[3] == "a.csv: sequence id in column 'id', steps sorted by 't', label 'label', features 'x0', 'x1'"


def test_checkpoint_holds_what_was_learnt_from_the_data(folder):
    description = torch.load(BEST, weights_only=True)["seqlight"]
    encoding = description["data"]["init_args"]["encoding"]
    frame = pd.read_csv("a.csv")
    assert encoding["class_names"] == ["cat", "dog"]
    assert encoding["mean"] == pytest.approx(frame[["x0", "x1"]].mean())
    assert encoding["scale"] == pytest.approx(frame[["x0", "x1"]].std(ddof=0), rel=1e-6)
    assert description["model"]["init_args"]["class_weights"] == [1.0, 3.0]


def test_vocabulary_is_not_in_tensorboards_text(folder):
    events = EventAccumulator("runs/a-GRUCell/version_0").Reload()
    text = events.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "a.csv" in text
    assert "vocabulary" not in text


def test_saved_configuration_can_be_used_again(folder):
    config = yaml.safe_load((folder / "runs/a-GRUCell/version_0/config.yaml").read_text())
    assert config["data"]["init_args"]["train"] == "a.csv"
    assert config["data"]["init_args"]["encoding"] is None
    run("fit", "--config=runs/a-GRUCell/version_0/config.yaml", "--name=again", *QUICK)


def test_test_needs_no_flags_and_prints_the_models_accuracy(folder):
    out = run("test", f"--ckpt_path={BEST}", *QUICK[1:])
    model = seqlight.load(BEST)
    data = seqlight.SequenceFiles.load_from_checkpoint(BEST)
    frame = pd.read_csv("c.csv")
    batch = data.encode([rows[["x0", "x1"]].to_numpy() for _, rows in frame.groupby("id", sort=False)])
    labels = torch.tensor([label == "dog" for label in frame.groupby("id", sort=False)["label"].first()])
    accuracy = ((model.probabilities(batch.inputs, batch.lengths) > 0.5) == labels).double().mean().item()
    [row] = [line.split() for line in out.splitlines() if line.startswith("test  ") and "csv" not in line]
    assert float(row[2]) == pytest.approx(accuracy, abs=5e-5)


def test_each_tested_file_has_its_own_folder(folder):
    version = folder / "runs/a-GRUCell/version_0"
    before = set(version.glob("test*"))
    for name in "bc":
        out = run("test", f"--ckpt_path={BEST}", f"--data.test={name}.csv", *QUICK[1:])
        assert f"test    {name}.csv: 40 sequences" in out
    new = set(version.glob("test*")) - before
    assert len(new) == 2
    for path in new:
        assert len(EventAccumulator(str(path)).Reload().Scalars("test/accuracy")) == 1


def test_predictions_equal_the_models_probabilities(folder):
    run("predict", f"--ckpt_path={BEST}", "--data.predict=d.jsonl", "--output=p.csv", *QUICK[1:])
    with open("p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (folder / "d.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [line["id"] for line in lines]
    model, data = seqlight.load(BEST), seqlight.SequenceFiles.load_from_checkpoint(BEST)
    for row, line in zip(rows, lines, strict=True):
        batch = data.encode([line["inputs"]])
        probability = model.probabilities(batch.inputs, batch.lengths).item()
        assert float(row["probability_dog"]) == pytest.approx(probability, abs=1e-5)
        assert float(row["probability_cat"]) == pytest.approx(1 - probability, abs=1e-5)
        assert row["prediction"] == ("dog" if float(row["probability_dog"]) > 0.5 else "cat")


def test_predictions_have_the_true_labels(folder):
    frame = pd.read_csv("c.csv")
    names = frame.groupby("id", sort=False).label.first()
    changed = {"s1": None, "s2": "horse"}
    frame["label"] = [changed.get(name, label) for name, label in zip(frame.id, frame.label, strict=True)]
    frame.to_csv("e.csv", index=False)
    run("predict", f"--ckpt_path={BEST}", "--data.predict=e.csv", "--output=e.out.csv", *QUICK[1:])
    table = pd.read_csv("e.out.csv", index_col="id", keep_default_na=False)
    assert [*table] == ["probability_cat", "probability_dog", "prediction", "label"]
    assert table.label.to_dict() == {**names, "s1": "", "s2": "horse"}
    status, _, err = seqlight_run("test", f"--ckpt_path={BEST}", "--data.test=e.csv", *QUICK[1:])
    assert (status, "expected a label, got an empty cell" in err) == (2, True)


def test_continued_training_keeps_what_was_learnt_from_the_data(folder):
    last = BEST.replace("best", "last")
    run("fit", f"--ckpt_path={last}", "--data.train=b.csv", "--name=continued", "--trainer.max_epochs=2", *QUICK[1:])
    description = torch.load("runs/continued/version_0/checkpoints/last.ckpt", weights_only=True)["seqlight"]
    assert description["data"]["init_args"]["encoding"]["mean"] == pytest.approx(
        pd.read_csv("a.csv")[["x0", "x1"]].mean()
    )


def test_data_module_loads_from_the_checkpoint(folder):
    data = seqlight.SequenceFiles.load_from_checkpoint(BEST, predict="c.csv")
    assert (data.paths["predict"], data.batch_size, data.class_weights) == ("c.csv", 16, (1.0, 3.0))


def test_tokens_with_several_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [{"inputs": list("abc" * (row % 3 + 1)), "label": f"class {row % 3}"} for row in range(30)]
    write_lines(tmp_path / "a.jsonl", lines)
    write_lines(tmp_path / "d.jsonl", [{"inputs": ["a", "?"]}])
    run("fit", "--data=SequenceFiles", "--data.train=a.jsonl", *QUICK)
    out = run("predict", f"--ckpt_path={BEST}", "--data.predict=d.jsonl", *QUICK[1:])
    assert "d.jsonl: 1 of 2 tokens are not in the training data" in out
    header, row = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header == "id,probability_class 0,probability_class 1,probability_class 2,prediction"
    assert row.split(",")[-1] in ("class 0", "class 1", "class 2")


def test_several_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (30, 3))
    np.savez("a.npz", inputs=rng.normal(size=(30, 4, 2)), targets=targets)
    run("fit", "--data=SequenceFiles", "--data.train=a.npz", "--data.class_weights=balanced", *QUICK)
    run("predict", f"--ckpt_path={BEST}", "--data.predict=a.npz", *QUICK[1:])
    table = pd.read_csv("predictions.csv")
    columns = [f"{kind}_{label}" for kind in ("probability", "prediction", "label") for label in range(3)]
    assert [*table] == ["id", *columns]
    assert table[columns[6:]].to_numpy().tolist() == targets.tolist()


def refused(*arguments):
    """Run a command that must be refused in at most three lines; return its message."""
    status, _, err = seqlight_run(*arguments)
    assert status == 2, err
    assert "Traceback" not in err
    assert 1 <= len(err.splitlines()) <= 3
    assert err.startswith("seqlight: error: ")
    return err.removeprefix("seqlight: error: ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "none.csv: can't read it: No such file"),
        ("empty.csv", "", "empty.csv: expected sequences, got an empty file"),
        ("header.csv", "id,t,x,label\n", "header.csv: expected rows, got only the names"),
        (
            "text.csv",
            "id,t,x,y,label\na,0,1,2,u\nb,0,1,hm,v\n",
            "text.csv: row 2, column 'y': .*number, got 'hm'",
        ),
        ("nan.csv", "id,t,x,y,label\na,0,1,2,u\nb,0,inf,2,v\n", "nan.csv: row 2, column 'x': expected a finite number"),
        ("changes.csv", "id,t,x,label\na,0,1,u\na,1,1,v\n", "changes.csv: .*'a'"),
        ("unlabelled.csv", "id,t,x,label\na,0,1,u\nb,0,1,\n", "unlabelled.csv: row 2, column 'label': "),
        ("one.csv", "id,t,x,label\na,0,1,u\nb,0,1,u\n", "one.csv: all sequences have the label 'u'"),
        (
            "twice.csv",
            "id,t,x,label\na,0,1,u\na,0,2,u\n",
            "twice.csv: rows 1 and 2, column 't': .*distinct",
        ),
        (
            "a.txt",
            "hello",
            "a.txt: expected a file that ends in .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .jsonl, .npz, .ts, .arff, "
            "got '.txt'",
        ),
        ("broken.jsonl", '{"inputs": [[1, 2]], "label": 1}\n{"inputs"', "broken.jsonl: line 2: expected JSON"),
        (
            "widths.jsonl",
            '{"inputs": [[1, 2]], "label": 1}\n{"inputs": [[1]], "label": 0}',
            "widths.jsonl: line 2: .*2 features",
        ),
        ("zero.jsonl", '{"inputs": [], "label": 1}', "zero.jsonl: line 1: .*length 0"),
        ("array.npz", b"PK\x05\x06" + bytes(18), "array.npz: expected an array 'inputs'"),
    ],
)
def test_unusable_training_file_is_refused(name, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    error = refused("fit", "--data=SequenceFiles", f"--data.train={name}", *QUICK)
    assert re.match(message, error), error
    assert not (tmp_path / "runs").exists()  # the run has not started


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": 1.0}, "e.csv: feature columns differ from training: 'z' not in the training data"),
        ({"x1": None}, "e.csv: feature columns differ from training: 'x1' missing"),
        ({"label": "cow"}, "e.csv, sequence 's0': label 'cow' is unknown; the training data have 'cat', 'dog'"),
        ({"label": None}, "e.csv: .*'label'"),
    ],
)
def test_test_file_that_does_not_fit_the_training_file_is_refused(change, message, folder):
    frame = pd.read_csv("c.csv").assign(**change)
    frame.drop(columns=[name for name, value in change.items() if value is None]).to_csv("e.csv", index=False)
    before = sorted(folder.glob("runs/**/*.ckpt"))
    # Before training, and with a trained model.
    files = ("--data=SequenceFiles", "--data.train=a.csv", "--data.test=e.csv", "--name=e")
    for command in (("fit", *files, *QUICK), ("test", f"--ckpt_path={BEST}", "--data.test=e.csv", *QUICK[1:])):
        error = refused(*command)
        assert re.match(message, error), error
    assert not (folder / "runs" / "e" / "version_0" / "checkpoints").exists()
    assert sorted(folder.glob("runs/**/*.ckpt")) == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"inputs": [[1.0, 2.0, 3.0]]}], "e.jsonl: expected 2 features a time step, as in the training data; got 3"),
        ([{"inputs": ["a", "b"]}], "e.jsonl: line 1: expected numbers"),
    ],
)
def test_file_that_does_not_fit_the_models_features_is_refused(lines, message, folder):
    write_lines(folder / "e.jsonl", lines)
    (folder / "kept.csv").write_text("earlier")
    error = refused("predict", f"--ckpt_path={BEST}", "--data.predict=e.jsonl", "--output=kept.csv", *QUICK[1:])
    assert re.match(message, error), error
    assert (folder / "kept.csv").read_text() == "earlier"


def test_file_that_does_not_fit_the_models_vocabulary_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a.jsonl", [{"inputs": list("abc"), "label": row % 2} for row in range(20)])
    run("fit", "--data=SequenceFiles", "--data.train=a.jsonl", *QUICK)
    write_lines(tmp_path / "e.jsonl", [{"inputs": [[1.0, 2.0]]}])
    error = refused("predict", f"--ckpt_path={BEST}", "--data.predict=e.jsonl", *QUICK[1:])
    assert error.startswith("e.jsonl: line 1: expected text or integers")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--data.train=a.csv"],
            "--data.train a.csv: files need another data module: --data SequenceFiles --data.train a.csv",
        ),
        (["--data=SequenceFiles"], "--data.train: expected a file to learn from"),
        (["--data=a.csv"], "a.csv: a data file is given by flags: --data SequenceFiles --data.train a.csv"),
        (["--data=SequenceFiles", "--data.train=a.csv", "--data.id_column=no"], "a.csv: .*'no'"),
        (["--data=SequenceFiles", "--data.train=a.csv", "--data.feature_columns=[x0, other]"], "a.csv: .*'other'"),
        (["--data=SequenceFiles", "--data.train=a.csv", "--data.target=ternary"], "--data.target: "),
        (
            ["--data=SequenceFiles", "--data.train=a.csv", "--data.val_fraction=2"],
            "--data.val_fraction must be between 0 and 1",
        ),
        (["--data=SequenceFiles", "--data.train=a.csv", "--data.class_weights=[1]"], "--data.class_weights"),
        (
            ["--data=SequenceFiles", "--data.train=a.csv", "--model.class_weights=[1, 1]"],
            "--model.class_weights",
        ),
    ],
)
def test_wrong_flags_are_refused(flags, message, folder):
    error = refused("fit", *flags, *QUICK)
    assert re.match(message, error), error


@pytest.mark.parametrize("flag", ["--data.standardise=false", "--data.target=multiclass", "--data.class_weights=null"])
def test_flag_that_contradicts_the_checkpoint_is_refused(flag, folder):
    error = refused("test", f"--ckpt_path={BEST}", flag, *QUICK[1:])
    assert re.match(r"--data\.\w+ can't change after training, got ", error), error


def test_predictions_do_not_overwrite_the_data(folder):
    before = (folder / "d.jsonl").read_bytes()
    error = refused("predict", f"--ckpt_path={BEST}", "--data.predict=d.jsonl", "--output=d.jsonl", *QUICK[1:])
    assert error.startswith("--output: expected a path that is not a data file, got 'd.jsonl'")
    assert (folder / "d.jsonl").read_bytes() == before


def test_missing_checkpoint_is_reported_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for known in ("NAME, a run of `seqlight fit`", "b, the newest run"):
        error = refused("predict", "--data.predict=d.jsonl")
        assert error.strip() == f"seqlight predict needs a trained model: --ckpt_path runs/{known}"
        for name, time in (("a", 10), ("b", 30), ("c", 20)):
            best = tmp_path / "runs" / name / "version_0" / "checkpoints" / "best.ckpt"
            best.parent.mkdir(parents=True, exist_ok=True)
            best.write_bytes(b"")
            os.utime(best, (time, time))


def test_split_without_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "a.csv")
    run("fit", "--data=SequenceFiles", "--data.train=a.csv", *QUICK)
    for verb in ("test", "predict"):
        error = refused(verb, f"--ckpt_path={BEST}", *QUICK[1:])
        assert error.startswith(f"there is no {verb} file: expected --data.{verb} FILE")
