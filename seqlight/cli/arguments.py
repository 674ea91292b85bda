"""The command line before parsing; the parser's defaults depend on it."""

import contextlib
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from seqlight.cli.flag_errors import UsageError, values_of
from seqlight.cli.yaml import current_class_path, load_yaml

# Arguments of the model that the data determine.
FROM_DATA = ("input_size", "vocab_size", "target", "num_outputs", "class_weights")


class GivenArguments:
    """The arguments as the user gave them.

    Args:
        arguments: all words of the command line.
        verbs: the names of all commands.

    Attributes:
        words: all words of the command line.
        verb: the command; None if none is given.
        ckpt_path: the value of `--ckpt_path`; None if not given.
        checkpoint: the checkpoint file that model and data come from; None if not given. It is also None for
            `fit --ckpt_path last`: `find_run` looks for that file later.
        configurations: the values of `--config`.
        only_prints: whether the command only prints help or the configuration.
    """

    def __init__(self, arguments: list[str], verbs: Collection[str]) -> None:
        self.words = [_with_current_class_path(word) for word in arguments]
        self.verb = next((word for word in arguments if word in verbs), None)
        self.ckpt_path = next(reversed(self.values_of("--ckpt_path")), None)
        self.checkpoint = None if self.verb == "fit" and self.ckpt_path == "last" else self.ckpt_path
        self.configurations = self.values_of("--config")
        self.only_prints = any("help" in word or word in ("-h", "--print_config") for word in arguments)

    def check(self) -> None:
        """Raise UsageError if a flag sets a value that the data or seqlight itself determine."""
        for argument in FROM_DATA:
            if self.values_of(f"--model.{argument}"):
                flags = "--data.class_weights" if argument == "class_weights" else "--data or --data.task"
                raise UsageError(f"--model.{argument} follows from the data: choose it with {flags}")
        names = {"last", "previous"} & {*self.values_of("--checkpoint.filename")}
        if names or self.values_of("--checkpoint.save_last"):
            raise UsageError(
                "last.ckpt and previous.ckpt are always saved; --checkpoint.* is for the best checkpoint only"
            )

    def values_of(self, flag: str) -> list[str]:
        """All values of a flag, in order."""
        return values_of(flag, self.words)

    def chosen_model(self) -> str | None:
        """The model class that a flag or configuration file names; None if none does."""
        names = self.values_of("--model") or self._classes_in_configurations("model")
        return names[-1] if names else None

    def data_of_chosen_task(self, data: dict[str, Any]) -> dict[str, Any]:
        """Default data with the task that a flag or configuration file chooses.

        If that is another task, the default task's arguments are dropped: the chosen task would inherit its lengths.
        """
        names = self.values_of("--data.task") or self._classes_in_configurations("data", "init_args", "task")
        default = data.get("init_args", {}).get("task")
        if not names or not default or names[-1].split(".")[-1] == default["class_path"].split(".")[-1]:
            return data
        return {**data, "init_args": {**data["init_args"], "task": {"class_path": names[-1]}}}

    def with_classes_of_help(self) -> list[str]:
        """All words. `--data.help` and `--model.help` without a class get the default class, not its abstract base."""
        classes = {"--model.help": "SequenceClassifier", "--data.help": "SyntheticSequences"}
        words = []
        for word, following in zip(self.words, [*self.words[1:], "-"], strict=True):
            words.append(word)
            if word in classes and following.startswith("-"):
                words.append(classes[word])
        return words

    def _classes_in_configurations(self, *keys: str) -> list[str]:
        """The classes that configuration files name under these keys. Errors are left for the parser to report."""
        found = []
        for path in self.configurations:
            with contextlib.suppress(OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
                value = load_yaml(Path(path).read_text(encoding="utf-8"))
                for key in keys:
                    value = value[key]
                found.append(value if isinstance(value, str) else value["class_path"])
        return found


def check_output(output: str, sources: Iterable[str | None]) -> None:
    """Raise UsageError if predictions would overwrite a data file.

    Args:
        output: the file to write.
        sources: the data files; None for one that is not given.
    """
    given = [path for path in sources if path and os.path.exists(path)]
    if os.path.exists(output) and any(os.path.samefile(path, output) for path in given):
        raise UsageError(f"--output: expected a path that is not a data file, got {output!r}")


def _with_current_class_path(word: str) -> str:
    """A word of the command line, `VALUE` or `--flag=VALUE`, with `current_class_path(VALUE)`."""
    flag, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + current_class_path(value)


def name_flag(message: str, arguments: dict[str, Any]) -> str:
    """A message about an argument with the argument's flag, if exactly one flag has that name.

    Args:
        message: as `num_layers must be at least 1, got 0`.
        arguments: the parsed arguments, nested.
    """
    found = re.match(r"(\w+)(?=:| must be | can't change )", message)  # how seqlight's checks begin; a user's may not
    name = found[1] if found else ""
    flags = [flag for flag in _flags(arguments) if flag.rpartition(".")[2] == name]
    # A message of a user's class can begin with these words too.
    without_flag = {"data", "model", "name", "device", *(f"model.{argument}" for argument in FROM_DATA)}
    flags = [flag for flag in flags if flag not in without_flag]
    return f"--{flags[0]}{message[len(name) :]}" if len(flags) == 1 else message


def _flags(arguments: dict[str, Any], prefix: str = "") -> list[str]:
    """The flags of nested arguments: `model.cell.hidden_size` for `{"model": {"init_args": {"cell": ...`."""
    flags = []
    for name, value in arguments.items():
        flag = prefix if name == "init_args" else f"{prefix}.{name}".removeprefix(".")
        flags += [flag] if flag != prefix else []
        if isinstance(value, dict) and name != "encoding":  # it comes from the checkpoint, not from flags
            flags += _flags(value, flag)
    return flags
