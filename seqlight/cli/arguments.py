"""A command line before it is parsed: what the defaults of the parser depend on."""

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from seqlight.cli.usage import UsageError, values_of
from seqlight.cli.yaml import load_yaml

FROM_DATA = ("input_size", "vocab_size", "target", "num_outputs", "class_weights")


class GivenArguments:
    """Arguments as the user gave them.

    Args:
        arguments: the words.
        verbs: the commands that there are.

    Attributes:
        verb: the command; None if there is none.
        checkpoint: the file that model and data come from; None if none is given, or the command finds it.
        configurations: the files of `--config`.
        asks: whether help is wanted, or the configuration, and no run.
    """

    def __init__(self, arguments: list[str], verbs: Collection[str]) -> None:
        self.words = arguments
        self.verb = next((word for word in arguments if word in verbs), None)
        self.ckpt_path = next(reversed(self.values_of("--ckpt_path")), None)
        self.checkpoint = None if self.verb == "fit" and self.ckpt_path == "last" else self.ckpt_path
        self.configurations = self.values_of("--config")
        self.asks = any("help" in word or word in ("-h", "--print_config") for word in arguments)

    def check(self) -> None:
        """Whether no flag is given that something else decides.

        Raises:
            UsageError: naming it.
        """
        for argument in FROM_DATA:
            if self.values_of(f"--model.{argument}"):
                flags = "--data.class_weights" if argument == "class_weights" else "--data or --data.task"
                raise UsageError(f"--model.{argument} follows from the data: choose it with {flags}")
        names = {"last", "previous"} & {*self.values_of("--checkpoint.filename")}
        if names or self.values_of("--checkpoint.save_last"):
            raise UsageError("last.ckpt and previous.ckpt are always written: --checkpoint.* is about the best one")

    def values_of(self, flag: str) -> list[str]:
        """The values of a flag, in their order."""
        return values_of(flag, self.words)

    def chosen_model(self) -> str | None:
        """The class of the model, if a flag or a configuration says one."""
        names = self.values_of("--model") or self._classes_in_configurations("model")
        return names[-1] if names else None

    def data_of_chosen_task(self, data: dict[str, Any]) -> dict[str, Any]:
        """Defaults for the data, without a replaced task's arguments: the new one would take over its lengths."""
        names = self.values_of("--data.task") or self._classes_in_configurations("data", "init_args", "task")
        default = data.get("init_args", {}).get("task")
        if not names or not default or names[-1].split(".")[-1] == default["class_path"].split(".")[-1]:
            return data
        return {**data, "init_args": {**data["init_args"], "task": {"class_path": names[-1]}}}

    def with_classes_of_help(self) -> list[str]:
        """All words; `--data.help` alone is about the default class, and not about its abstract base."""
        classes = {"--model.help": "SequenceClassifier", "--data.help": "SyntheticSequences"}
        words = []
        for word, following in zip(self.words, [*self.words[1:], "-"], strict=True):
            words.append(word)
            if word in classes and following.startswith("-"):
                words.append(classes[word])
        return words

    def _classes_in_configurations(self, *keys: str) -> list[str]:
        """The classes that configuration files name under these keys; the parser proper reports what is wrong."""
        found = []
        for path in self.configurations:
            with contextlib.suppress(OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
                value = load_yaml(Path(path).read_text(encoding="utf-8"))
                for key in keys:
                    value = value[key]
                found.append(value if isinstance(value, str) else value["class_path"])
        return found
