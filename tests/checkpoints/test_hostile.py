"""Data is never code: harmful checkpoints and configurations are refused, quickly and in a few lines.

One process, which runs hostile_checkpoints.py, tries them all.
"""

import json
from pathlib import Path

import pytest

from tests.checkpoints import hostile_checkpoints
from tests.conftest import seqlight_run
from tests.processes import Command

# Files whose description of the data is hostile; the model can be loaded from them.
OF_DATA = {"vocabulary", "features", "task's vocabulary", "mean", "scale", "scale's length", "scale's type",
           "class_names", "class_names of the model", "class_names, numbers", "encoding, text", "encoding, class",
           "task, text", "data, unknown", "deep in data"}  # fmt: skip


# Strings that count as true if nobody parses them.
TEXTS = {"YAML in a text", "deep YAML in a text"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The outcome of every way to open every file."""
    folder = tmp_path_factory.mktemp("hostile")
    status, _, err = Command(folder, program=hostile_checkpoints.main).wait()
    assert status == 0, err
    found = json.loads((folder / "results.json").read_text())
    assert not (folder / "flag").exists()
    return found


def test_good_checkpoint_that_the_others_derive_from_is_opened(results):
    good = results["good"]
    assert [good[way]["result"] for way in hostile_checkpoints.VERBS] == [0, 0, 0, 0]
    assert good["load"]["result"] == good["trainer"]["result"] == "opened"
    assert good["data"]["says"] == "good.ckpt holds a SyntheticSequences, not a SequenceFiles"


def test_payload_would_make_the_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_file, arguments = hostile_checkpoints.Payload().__reduce__()
    open_file(*arguments).close()
    assert Path("flag").exists()


def check(name, way, outcome, most):
    """Check what must hold for every file, refused or not."""
    place = f"{name}, {way}: {outcome}"
    assert not outcome["flag"], place
    # zipfile imports this codec for the names of entries; no file names it.
    assert set(outcome["modules"]) <= {"encodings.cp437"}, place
    assert outcome["megabytes"] < most, place
    assert outcome["seconds"] < 2, place
    assert "Traceback" not in outcome["says"], place
    return place


def test_hostile_checkpoints_are_refused(results):
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
                continue  # a Trainer does not read the description of the model
            else:
                assert outcome["result"] in ("CheckpointError", "DamagedCheckpointError"), place
    assert tried > 180


def test_url_is_refused_without_a_request(results):
    most = max(outcome["megabytes"] for outcome in results["good"].values()) + 200
    for way, outcome in results["URL"].items():
        place = check("URL", way, outcome, most)
        assert outcome["result"] == (2 if way in hostile_checkpoints.VERBS else "CheckpointError"), place
        assert "not a URL" in outcome["says"], place
    assert results["requests"] == []


def test_hostile_configurations_are_refused(results):
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
def test_yaml_aliases_are_allowed_within_limits(text, message, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    status, out, err = seqlight_run("fit", f"--config={path}", "--print_config")
    assert status == (0 if message is None else 2), err
    if message is None:
        assert "max_epochs: 1\n" in out
        assert "num_layers: 1\n" in out
    else:
        assert message in err
