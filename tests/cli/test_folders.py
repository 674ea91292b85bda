"""Commands with a folder that has a file for each sequence."""

import json

import pytest

from tests.cli.commands import run
from tests.conftest import seqlight_run
from tests.data.reading.test_folder import frames, write

pytestmark = pytest.mark.usefixtures("command_line_state")
QUICK = ("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--device=cpu", "--figures.every_n_epochs=0")
FIT = ("fit", "--data=SequenceFiles", "--data.train=recordings/", *QUICK)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "recordings", frames(30))
    write(tmp_path / "new", {name.replace("/", "-"): frame for name, frame in frames(4, seed=1).items()})
    return tmp_path


def test_training_and_prediction(folder):
    out = run(*FIT)
    assert "recordings: each file is a sequence, label 'folder'" in out
    run("predict", "--ckpt_path=runs/recordings-GRUCell", "--data.predict=new", "--device=cpu")
    rows = (folder / "predictions.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["id", "cat-0", "cat-2", "dog-1", "dog-3"]
    assert rows[0] == "id,probability_cat,probability_dog,prediction"
    status, _, err = seqlight_run(
        *("predict", "--ckpt_path=runs/recordings-GRUCell", "--data.predict=new", "--output=new/p.csv")
    )
    assert (status, err.splitlines()[-1]) == (
        2,
        "seqlight: error: --output: expected a path outside of the folders of data, got 'new/p.csv'",
    )


def described(folder, *flags):
    """The description of the newest run."""
    run(*FIT, "--name=a", "--fresh", *flags)
    *_, newest = sorted((folder / "runs" / "a").iterdir())
    return json.loads((newest / "run.json").read_text())["training"]


def test_a_run_depends_on_all_files_of_its_folder(folder):
    first = described(folder)
    assert "recordings/" in first
    (folder / "recordings" / "README.md").write_text("not a sequence")
    assert described(folder) == first
    (folder / "recordings" / "cat" / "0.csv").write_text("x,z\n1,2\n")
    changed = described(folder)
    assert [name for name in first if changed[name] != first[name]] == ["recordings/"]
    (folder / "recordings" / "cat" / "0.csv").rename(folder / "recordings" / "dog" / "0.csv")
    moved = described(folder)
    assert [name for name in first if moved[name] != changed[name]] == ["recordings/"]
    rows = [f"{path.parent.name}/{path.stem},{path.parent.name}" for path in (folder / "recordings").glob("*/*.csv")]
    for label in ("cat", "dog"):
        (folder / "labels.tsv").write_text("\n".join(["file,label", *rows[:-1], f"{rows[-1][:-3]}{label}"]))
        found = described(folder, "--data.labels_file=labels.tsv")
        assert found["recordings/"] != moved["recordings/"]
        moved = found


def test_folder_is_answered_with_its_flags(folder):
    for words in (["recordings"], ["--data", "recordings"]):
        status, _, err = seqlight_run("fit", *words)
        assert status == 2
        assert "recordings: a folder with a file for each sequence is given by flags: --data SequenceFiles" in err
