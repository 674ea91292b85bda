"""The words of `seqlight data` as flags, known before torch is imported."""

import difflib
from collections.abc import Collection, Sequence

from seqlight.cli.flag_names import flag_names, is_flag

FIGURE = "figure"  # the only flag that is not one of the data module


def data_flags(words: Sequence[str], known: Collection[str] = ()) -> tuple[list[str], str]:
    """The words with `--data.NAME` for `--NAME` and `--data.train` for the file, and a message about a wrong one.

    The message is empty if the parser decides.

    Args:
        words: the command line behind `data`.
        known: the arguments of the data module; by default those of all data modules.
    """
    known = known or [each[5:] for each in flag_names() if each.startswith("data.") and each.count(".") == 1]
    flags: list[str] = []
    files: list[str] = []
    rest = [*words]
    while rest:
        word = rest.pop(0)
        if word == "--":
            files += rest
            break
        if not is_flag(word):
            files.append(word)
            continue
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").removeprefix("data.").removeprefix("init_args.").replace("-", "_")
        if not flag.startswith("--") or name not in (FIGURE, *known):
            return [], _unknown(flag, name, known)
        if not equals:
            if not rest or is_flag(rest[0]):
                return [], f"{flag}: expected a value"
            value = rest.pop(0)
        flags.append(f"--{name}={value}" if name == FIGURE else f"--data.{name}={value}")
    files += [flag.partition("=")[2] for flag in flags if flag.startswith("--data.train=")]
    if len(files) > 1:
        return [], f"data takes one file, got {' '.join(files)}; those of other splits are --val, --test and --predict"
    if not files:
        return [], "data needs a file, as in `seqlight data a.csv`"
    if "-" in files:
        return [], "data reads a file, not standard input: expected its path, got -"
    return [f"--data.train={files[0]}", *flags], ""


def _unknown(flag: str, name: str, known: Collection[str]) -> str:
    leaf = name.rpartition(".")[2].lower()
    near = [each for each in known if leaf in (each.partition("_")[0], each.rpartition("_")[2])]
    near = near or difflib.get_close_matches(leaf, [*known, FIGURE], n=1)
    return f"{flag}: there is no such argument of data{f'; did you mean --{near[0]}?' if near else ''}"
