"""The help of fit, validate, test, predict, data and check, printed without importing torch.

`flag_texts.txt` has the flags, their defaults and texts. `python -m tests.cli.test_help` writes it from docstrings.
"""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seqlight.cli.unused_flags import is_used

FILE = Path(__file__).with_name("flag_texts.txt")
WIDTH = 80
_COLUMN = 34  # where texts begin
_COMMANDS = {
    "fit": "Train a model, and save checkpoints and curves in runs/.",
    "validate": "Evaluate a trained model on the validation split.",
    "test": "Evaluate a trained model on the test split.",
    "predict": "Write the probabilities of a trained model as CSV.",
}
# The arguments of data modules that only these commands use, besides fit.
_PARTS = {
    "validate": ("train", "val", "num_train", "num_val"),
    "test": ("test", "num_test", "test_lengths"),
    "predict": ("predict",),
}
_FROM_CHECKPOINT = "The model and the data are those of --ckpt_path; flags override them."
_MORE = """
More help:
  --data.help SequenceFiles       the flags for files of your own
  --data.task.help Parity         the flags of another task
  --trainer.help                  all flags of Lightning's Trainer
  --model.help, --model.cell.help GRUCell, --optimizer.help AdamW
  --checkpoint.help, --resume.help, --figures.help
"""


_CHECK = """usage: seqlight check CELL [--cell.NAME VALUE ...] [--FLAG VALUE ...]

Check that a cell is correct, and measure its speed.
CELL is GRUCell or another one of `seqlight cells`, or mycells.MyCell from this
folder. Its arguments are flags, such as --cell.hidden_size 16.

  --cell.help GRUCell             the arguments of a cell
  --input_size 3                  number of input features F
  --import MODULE                 your own module to import; its cells then have
                                  short names

Exit status: 0 if no property is broken, 1 if one is, 2 for wrong usage.
"""


_DATA = """usage: seqlight data FILE [--FLAG VALUE ...]

Say what would be read from a file, without training: sizes, features, lengths,
classes, what was guessed, and doubts, each with the flag that answers it.
The flags are those of `seqlight fit --data SequenceFiles`, with or without
`--data.`:

  --val FILE, --test FILE         other splits; sequences that are in two of
                                  them are counted
  --label_column NAME             the column with the label; also --id_column,
                                  --step_column, --feature_columns
  --layout wide                   a table with a row per sequence
  --figure data.png               draw some sequences of each class, lengths and
                                  classes; also .svg and .pdf

`seqlight fit --data.help SequenceFiles` lists all flags.
Exit status: 0 if the file can be read, 2 if not.
"""


class FlagText(NamedTuple):
    """The line of the help about a flag.

    Attributes:
        name: its name without dashes.
        kind: what its values are, as INT.
        default: the default; empty if there is none.
        text: what it is for.
    """

    name: str
    kind: str
    default: str
    text: str


def help_page(arguments: Sequence[str]) -> str:
    """The help that a command line asks for; empty if it asks for none of a whole command."""
    command = "".join(arguments[:1])
    if {"-h", "--help"}.isdisjoint(arguments):
        return ""
    if command in ("check", "data"):
        return _CHECK if command == "check" else _DATA
    if command not in _COMMANDS:
        return ""
    needed = "" if command == "fit" else " --ckpt_path runs/.../best.ckpt"
    lines = [f"usage: seqlight {command}{needed} [--FLAG VALUE ...]", "", _COMMANDS[command]]
    lines += [_FROM_CHECKPOINT] if needed else []
    lines.append("A value behind a flag is its default.")
    for heading, flags in texts().items():
        shown = [flag for flag in flags if is_used(flag.name, command)]
        if needed:
            shown = [_of_checkpoint(flag) for flag in shown if _is_shown(flag.name, command)]
        if shown:
            lines += ["", f"{heading}:", *flag_lines(shown)]
    return "\n".join(lines) + "\n" + _MORE


def texts() -> dict[str, list[FlagText]]:
    """The flags of the help by the heading above them."""
    found: dict[str, list[FlagText]] = {}
    heading = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if "\t" in line:
            found[heading].append(FlagText(*line.split("\t")))
        else:
            heading, found[line] = line, []
    return found


def flag_lines(flags: Iterable[FlagText]) -> list[str]:
    """The lines of a help about flags."""
    lines = []
    for name, kind, default, text in flags:
        flag = f"  --{name} {default or kind}".rstrip()
        wrapped = textwrap.wrap(text, WIDTH - _COLUMN, break_on_hyphens=False) or [""]
        if len(flag) >= _COLUMN:
            lines.append(flag)
            flag = ""
        lines.append(f"{flag:{_COLUMN}}{wrapped[0]}".rstrip())
        lines += [" " * _COLUMN + line for line in wrapped[1:]]
    return lines


def _of_checkpoint(flag: FlagText) -> FlagText:
    """The flag without its default, if that is the checkpoint's."""
    return flag._replace(default="") if flag.name.startswith("data") else flag


def _is_shown(name: str, command: str) -> bool:
    """Whether a trained model's command shows a flag: those of the data, without other splits, and of the run."""
    group, _, rest = name.partition(".")
    of_split = [split for split, parts in _PARTS.items() if rest in parts]
    return group not in ("model", "trainer", "seed") and (group != "data" or not of_split or command in of_split)
