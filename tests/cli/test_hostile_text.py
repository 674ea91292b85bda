"""Control characters from files, checkpoints, configurations and paths never reach the terminal."""

import copy
import csv
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from seqlight.data.reading.raw import Columns, DataError
from seqlight.data.reading.read import read_sequences
from tests.cli.commands import QUIET, SMALL
from tests.conftest import seqlight_run

FORGED = "seqlight: error: forged"
ON_ONE_LINE = "\x1b[2J\x07\x85\u2028\u202e\x7f\x9b"
HOSTILE = f"{ON_ONE_LINE}\n{FORGED}\r{FORGED}"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
TRAIN = ("--data=SequenceFiles", "--trainer.max_epochs=1", "--device=cpu", *QUIET)


def check(text):
    """Check that a text is safe to show. Returns it."""
    assert not RAW.search(text), ascii(text)
    assert not any(line.startswith(FORGED) for line in text.split("\n")), text
    return text


def run(*arguments):
    """Run a command, check what it prints; return its exit status and all output."""
    status, out, err = seqlight_run(*arguments)
    return status, check(out) + check(err)


def write_csv(path, name, mark):
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "step", f"x{mark}", "label"])
        rows.writerows([f"{name}{i}{mark}", step, i % 2 + step / 10, f"{'AB'[i % 2]}{mark}"] for i, step in STEPS)


def write_jsonl(path, name, mark):
    lines = [
        {"inputs": [f"t{i % 2}{mark}", "u"], "label": f"{'ABC'[i % 3]}{mark}", "id": f"{name}{i}{mark}"}
        for i in range(24)
    ]
    Path(path).write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


def write_npz(path, name, mark):
    values = np.arange(24.0)[:, None, None] + np.zeros((24, 2, 1))
    labels = np.array([f"{'AB'[i % 2]}{mark}" for i in range(24)])
    np.savez(path, inputs=values, targets=labels, ids=np.array([f"{name}{i}{mark}" for i in range(24)]))


def write_ts(path, name, mark):
    mark = re.sub(r"[\s:]", "", mark)  # not allowed in fields
    lines = ["@classLabel true " + " ".join(f"{letter}{mark}" for letter in "AB"), "@data"]
    lines += [f"{i},{i + 1}:{'AB'[i % 2]}{mark}" for i in range(24)]
    Path(path).write_text("\n".join(lines), encoding="utf-8")


STEPS = [(i, step) for i in range(24) for step in range(2)]
WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "npz": write_npz, "ts": write_ts}


@pytest.mark.parametrize("suffix", WRITERS)
def test_runs_with_files(suffix, tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)
    write = WRITERS[suffix]
    files = {part: f"{part}{HOSTILE.replace('/', '')}.{suffix}" for part in ("train", "new", "other")}
    write(files["train"], "i", HOSTILE)
    write(files["new"], "i", HOSTILE)
    write(files["other"], "i", f"other{HOSTILE}")  # labels, tokens and columns that the training data do not have
    status, out = run("fit", *TRAIN, f"--data.train={files['train']}", f"--name=run{HOSTILE}")
    assert status == 0, out
    [checkpoint] = Path("runs").rglob("best.ckpt")
    commands = [
        ("test", f"--data.test={files['new']}"),
        ("test", f"--data.test={files['other']}"),
        ("predict", f"--data.predict={files['new']}", f"--output=p{HOSTILE}.csv"),
        ("fit", "--print_config"),
    ]
    results = [run(verb, f"--ckpt_path={checkpoint}", "--device=cpu", *QUIET, *flags)[0] for verb, *flags in commands]
    assert results == [0, 2, 0, 0]
    with open(f"p{HOSTILE}.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    ids = [str(name) for name in read_sequences(files["new"], labelled=False).ids]
    assert [row[0] for row in rows] == ids
    assert {header[1].removeprefix("probability_"), header[2].removeprefix("probability_")} >= {rows[0][-1]}


def bad_files(mark):
    """Contents of files that can't be used, by name, with text of others wherever a message could quote it."""
    table = f"id,step,x{mark},label\n"
    line = {"inputs": [[1.0]], "label": f"A{mark}", "id": f"a{mark}"}
    quoted = mark.replace('"', "").join('""')
    yield "number.csv", f"id,step,x,y,label\na,0,1,{quoted},A\n"
    yield "column.csv", f"id,step,{quoted},{quoted},label\na,0,1,1,A\n"
    yield "no_label.csv", f"id,step,{quoted},other\na,0,1,1\n"
    yield "labels.csv", f"id,step,x,label\n{quoted},0,1,{quoted}\n{quoted},1,1,B\n"
    yield "steps.csv", f"id,step,x,label\n{quoted},0,1,A\n{quoted},0,1,A\n"
    yield "separator.csv", f"id;{mark.splitlines()[0]};label\n"
    yield "ragged.csv", f"{table}a,0\n"
    for key, value in (("inputs", [mark, 1]), ("inputs", mark), ("label", {mark: 1}), ("id", [mark])):
        yield f"{key}.jsonl", json.dumps({**line, key: value})
    yield "twice.jsonl", "\n".join([json.dumps(line)] * 2)
    yield "name.jsonl", json.dumps({mark: 1})
    yield "text.jsonl", mark
    yield "class.ts", f"@classLabel true {ON_ONE_LINE.replace(chr(0x85), '')}\n@data\n1,2:{mark}"
    yield "value.ts", f"@data\n1,{mark},3"
    yield "header.ts", mark


@pytest.mark.parametrize("case", range(17))
def test_messages_about_files(case, tmp_path):
    [*files] = bad_files(HOSTILE)
    assert len(files) == 17
    name, content = files[case]
    path = tmp_path / f"{HOSTILE}{name}"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_sequences(path, columns=Columns())
    assert "\\x1b" in check(str(caught.value))


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "--data.train", "{}"),
        ("fit", "--data=SequenceFiles", "--data.train={}.csv"),
        ("fit", "--model.cell={}"),
        ("fit", "--model.cell=mycells.{}"),
        ("fit", "--model.cell.hidden_size={}"),
        ("fit", "--model.learning_rate=[{}]"),
        ("fit", "--data.task={}"),
        ("fit", "--trainer.callbacks={}"),
        ("fit", "--trainer.callbacks={{class_path: '{}'}}"),
        ("fit", "--trainer.precision={}"),
        ("fit", "--config={}"),
        ("fit", "--{}=1"),
        ("fit", "--model.{}=1"),
        ("fit", "--import={}"),
        ("test", "--ckpt_path={}"),
        ("test", "--ckpt_path={}://a"),
        ("cells", "{}"),
        ("check", "{}"),
        ("check", "GRUCell", "--cell.{}=1"),
        ("{}",),
    ],
)
def test_words_of_the_command_line(arguments, tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)
    status, out = run(*(word.format(HOSTILE) for word in arguments))
    assert status in (2, 3)
    assert out


@pytest.mark.parametrize(
    "keys", [(), ("model",), ("data",), ("model", "class_path"), ("model", "init_args"), ("trainer", "max_epochs")]
)
@pytest.mark.parametrize("as_key", [False, True])
def test_configurations(keys, as_key, tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)
    value = {HOSTILE: 1} if as_key else HOSTILE
    for key in reversed(keys):
        value = {key: value}
    Path("run.yaml").write_text(yaml.safe_dump(value))
    assert run("fit", "--config=run.yaml", *SMALL)[0] == 2


def places(value, path=()):
    """The paths of all texts in nested values, and of all keys."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield (*path, key), True
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for key, part in enumerate(value):
            yield from places(part, (*path, key))
    elif isinstance(value, str):
        yield path, False


def with_hostile_text(contents, path, is_key):
    changed = copy.deepcopy(contents)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    text = f"{path[-1] if is_key else inside[path[-1]]}{HOSTILE}"
    if is_key:
        inside[text] = inside.pop(path[-1])
    else:
        inside[path[-1]] = text
    return changed


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
def test_checkpoints(seed, trained):
    contents = torch.load(trained, weights_only=True)
    del contents["sealed"]
    for path, is_key in random.Random(seed).sample([*places(contents)], 6):
        torch.save(with_hostile_text(contents, path, is_key), "hostile.ckpt")
        for verb in ("fit", "test"):
            status, _ = run(verb, "--ckpt_path=hostile.ckpt", "--data.num_train=200", "--device=cpu", *QUIET)
            assert status in (0, 2, 3), path


def test_flags_that_override_a_checkpoint(trained):
    contents = torch.load(trained, weights_only=True)
    del contents["sealed"]
    contents["seqlight"]["data"]["init_args"]["test_lengths"] = f"5{HOSTILE}"
    torch.save(contents, "hostile.ckpt")
    status, out = run("test", "--ckpt_path=hostile.ckpt", "--data.test_lengths=5", "--device=cpu", *QUIET)
    assert status == 0, out
    assert r"(was 5\x1b[2J" in out


def test_state_of_an_abandoned_run(trained):
    path = Path(trained).parents[1] / "run.json"
    state = json.loads(path.read_text())
    state |= {"finished": False, "process": 2**30, "training": {**state["training"], f"--a{HOSTILE}": HOSTILE}}
    path.write_text(json.dumps(state))
    (Path(trained).parent / "last.ckpt").write_bytes(Path(trained).read_bytes())
    status, out = run("fit", *SMALL, *QUIET)
    assert status == 0
    assert r"differs in --a\x1b[2J" in out
