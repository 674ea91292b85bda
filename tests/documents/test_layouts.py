"""The table of layouts in docs/data.md: each row's flags read such data as the row says."""

import json
import re
import shlex

import numpy as np
import pandas as pd
import pytest

import seqlight
from seqlight.sklearn import RecurrentClassifier
from tests.cli.commands import run
from tests.data.reading.test_fuzz import as_arff
from tests.documents.pages import ROOT

pytestmark = pytest.mark.usefixtures("command_line_state")
TEXT = (ROOT / "docs" / "data.md").read_text()
_, FILES, MEMORY = re.split(r"\| My data \| (?:Flags|Call) \|\n", TEXT)
ROWS = re.findall(r"^\| (.*?) \| `(--data.*)` \|$", FILES.split("\n\n")[0], re.MULTILINE)
CALLS = re.findall(r"^\| (.*?) \| `(.*)` \|$", MEMORY.split("\n\n")[0], re.MULTILINE)
NUM, STEPS = 12, 5


def series():
    return np.random.default_rng(0).standard_normal((NUM, STEPS, 2)).round(3)


LABELS = np.array(["cat", "dog"] * (NUM // 2))


def pairs():
    return list(zip(series(), LABELS, strict=True))


def long_form(**columns):
    rows = np.repeat(np.arange(NUM), STEPS)
    frame = pd.DataFrame({"id": rows, "step": np.tile(np.arange(STEPS), NUM)})
    frame[["x", "z"]] = series().reshape(-1, 2)
    return frame.assign(label=LABELS[rows]).assign(**columns)


def wide():
    columns = {f"{name}_{step}": series()[:, step, number] for number, name in enumerate("xz") for step in range(STEPS)}
    return pd.DataFrame({"id": range(NUM), **columns, "label": LABELS})


def ts():
    lines = [":".join([*(",".join(map(str, column)) for column in each.T), label]) for each, label in pairs()]
    return "\n".join(["@problemName a", "@classLabel true cat dog", "@data", *lines])


def write(folder):
    """All files of the table."""
    rows = np.repeat(np.arange(NUM), STEPS)
    tables = {
        "steps": long_form(),
        "trials": long_form(subject=rows // 3, trial=rows % 3).drop(columns="id"),
        "subjects": long_form(subject=rows // 3),
        "several": long_form(label_loud=rows % 2, label_fast=rows % 3 // 2).drop(columns="label"),
        "missing": long_form().assign(x=lambda frame: frame.x.mask(frame.step == 2)),
        "labelled_steps": long_form(label=np.tile([0, 1, 1, 0, 1], NUM)),
        "words": long_form(word=np.tile(list("abcab"), NUM)).drop(columns=["x", "z"]),
        "wide": wide(),
        "table": pd.DataFrame({"file": [f"{number:02}" for number in range(NUM)], "label": LABELS}),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    for split in ("TRAIN", "TEST"):
        ucr = np.column_stack([np.arange(NUM) % 2, series()[..., 0]])
        np.savetxt(folder / f"ucr_{split}.tsv", ucr, delimiter="\t", fmt="%g")
        (folder / f"archive_{split}.ts").write_text(ts())
    (folder / "archive_TRAIN.arff").write_text(as_arff(series(), LABELS, np.random.default_rng(0)))
    lists = {"id": range(NUM), "x": list(series()[..., 0]), "z": list(series()[..., 1]), "label": LABELS}
    pd.DataFrame(lists).to_parquet(folder / "lists.parquet")
    lines = [json.dumps({"inputs": each.tolist(), "label": label}) for each, label in pairs()]
    (folder / "lines.jsonl").write_text("\n".join(lines))
    np.savez(folder / "arrays.npz", inputs=series(), targets=LABELS)
    np.savez(folder / "channels.npz", inputs=series().transpose(0, 2, 1), targets=LABELS)
    for number, (each, label) in enumerate(pairs()):
        for name in (f"recordings/{label}", "files"):
            (folder / name).mkdir(exist_ok=True, parents=True)
            pd.DataFrame(each, columns=["x", "z"]).to_csv(folder / name / f"{number:02}.csv", index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    write(folder)
    return folder


def test_all_rows_are_found():
    assert len(ROWS) == 17
    assert len(CALLS) == 3


@pytest.mark.parametrize(("data", "flags"), ROWS, ids=[row[1].split()[1] for row in ROWS])
def test_flags_read_the_data(folder, monkeypatch, data, flags):
    monkeypatch.chdir(folder)
    out = run(
        *(
            "fit",
            "--data",
            "SequenceFiles",
            *shlex.split(flags),
            "--data.val_fraction=0.5",
            "--trainer.fast_dev_run=true",
        ),
        *("--trainer.enable_progress_bar=false", "--figures.every_n_epochs=0", "--device=cpu"),
        *("--model.cell.hidden_size=2",),
    )
    number = NUM // 2 if "group" not in flags else r"\d"
    assert re.search(rf"^train .*: {number} sequences of {STEPS} steps; ", out, re.MULTILINE), out
    known = {
        "words": "tokens, a vocabulary of 3",
        "several": "2 features, .*multilabel",
        "missing": "2 features",
        "ucr": "1 features?",
    }
    expected = next((text for name, text in known.items() if name in flags), "2 features, standardised; target: binary")
    assert re.search(rf"^inputs: {expected}", out, re.MULTILINE), out


@pytest.mark.parametrize("call", [call for _, call in CALLS])
def test_calls_take_the_data(call):
    names = {"inputs": list(series()), "labels": LABELS, "frame": long_form(), **vars(seqlight)}
    names["RecurrentClassifier"] = lambda: RecurrentClassifier(hidden_size=2, max_epochs=1)
    made = eval(call, names)
    if isinstance(made, RecurrentClassifier):
        assert made.predict(names["inputs"]).shape == (NUM,)
    else:
        assert made.split("train").values.shape[1] == 2
        assert made.class_names == ("cat", "dog")
