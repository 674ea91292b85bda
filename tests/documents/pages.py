"""Pages in Markdown, and the code, outputs and accuracies in them.

All code of a page runs from top to bottom: `seqlight` and `python FILE` in `bash` blocks, and `python` blocks, each
in a process of its own. The pages share a folder, in which equal commands run once. Comments, which readers do not
see, say what else is in a page:

- `<!-- file mycells.py -->` before a block: it is a part of this file, and is not run.
- `<!-- output -->` before a `text` block: it is the output of the block before. `from "..."` and `until "..."` choose
  lines by a text in them, `of "..."` the output of the commands that contain a text, and `about` allows other numbers.
  With `long`, only the long tests make it.
- `0.97 <!-- val of lstm, above 0.9 -->`: the accuracy in this row of the table that the run with this `--name` prints
  at its end, and a bound.

Commands of `fit` whose output or accuracy a page shows run whole. Others make a few steps.
"""

import re
import runpy
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import Command

ROOT = Path(__file__).parents[2]
NAMES = ("README.md", "docs/training.md", "docs/cli.md", "docs/data.md", "docs/cells.md", "docs/reliability.md")

# Programs that pages name and that the tests do not run.
_OTHER_PROGRAMS = ("pip", "tensorboard", "torchrun", "srun")
_QUICK = "--trainer.limit_train_batches 2 --trainer.limit_val_batches 2"
_QUICK_SYNTHETIC = "--data.num_train 64 --data.num_val 64"
# Neither changes a result.
_QUIET = "--trainer.enable_progress_bar false"
_NO_FIGURES = "--figures.every_n_epochs 0"

_BLOCK = re.compile(r"(?:<!-- (?P<comment>[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
_ACCURACY = re.compile(
    r"(?P<number>[01]\.\d+) <!-- (?P<split>val|test) of (?P<run>\S+), (?P<side>above|below) (?P<bound>\S+) -->"
)


@dataclass
class Block:
    """A block of code or output.

    Attributes:
        language: bash, python, text, ...
        text: the contents.
        comment: the comment before the block, or "".
        start, end: where `text` is in the page.
    """

    language: str
    text: str
    comment: str
    start: int
    end: int

    def comment_value(self, word: str) -> str | None:
        """The text in quotes after a word of the comment."""
        found = re.search(rf'\b{word} "(.*?)"', self.comment)
        return found and found[1]

    @property
    def is_output(self) -> bool:
        """Whether the block shows the output of the block before."""
        return self.comment.split(" ")[0] == "output"

    @property
    def is_long(self) -> bool:
        """Whether only the long tests make the output."""
        return self.is_output and self.comment.split()[-1] == "long"

    @property
    def file(self) -> str | None:
        """The file that the block is a part of."""
        return self.comment.removeprefix("file ") if self.comment.startswith("file ") else None

    @property
    def commands(self) -> list[str]:
        """The commands in a bash block that the tests run."""
        lines = self.text.replace("\\\n", " ").splitlines()
        commands = [part for line in lines if line.strip() for part in line.split(" && ")]
        for command in commands:
            assert command.split()[0] in ("seqlight", "python", *_OTHER_PROGRAMS), command
        return [command for command in commands if command.startswith(("seqlight", "python"))]


class Page:
    """A page in the repository.

    Args:
        name: its path, such as "docs/cli.md".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name
        self.text = self.path.read_text()
        self.blocks = [
            Block(match["language"], match["text"], match["comment"] or "", *match.span("text"))
            for match in _BLOCK.finditer(self.text)
        ]
        self.accuracies = list(_ACCURACY.finditer(self.text))

    def of_language(self, language: str) -> list[Block]:
        """The blocks in a language."""
        return [block for block in self.blocks if block.language == language]


@dataclass
class Outputs:
    """What the code of a page printed.

    Attributes:
        blocks: pairs of an output block and the text that it should have.
        accuracies: by split and name of the run, as "val" and "lstm".
    """

    blocks: list[tuple[Block, str]] = field(default_factory=list)
    accuracies: dict[tuple[str, str], float] = field(default_factory=dict)


def run_page(page: Page, folder: Path, known: dict[str, str], *, long: bool) -> Outputs:
    """Run the code of a page. A command that fails raises AssertionError.

    Args:
        page: the page.
        folder: the folder that all pages share.
        known: commands that earlier pages have run there, and their outputs; this page's are added.
        long: whether to make the outputs that are marked as long.
    """
    outputs = Outputs()
    shown = {match["run"] for match in page.accuracies}
    printed: list[tuple[str, str]] = []
    for name in {block.file for block in page.blocks if block.file}:
        (folder / name).unlink(missing_ok=True)
    for block, following in zip(page.blocks, [*page.blocks[1:], None], strict=True):
        if block.file:
            with open(folder / block.file, "a") as file:
                file.write(block.text + "\n\n")
        elif block.language == "bash":
            whole = following is not None and following.is_output and (long or not following.is_long)
            commands = [each for each in block.commands if "--device gpu" not in each]
            printed = []
            for command in commands:
                quick = not whole and _option(command, "--name") not in shown
                printed.append((command, run_command(command, folder, known, quick=quick)))
                outputs.accuracies |= accuracies(*printed[-1])
        elif block.language == "python":
            (folder / "block.py").write_text(block.text)
            printed = [("", run_command("python block.py", folder, {}))]
        elif block.is_output and (long or not block.is_long):
            outputs.blocks.append((block, _chosen_lines(block, printed)))
    return outputs


def run_command(command: str, folder: Path, known: dict[str, str], *, quick: bool = False) -> str:
    """Run a command, also with `> file`, in a process of its own; returns its standard output.

    Args:
        command: a command of a page.
        folder: its working directory.
        known: as for `run_page`.
        quick: whether `fit` makes only a few steps.
    """
    command = _with_flags(command, quick)
    if command not in known:
        words, _, target = command.partition(" > ")
        program, *arguments = shlex.split(words)
        output = folder.parent / "output"
        process = Command(folder, *arguments, output=output, program=_run_script if program == "python" else None)
        status, known[command], err = process.wait(600)
        assert status == 0, f"{command}: status {status}\n{err}"
        if target:
            (folder / target).write_text(known[command])
    return known[command]


def _with_flags(command: str, quick: bool) -> str:
    """The command with flags that save time."""
    verb = command.split()[1]
    if verb not in ("fit", "validate", "test", "predict") or " > " in command:
        return command
    flags = [_QUIET]
    if verb == "fit":
        flags.append(_NO_FIGURES)
        if quick:
            flags += [_QUICK, *([] if "--data " in command else [_QUICK_SYNTHETIC])]
            flags.append(f"--trainer.max_epochs {3 if '--ckpt_path' in command else 2}")
    return " ".join([command, *flags])


def _run_script(arguments: tuple[str, ...]) -> int:
    sys.path.insert(0, "")
    sys.argv = list(arguments)
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


def _option(command: str, flag: str) -> str | None:
    words = shlex.split(command)
    return words[words.index(flag) + 1] if flag in words else None


def accuracies(command: str, printed: str) -> dict[tuple[str, str], float]:
    """The accuracies that a command has printed, by split and name of the run."""
    run = _option(command, "--name") or (_option(command, "--ckpt_path") or "/").split("/")[1]
    rows = re.findall(r"^(val|test) +\S+ +([\d.]+)", printed, re.MULTILINE)
    return {(split, run): float(accuracy) for split, accuracy in rows}


def _chosen_lines(block: Block, printed: list[tuple[str, str]]) -> str:
    command = block.comment_value("of") or ""
    lines = "\n".join(text for each, text in printed if command in each).strip("\n").splitlines()
    first, stop = block.comment_value("from"), block.comment_value("until")
    if first:
        lines = lines[next(index for index, line in enumerate(lines) if first in line) :]
    if stop:
        lines = lines[: next(index for index, line in enumerate(lines) if stop in line)]
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def differences(shown: str, printed: str, *, about: bool = False) -> str:
    """How an output differs from the one that a page shows; empty if it does not.

    Numbers with a decimal point may differ by 0.05: the last digits depend on the processor.

    Args:
        shown: the text in the page.
        printed: the output.
        about: whether all numbers may differ.
    """
    number = re.compile(r"\d+\.\d+(?:e[-+]\d+)?" if not about else r"\d+(?:\.\d+)?(?:e[-+]\d+)?")
    texts = [re.sub(r" +", " ", number.sub("#", text)) for text in (shown, printed)]
    pairs = zip(map(float, number.findall(shown)), map(float, number.findall(printed)), strict=False)
    if texts[0] == texts[1] and (about or all(abs(one - other) <= 0.05 for one, other in pairs)):
        return ""
    return f"the page shows\n{shown}\nbut the output is\n{printed}"


def regenerated(page: Page, outputs: Outputs) -> str:
    """The text of a page with new outputs and accuracies."""
    changes = [(block.start, block.end, text) for block, text in outputs.blocks]
    for match in page.accuracies:
        value = outputs.accuracies[match["split"], match["run"]]
        decimals = len(match["number"].partition(".")[2])
        changes.append((*match.span("number"), f"{value:.{decimals}f}"))
    text = page.text
    for start, end, replacement in sorted(changes, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text
