"""The words of a command line as the parser expects them."""

from pathlib import Path

from seqlight.checkpoints.run_search import checkpoint_in
from seqlight.cli.flag_errors import base_class
from seqlight.cli.flag_names import CLASSES, full_flag
from seqlight.cli.yaml import current_class_path
from seqlight.common.description import full_name


def rewritten(words: list[str]) -> list[str]:
    """The words with values as the parser knows them: `--model.cell GRUCell` for `--model.cell gru`.

    `--seed` stands for `--seed_everything`, `--optimizer` for `--model.optimizer`, and the folder of a run for its best
    checkpoint.
    """
    found, flag = [], ""
    for word in words:
        word = "--config" if word == "-c" else word
        starts, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        starts = starts and f"--{full_flag(starts[2:])}"
        flag = name_of_flag(starts) if starts else flag
        if not starts or equals:
            if flag in CLASSES:
                value = full_name(value, base_class(flag))
            if flag == "ckpt_path":
                value = str(checkpoint_in(Path(value)) or value)
        found.append(starts + equals + value)
        flag = "" if not starts or equals else flag
    return found


def with_current_class_path(word: str) -> str:
    """A word of the command line, `VALUE` or `--flag=VALUE`, with `current_class_path(VALUE)`."""
    flag, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + current_class_path(value)


def classes_first(words: list[str]) -> list[str]:
    """Move `--model.cell.hidden_size 64` behind `--model.cell GRUCell`: a new class starts with its own defaults."""
    flags: list[list[str]] = []  # each with its values
    for word in words:
        if word.startswith("--") or not flags:
            flags.append([])
        flags[-1].append(word)
    ordered: list[list[str]] = []
    for flag in flags:
        below = [other for other in ordered if name_of_flag(other[0]).startswith(f"{name_of_flag(flag[0])}.")]
        ordered = [*(other for other in ordered if other not in below), flag, *below]
    return [word for flag in ordered for word in flag]


def name_of_flag(word: str) -> str:
    """`model.cell.hidden_size` for `--model.init_args.cell.init_args.hidden_size=64`."""
    return short_name(word.removeprefix("--").partition("=")[0])


def short_name(name: str) -> str:
    """A flag without `init_args` and `class_path`."""
    return name.replace(".init_args", "").removesuffix(".class_path")
