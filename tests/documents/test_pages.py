"""README and docs: their code runs, their outputs are current, and their links have targets."""

import re
from pathlib import Path

import pytest
import torch

from seqlight.checkpoints.run_choice import ChosenRun, ResumePoint
from seqlight.cli.training_run import describe_choice
from tests.cli.commands import python
from tests.conftest import seqlight_run
from tests.data.test_files import write_table
from tests.documents.pages import NAMES, ROOT, Page, differences, run_page

README, TRAINING, CLI, DATA, CELLS = map(Page, NAMES[:5])
FOLDERS = ("", "docs", ".github", "benchmarks")
ALL = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A user's folder, and the commands that have run there."""
    return tmp_path_factory.mktemp("pages"), {}


@pytest.mark.parametrize("name", NAMES)
def test_code_of_a_page_does_what_it_shows(name, shared):
    check(Page(name), *shared, long=False)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in NAMES if any(block.is_long for block in Page(name).blocks)])
def test_long_outputs_are_current(name, tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    check(Page(name), folder, {}, long=True)


def check(page, folder, known, *, long):
    outputs = run_page(page, folder, known, long=long)
    for block, printed in outputs.blocks:
        assert not (found := differences(block.text, printed, about="about" in block.comment)), found
    for match in page.accuracies:
        accuracy = outputs.accuracies[match["split"], match["run"]]
        assert accuracy == pytest.approx(float(match["number"]), abs=0.05), match[0]
        bound = float(match["bound"])
        assert accuracy > bound if match["side"] == "above" else accuracy < bound, match[0]


@pytest.mark.gpu
@pytest.mark.usefixtures("command_line_state")
def test_command_for_a_gpu_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [command] = [each for block in CLI.of_language("bash") for each in block.commands if "--device gpu" in each]
    assert seqlight_run(*command.split()[1:])[0] == 0


def test_readme_is_short():
    assert len(README.text.splitlines()) < 250


def test_examples_name_their_runs():
    """Except the very first, so that no step of a page uses another step's model."""
    for page in (README, TRAINING, CLI, DATA, CELLS):
        fits = [
            each for block in page.of_language("bash") for each in block.commands if each.startswith("seqlight fit")
        ]
        others = [each for each in fits if "--name" not in each and "--config" not in each]
        assert others == (["seqlight fit"] if page is README else [])
        names = re.findall(r"--name (\S+)", "\n".join(fits))
        assert len(names) == len(set(names))


def test_cell_has_at_most_ten_lines():
    body = README.of_language("python")[0].text.split("class ")[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= 10
    assert README.of_language("python")[0].text == CELLS.of_language("python")[0].text


def test_listing_has_forty_lines_and_labels_of_the_right_shape():
    listing = TRAINING.of_language("python")[0]
    assert listing.file == "listing.py"
    assert len([line for line in listing.text.splitlines() if line.strip()]) <= 40
    names = {"__name__": "listing"}
    exec(listing.text, names)
    model, inputs, labels = names["Classifier"](), torch.zeros(3, 10, 1), torch.zeros(3)
    assert model.training_step((inputs, labels), 0).shape == ()
    with pytest.raises(ValueError, match="target size"):
        model.training_step((inputs, labels[:, None]), 0)


def test_example_from_python_prints_nothing_else(tmp_path):
    """In a new process: Lightning shows its advertisements, and a warning about its own code, once in each."""
    [example] = [
        block for block in TRAINING.of_language("python") if "seqlight.load(" in block.text and "Trainer(" in block.text
    ]
    quiet = [line for line in example.text.splitlines() if "quiet_lightning" in line]
    assert len(quiet) == 1
    (tmp_path / "example.py").write_text(example.text.replace("max_epochs=10", "max_epochs=1"))
    process = python("example.py", cwd=tmp_path)
    assert process.stderr == ""
    assert re.fullmatch(r"tensor\(.*\)\n", process.stdout)


def test_error_in_a_file_has_the_message_shown(tmp_path, monkeypatch, command_line_state):
    [expected] = re.findall(r"seqlight: error: train\.csv: row 17.*", DATA.text)
    frame = write_table(tmp_path / "train.csv").astype({"x0": object}).rename(columns={"x0": "x"})
    frame.loc[16, "x"] = "abc"
    frame.to_csv(tmp_path / "train.csv", index=False)
    monkeypatch.chdir(tmp_path)
    status, _, err = seqlight_run("fit", "--data", "SequenceFiles", "--data.train", "train.csv")
    assert status == 2
    assert err.splitlines()[0].removesuffix(".") == expected


def test_message_of_a_run_that_continues_is_the_one_shown():
    [line] = re.findall(r"^runs/.* continues from step \d+; .*$", CLI.text, re.MULTILINE)
    unfinished, step = re.fullmatch(r"(\S+) continues from step (\d+);.*", line).groups()
    resume = ResumePoint(Path("last.ckpt"), {"global_step": int(step)}, [])
    assert describe_choice(ChosenRun(None, Path(unfinished), resume)) == line


@pytest.mark.parametrize("name", ALL)
def test_links_have_targets(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(Page(name).text)):
        file, _, anchor = target.partition("#")
        if "://" in target:
            assert target.startswith("https://"), target
            continue
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(path):
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    return {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("name", ALL)
def test_flags_exist(name):
    """Whatever a page calls a flag of seqlight, the command line has."""
    known = set((ROOT / "seqlight" / "cli" / "flag_names.txt").read_text().split())
    text = Page(name).text
    for prefix in ("data", "model", "figures", "resume"):
        for flag in re.findall(rf"--({prefix}(?:\.\w+)*)", text):
            own = re.match(r"(model\.cell|data\.task)\.\w+$|.*\.help$", flag)  # arguments of the user's classes too
            assert flag in known or own, flag


def test_each_guarantee_names_its_tests():
    [section] = re.findall(r"## Reliability guarantees\n(.*?)\n## ", README.text, re.DOTALL)
    rows = [line for line in section.splitlines() if line.startswith("| **")]
    assert len(rows) == 8
    for row in rows:
        assert re.search(r"\(tests/\w+/test_\w+\.py\)[^(]*$", row), row


@pytest.mark.parametrize(
    ("shown", "printed", "about", "differs"),
    [
        ("val 0.97", "val  0.96", False, False),
        ("val 0.97", "val 0.90", False, True),
        ("400 sequences", "401 sequences", False, True),
        ("400 sequences", "401 sequences", True, False),
        ("a\nb", "a", False, True),
        ("loss 1e-05", "loss 2e-07", True, False),
    ],
)
def test_outputs_are_compared_to_the_digits_that_are_stable(shown, printed, about, differs):
    assert bool(differences(shown, printed, about=about)) == differs


def test_a_page_is_read_as_its_comments_say():
    assert [block.file for block in README.blocks if block.file] == ["mycells.py"]
    [output] = [block for block in README.blocks if block.is_output]
    assert output.comment_value("from") == "loss  accuracy"
    assert {match["run"] for match in README.accuracies} >= {"rnn", "lstm", "gru", "mgu", "gait"}
