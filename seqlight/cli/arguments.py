"""The command line before parsing; the parser's defaults depend on it."""

import contextlib
import os
import re
import shlex
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from seqlight.checkpoints.resume import LAST
from seqlight.checkpoints.run_search import few_validation, newest_run
from seqlight.cli.flag_errors import UsageError, check_class, values_of
from seqlight.cli.flag_names import CLASSES, FROM_DATA, full_flag
from seqlight.cli.rewritten_words import classes_first, name_of_flag, rewritten, short_name, with_current_class_path
from seqlight.cli.yaml import load_yaml
from seqlight.common.description import differences, flatten


class GivenArguments:
    """The arguments as the user gave them.

    Args:
        arguments: all words of the command line.
        verbs: the names of all commands.

    Attributes:
        words: all words of the command line; the class of an argument is before the arguments of that class.
        verb: the command; None if none is given.
        ckpt_path: the value of `--ckpt_path`; None if not given.
        checkpoint: the checkpoint file that model and data come from; None if not given. It is also None for
            `fit --ckpt_path last`: `find_run` looks for that file later.
        note: how `--ckpt_path` was understood; empty if it names a file.
        configurations: the values of `--config`.
        only_prints: whether the command only prints help or the configuration.
    """

    def __init__(self, arguments: list[str], verbs: Collection[str]) -> None:
        self.words = classes_first(rewritten([with_current_class_path(word) for word in arguments]))
        self.verb = next((word for word in arguments if word in verbs), None)
        self.ckpt_path = next(reversed(self.values_of("--ckpt_path")), None)
        given = next(reversed(values_of("--ckpt_path", arguments)), None)
        self.note = "" if given == self.ckpt_path else f"--ckpt_path {given}: {_with_reason(str(self.ckpt_path))}"
        self.checkpoint = None if self.verb == "fit" and self.ckpt_path == "last" else self.ckpt_path
        self.configurations = self.values_of("--config")
        self.only_prints = any("help" in word or word in ("-h", "--print_config") for word in arguments)

    def check(self) -> None:
        """Raise UsageError if a flag names no class, or sets a value that the data or seqlight itself determine."""
        for flag in CLASSES:
            for name in self.values_of(f"--{flag}"):
                check_class(flag, name)
        for argument in FROM_DATA:
            if self.values_of(f"--model.{argument}"):
                flags = "--data.class_weights" if argument == "class_weights" else "--data or --data.task"
                raise UsageError(f"--model.{argument} follows from the data: choose it with {flags}")
        names = {"last", "previous"} & {*self.values_of("--checkpoint.filename")}
        if names or self.values_of("--checkpoint.save_last"):
            raise UsageError(
                "last.ckpt and previous.ckpt are always saved; --checkpoint.* is for the best checkpoint only"
            )
        # A configuration file can contain ckpt_path, so `check_parsed` checks this again. Parsing would first refuse
        # flags about the checkpoint's data.
        if not (self.verb is None or self.only_prints or self.configurations):
            self._check_checkpoint(self.verb)

    def check_parsed(self, config: Any) -> None:
        """Raise UsageError if a configuration file has an argument that only the command line may give.

        Args:
            config: the parsed arguments of the command.
        """
        if config["import"] and not self.values_of("--import"):
            raise UsageError("import is not allowed in a configuration file: give --import on the command line")
        if config.ckpt_path != self.ckpt_path:
            raise UsageError("ckpt_path is not allowed in a configuration file: give --ckpt_path on the command line")
        self._check_checkpoint(str(self.verb))

    def _check_checkpoint(self, verb: str) -> None:
        if verb != "fit" and self.checkpoint is None:
            newest = newest_run(Path("runs"))
            known = f"{shlex.quote(str(newest))}, the newest run" if newest else "runs/NAME, a run of `seqlight fit`"
            raise UsageError(f"seqlight {verb} needs a trained model: --ckpt_path {known}")

    @property
    def names(self) -> list[str]:
        """The names of the flags, without dashes."""
        return [name_of_flag(word) for word in self.words if word.startswith("--")]

    def values_of(self, flag: str) -> list[str]:
        """All values of a flag, in order."""
        return values_of(flag, self.words)

    def with_classes_of_help(self) -> list[str]:
        """All words. `--data.help` and `--model.help` without a class get the default class, not its abstract base."""
        classes = {"--model.help": "SequenceClassifier", "--data.help": "SyntheticSequences"}
        words = []
        for word, following in zip(self.words, [*self.words[1:], "-"], strict=True):
            words.append(word)
            if word in classes and following.startswith("-"):
                words.append(classes[word])
        return words

    def lost_with_classes(self, arguments: dict[str, Any]) -> list[str]:
        """Values of configuration files that were lost because a flag names another class, which has its own defaults.

        Args:
            arguments: the parsed arguments, nested.
        """
        given, lost = {*self.names}, set()
        for part in ("model", "data"):
            now = flatten(part, arguments[part])
            for configuration in self._contents_of_configurations():
                before = {short_name(key): value for key, value in flatten(part, configuration.get(part)).items()}
                for flag in given & now.keys():
                    if str(before.get(flag)).rpartition(".")[2] != now[flag]:
                        names = {name for name in before.keys() & now.keys() - given if name.startswith(f"{flag}.")}
                        lost.update(differences({name: before[name] for name in names}, now))
        return sorted(lost)

    def names_trainer_argument(self, name: str) -> bool:
        """Whether a flag or a configuration file gives an argument of the Trainer, even if it is the default."""
        return bool(self.values_of(f"--trainer.{name}")) or name in self._trainer_arguments_in_configurations()

    def names_model_argument(self, name: str) -> bool:
        """Whether a flag or a configuration file gives an argument of the model, even if it is the default."""
        models = [configuration.get("model") for configuration in self._contents_of_configurations()]
        parts = [part for model in models if isinstance(model, dict) for part in (model, model.get("init_args"))]
        return f"model.{name}" in map(short_name, self.names) or any(
            isinstance(part, dict) and name in part for part in parts
        )

    @property
    def data_class(self) -> str | None:
        """The class path or name of the data module that flags or configuration files give; None if none does."""
        found = None
        for configuration in self._contents_of_configurations():
            data = configuration.get("data")
            found = (data.get("class_path", found) if isinstance(data, dict) else data) or found
        for flag in ("--data", "--data.class_path"):
            found = next(reversed(self.values_of(flag)), found)
        return None if found is None else str(found)

    def data_argument(self, name: str) -> str | None:
        """The value of an argument of the data module that flags or configuration files give; None if none does."""
        found = None
        for configuration in self._contents_of_configurations():
            given = {short_name(key): value for key, value in flatten("data", configuration.get("data")).items()}
            found = given.get(f"data.{name}", found)
        found = next(reversed(self.values_of(f"--data.{name}")), found)
        return None if found is None else str(found)

    def max_epochs(self, default: int | None) -> int | None:
        """The number of epochs if none is given: no limit if the steps or the time have one, at least `min_epochs`.

        Args:
            default: the default without such limits; None if it is chosen later, by the data.
        """
        named = {"max_steps": -1, "max_time": None, "min_epochs": None, **self._trainer_arguments_in_configurations()}
        named |= {name: value for name in named for value in self.values_of(f"--trainer.{name}")}
        given = {name for name, value in named.items() if str(value) not in ("-1", "None", "null")}
        if given & {"max_steps", "max_time"} or any(word.startswith("--trainer.max_time.") for word in self.words):
            return -1
        least = str(named["min_epochs"])
        return max(default, int(least)) if default is not None and least.isdecimal() else default

    def _trainer_arguments_in_configurations(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for configuration in self._contents_of_configurations():
            found |= trainer if isinstance(trainer := configuration.get("trainer"), dict) else {}
        return found

    def name_file(self, message: str) -> str:
        """A message about a flag; if a configuration file has given it, about the key in that file."""
        found = re.match(r"--([\w.-]+)", message)
        name = found[1] if found else ""
        if not name or name in self.names:
            return message
        keys = {path: _flags(contents) for path, contents in self._configurations().items()}
        paths = [path for path in keys if name in map(short_name, keys[path])]
        # Or below a key that has a list, as `trainer.callbacks`.
        paths = paths or [path for path in keys if any(name.startswith(f"{key}.") for key in keys[path])]
        if not paths:
            return message
        rest = re.sub(r"--([a-z_][\w.]*)", lambda flag: full_flag(flag[1]), message[len(name) + 2 :])
        return f"{' or '.join(paths)}: {name}{rest.replace('no such argument', 'no such key')}"

    def _contents_of_configurations(self) -> list[dict[str, Any]]:
        return [*self._configurations().values()]

    def _configurations(self) -> dict[str, dict[str, Any]]:
        """The configurations that can be read, by their paths. The parser reports errors in the others."""
        found = {}
        for path in self.configurations:
            with contextlib.suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
                found[path] = load_yaml(Path(path).read_text(encoding="utf-8") if os.path.isfile(path) else path)
        return {path: contents for path, contents in found.items() if isinstance(contents, dict)}


def _with_reason(path: str) -> str:
    """The path of a checkpoint that a run's folder stands for, with the reason if it is the last one."""
    few = few_validation(Path(path)) if path.endswith(LAST) else None
    return path if few is None else f"{path}, chosen over best.ckpt: validation has only {few} sequences"


def check_output(output: str, sources: Iterable[str | None]) -> None:
    """Raise UsageError if predictions would overwrite a data file.

    Args:
        output: the file to write.
        sources: the data files and folders; None for one that is not given.
    """
    given = [path for path in sources if path and os.path.exists(path)]
    if os.path.exists(output) and any(os.path.samefile(path, output) for path in given):
        raise UsageError(f"--output: expected a path that is not a data file, got {output!r}")
    if any(os.path.isdir(path) and Path(output).resolve().is_relative_to(Path(path).resolve()) for path in given):
        raise UsageError(f"--output: expected a path outside of the folders of data, got {output!r}")


def check_name(name: str | None) -> None:
    """Raise UsageError if the run `name` would lie outside the folder of all runs."""
    if name and (os.path.isabs(name) or ".." in Path(name).parts):
        raise UsageError(f"--name: expected the name of a folder in runs/, got {name!r}")


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
