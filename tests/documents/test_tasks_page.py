"""docs/tasks.md agrees with the code. `tests/cli/test_examples.py` compares its table with the tasks."""

import re
from pathlib import Path

from seqlight import Parity
from seqlight.cli.listing import command_lines

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
TEXT = PAGE.read_text()


def test_links_have_targets():
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT)
    assert targets
    for target in targets:
        assert target.startswith("https://") or (PAGE.parent / target).exists(), target


def test_command_of_parity_is_that_of_its_example():
    [block] = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    fit, test = block.replace("\\\n", "").strip().splitlines()
    expected = " ".join(line.strip(" \\") for line in command_lines("Parity", Parity.example))
    assert fit.replace("--name parity ", "").split() == expected.split()
    assert test == "seqlight test --ckpt_path runs/parity"
