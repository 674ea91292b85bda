"""Data is never code: checkpoints and configurations that would do harm are refused, soon and in short.

All are tried in one process, that of hostile_checkpoints.py: starting takes longer than all of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import hostile_checkpoints
from tests.conftest import seqlight_run

# What is hostile is what they say of the data; the model alone may be loaded from them.
OF_DATA = {"vocabulary", "features", "task's vocabulary", "mean", "scale", "scale's length", "scale's type",
           "class_names", "class_names of the model", "class_names, numbers", "encoding, text", "encoding, class",
           "task, text", "data, unknown", "deep in data"}  # fmt: skip


# What stands for true as long as nobody loads it.
TEXTS = {"YAML in a text", "deep YAML in a text"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of every way to open every file."""
    folder = tmp_path_factory.mktemp("hostile")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.checkpoints.hostile_checkpoints"]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    process = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    found = json.loads((folder / "results.json").read_text())
    assert not (folder / "flag").exists()
    return found


def test_the_good_one_that_all_others_are_made_of_is_opened(results):
    good = results["good"]
    assert [good[way]["result"] for way in hostile_checkpoints.VERBS] == [0, 0, 0, 0]
    assert good["load"]["result"] == good["trainer"]["result"] == "opened"
    assert good["data"]["says"] == "good.ckpt holds a SyntheticSequences, not a SequenceFiles"


def test_the_flag_would_be_there_if_the_code_ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_file, arguments = hostile_checkpoints.Payload().__reduce__()
    open_file(*arguments).close()
    assert Path("flag").exists()


def check(name, way, outcome, most):
    """What holds for every file, whether it is refused or not."""
    place = f"{name}, {way}: {outcome}"
    assert not outcome["flag"], place
    # Of zipfile, for names of entries: no file names that one.
    assert set(outcome["modules"]) <= {"encodings.cp437"}, place
    assert outcome["megabytes"] < most, place
    assert outcome["seconds"] < 2, place
    assert "Traceback" not in outcome["says"], place
    return place


def test_hostile_checkpoints(results):
    most = max(outcome["megabytes"] for outcome in results["good"].values()) + 200
    tried = 0
    for name, ways in results.items():
        if name in ("good", "requests", "URL") or "configuration" in ways:
            continue
        for way, outcome in ways.items():
            tried += 1
            place = check(name, way, outcome, most)
            if way in hostile_checkpoints.VERBS:
                assert outcome["result"] == 3, place
                assert 1 <= len(outcome["says"].splitlines()) <= 5, place
            elif way == "trainer" or name in TEXTS or (way == "load" and name.startswith(("task, ", *OF_DATA))):
                continue  # a Trainer reads nothing of what a model is
            else:
                assert outcome["result"] in ("CheckpointError", "DamagedCheckpointError"), place
    assert tried > 180


def test_a_url_is_not_asked_for(results):
    most = max(outcome["megabytes"] for outcome in results["good"].values()) + 200
    for way, outcome in results["URL"].items():
        place = check("URL", way, outcome, most)
        assert outcome["result"] == (2 if way in hostile_checkpoints.VERBS else "CheckpointError"), place
        assert "not a URL" in outcome["says"], place
    assert results["requests"] == []


def test_hostile_configurations(results):
    most = max(outcome["megabytes"] for outcome in results["good"].values()) + 200
    outcomes = {name: ways["configuration"] for name, ways in results.items() if "configuration" in ways}
    assert len(outcomes) == 13
    for name, outcome in outcomes.items():
        place = check(name, "fit", outcome, most)
        assert outcome["result"] == 2, place
        assert 1 <= len(outcome["says"].splitlines()) <= 5, place
        assert len(outcome["says"]) < 500, place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer: &t {max_epochs: &n 1}\nmodel: {class_path: SequenceClassifier, init_args: {num_layers: *n}}", None),
        ("model: &a [*a]", "alias 'a' is inside the value it refers to"),
        ("model: " + 60 * "[" + 60 * "]", "at most 100000 values in 50 levels"),
        ("model: [" + 100_001 * "1," + "]", "at most 100000 values in 50 levels"),
    ],
)  # fmt: skip
def test_aliases_are_followed_where_they_lead_to_little(text, message, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    status, out, err = seqlight_run("fit", f"--config={path}", "--print_config")
    assert status == (0 if message is None else 2), err
    if message is None:
        assert "max_epochs: 1\n" in out
        assert "num_layers: 1\n" in out
    else:
        assert message in err
