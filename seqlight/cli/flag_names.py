"""The names of all flags, known before torch is imported, and what a wrong word may have meant.

`flag_names.txt` has the names. `python -m tests.cli.test_flag_names` writes it anew after a change of the flags.
"""

import difflib
import functools
import importlib.metadata
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

FILE = Path(__file__).with_name("flag_names.txt")
COMMANDS = ("fit", "validate", "test", "predict", "data", "check", "cells", "tasks")
# Arguments of the model that the data determine.
FROM_DATA = (
    "input_size",
    "vocab_size",
    "target",
    "num_outputs",
    "label_per",
    "class_weights",
    "target_mean",
    "target_scale",
)
# The flags that name a class, and its base class in seqlight or torch.optim.
CLASSES = {
    "model": "SequenceClassifier",
    "model.cell": "RecurrentCell",
    "model.optimizer": "Optimizer",
    "data": "SequenceDataModule",
    "data.task": "SequenceTask",
}
# What other programs call an argument, and its flag here, with a value if the other has none.
_ELSEWHERE = {
    "batch": "data.batch_size",
    "bs": "data.batch_size",
    "checkpoint_path": "ckpt_path",
    "ckpt": "ckpt_path",
    "clip": "trainer.gradient_clip_val",
    "clip_grad_norm": "trainer.gradient_clip_val",
    "cuda": "device gpu",
    "dataset": "data",
    "epoch": "trainer.max_epochs",
    "epochs": "trainer.max_epochs",
    "gpu": "device gpu",
    "gpus": "device gpu",
    "grad_clip": "trainer.gradient_clip_val",
    "hidden": "model.cell.hidden_size",
    "hidden_dim": "model.cell.hidden_size",
    "hidden_units": "model.cell.hidden_size",
    "layers": "model.num_layers",
    "lr": "model.learning_rate",
    "lr_scheduler": "model.lr_schedule",
    "max_epoch": "trainer.max_epochs",
    "max_grad_norm": "trainer.gradient_clip_val",
    "max_norm": "trainer.gradient_clip_val",
    "n_epochs": "trainer.max_epochs",
    "n_layers": "model.num_layers",
    "nb_epochs": "trainer.max_epochs",
    "nhid": "model.cell.hidden_size",
    "nlayers": "model.num_layers",
    "num_warmup_steps": "model.warmup_steps",
    "optim": "optimizer",
    "num_epochs": "trainer.max_epochs",
    "num_hidden": "model.cell.hidden_size",
    "random_seed": "seed",
    "random_state": "seed",
    "rnn_type": "model.cell",
    "scheduler": "model.lr_schedule",
    "steps": "trainer.max_steps",
    "train_file": "data.train",
    "units": "model.cell.hidden_size",
    "warmup": "model.warmup_steps",
    "wd": "optimizer.weight_decay",
}
# Flags that take no value, besides those that print help on a class.
_WITHOUT_VALUE = ("fresh", "help", "print_config", "quiet")
_SHORT = {"-c": "config", "-h": "help"}
_EXAMPLES = {
    "ckpt_path": "runs/.../checkpoints/best.ckpt",
    "config": "run.yaml",
    "data": "SequenceFiles",
    "data.task": "Parity",
    "model.cell": "GRUCell",
    "model.optimizer": "AdamW",
}
# Groups of flags, which a file can set, and one flag of each.
GROUPS = {
    "checkpoint": "checkpoint.filename",
    "figures": "figures.every_n_epochs",
    "resume": "resume.every_n_seconds",
    "trainer": "trainer.max_epochs",
}
_DATA_SUFFIXES = (".csv", ".tsv", ".gz", ".parquet", ".jsonl", ".npz", ".ts", ".arff")
_CONFIGURATION_SUFFIXES = (".yaml", ".yml", ".json")
_SPLITS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}
_COMMANDS_ELSEWHERE = {"train": "fit", "eval": "test", "evaluate": "test", "val": "validate", "infer": "predict"}


@functools.cache
def flag_names() -> dict[str, None]:
    """The names without dashes, such as `model.cell.hidden_size`, in the order in which they are proposed."""
    return dict.fromkeys(_lines()[1:])


@functools.cache
def _lines() -> list[str]:
    return FILE.read_text(encoding="utf-8").splitlines()


def full_flag(name: str) -> str:
    """The name for which a short one stands: `model.optimizer.weight_decay` for `optimizer.weight_decay`."""
    if name.partition(".")[0] == "optimizer":
        return f"model.{name}"
    return "seed_everything" if name == "seed" else name


def unknown_flag(name: str, flag: str = "") -> str:
    """The message about a flag that does not exist, with the flags that may be meant.

    Args:
        name: its name without dashes, as `model.lr`.
        flag: the flag as it was given; `--` and the name if empty.
    """
    leaf = name.rpartition(".")[2].lower().replace("-", "_")
    message = f"{flag or f'--{name}'}: there is no such argument"
    if full_flag(name) != name:  # in a configuration file, which has no short names
        return f"{message}; use --{full_flag(name)}"
    if leaf in _ELSEWHERE and _ELSEWHERE[leaf] != name:
        return f"{message}; use --{_ELSEWHERE[leaf]}"
    leaves: dict[str, list[str]] = {}
    for each in flag_names():
        if each not in {name, *(f"model.{argument}" for argument in FROM_DATA)}:
            leaves.setdefault(each.rpartition(".")[2], []).append(each)
    near = (
        leaves.get(leaf)
        or difflib.get_close_matches(name, flag_names(), n=1, cutoff=0.8)
        or [each for other in difflib.get_close_matches(leaf, leaves, cutoff=0.75) for each in leaves[other]]
    )
    flags = [f"--{each}" for each in near[:3]]
    return f"{message}; did you mean {_either(flags)}?" if flags else message


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def wrong_word(arguments: Sequence[str]) -> str:
    """The message about the first word that no command accepts, whatever the values are; empty if none is found.

    The parser refuses the same words, but takes seconds to start. Where a class of the user's can have an argument of
    that name, or another version of Lightning, the parser decides.
    """
    command, words = "".join(arguments[:1]), arguments[1:]
    if not command or command in ("-h", "--help", "--version"):
        return ""
    if command.startswith("-") and not {*COMMANDS} & {*words}:
        hint = wrong_word(["fit", *arguments])
        return "a command comes first, as in `seqlight fit ...`" + (f"; {hint}" if hint else "")
    if command.startswith("-"):
        return ""
    if command not in COMMANDS:
        [said] = difflib.get_close_matches(command.lower(), [*COMMANDS, *_COMMANDS_ELSEWHERE], n=1) or [""]
        near = _COMMANDS_ELSEWHERE.get(said, said)
        hint = f"; did you mean {near}?" if near else ""
        return f"there is no command {command!r}{hint}\nThe commands are {', '.join(COMMANDS)}"
    if command == "data":
        from seqlight.cli.data_words import data_flags

        return "" if {"-h", "--help"} & {*words} else data_flags(words)[1]
    if command not in ("fit", "validate", "test", "predict"):
        return ""
    chosen = {_name(word) for word in words if is_flag(word)}
    for flag, value in _with_values(words):
        name = _name(flag)
        if not flag:
            return _misplaced(command, value or "")
        if not flag.startswith("--") and flag not in _SHORT:
            return unknown_flag(name, flag)
        if name not in flag_names() and not _may_exist(name, chosen):
            return unknown_flag(name)
        if message := _wrong_value(command, flag, name, value):
            return message
        is_file = name in {f"data.{split}" for split in _SPLITS.values()}
        if is_file and command == "fit" and chosen.isdisjoint({"data", "config", "ckpt_path"}):
            value = shlex.quote(value or "a.csv")
            return f"{flag} {value}: files need another data module: --data SequenceFiles {flag} {value}"
    return ""


def _with_values(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Each flag with its value, None if it has none; and each word that belongs to no flag, as a value of ""."""
    words = [*words]
    while words:
        word = words.pop(0)
        if not is_flag(word):
            yield "", word
            continue
        flag, equals, value = word.partition("=")
        if not equals and words and not is_flag(words[0]) and flag != "--print_config":
            yield flag, words.pop(0)
        else:
            yield flag, value if equals else None


def is_flag(word: str) -> bool:
    """Whether argparse takes a word for a flag, and not for a value."""
    is_value = word == "-" or " " in word.partition("=")[0] or re.fullmatch(r"-(\d+|\d*\.\d+)", word)
    return word.startswith("-") and not is_value


def _wrong_value(command: str, flag: str, name: str, value: str | None) -> str:
    """The message about a value that a flag lacks, or a file in place of a class; empty if there is none."""
    if flag.endswith(".help") or name == "print_config":
        return ""
    if name in _WITHOUT_VALUE:
        return "" if value is None else f"{flag} takes no value, got {value}"
    if value is None or (name in CLASSES and not value):
        return f"{flag}: expected a value" + (f", as {flag} {_EXAMPLES[name]}" if name in _EXAMPLES else "")
    suffix = Path(value).suffix.lower()
    if name in GROUPS and re.fullmatch(r"[\w.+-]*", value) and suffix not in _CONFIGURATION_SUFFIXES:
        return f"{flag}: expected a YAML file; its arguments are flags such as --{GROUPS[name]}"
    if name not in CLASSES:
        return ""
    if suffix == ".py":
        return f"{flag} {value}: expected a class, as {flag} {Path(value).stem}.MyClass"
    if suffix in _DATA_SUFFIXES or (name == "data" and suffix not in _CONFIGURATION_SUFFIXES and os.path.exists(value)):
        return _misplaced(command, value)
    return ""


def _misplaced(command: str, word: str) -> str:
    """The message about a word that is no flag and no flag's value."""
    suffix, quoted = Path(word).suffix.lower(), shlex.quote(word)
    if suffix in _CONFIGURATION_SUFFIXES:
        return f"{word}: a configuration is given by a flag: --config {quoted}"
    if suffix == ".ckpt":
        return f"{word}: a checkpoint is given by a flag: --ckpt_path {quoted}"
    if any(next(Path(word).glob(f"{runs}checkpoints/*.ckpt"), None) for runs in ("", "*/", "*/*/")):
        return f"{word}: the folder of a run is given by a flag: --ckpt_path {quoted}"
    flags = f"--data SequenceFiles --data.{_SPLITS[command]}"
    if os.path.isdir(word):
        return f"{word}: a folder with a file for each sequence is given by flags: {flags} {quoted}"
    if suffix in _DATA_SUFFIXES or os.path.isfile(word):
        return f"{word}: a data file is given by flags: {flags} {quoted}"
    return f"{word}: expected a flag, as --model.cell GRUCell"


def _may_exist(name: str, chosen: set[str]) -> bool:
    group, _, rest = name.partition(".")
    if not rest:
        return False  # a flag without a dot is the parser's own
    if group == "trainer":
        return "." in rest or _lines()[0] != f"Lightning {_lightning_version()}"
    # A class that the user names has arguments of its own, and so can those that it contains.
    return group in CLASSES and ("." in rest or not chosen.isdisjoint({group, "config", "import", "ckpt_path"}))


def _lightning_version() -> str:
    return importlib.metadata.version("lightning")


def _name(word: str) -> str:
    """The flag's name in a word, `model.cell` for `--model.init_args.cell.class_path=GRUCell`."""
    name = _SHORT.get(word) or word.lstrip("-").partition("=")[0].removesuffix("+").replace(".init_args", "")
    return full_flag(name.removesuffix(".class_path").removesuffix(".help"))
