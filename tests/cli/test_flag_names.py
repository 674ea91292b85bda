"""The flags that are known without importing torch, and answers to flags that do not exist."""

import contextlib
import functools
import importlib.metadata
import inspect
import re

import pytest
import torch
from jsonargparse import Namespace

import seqlight
from seqlight.cli import flag_names
from seqlight.cli.command_folder import CommandFolder
from seqlight.cli.flag_names import wrong_word
from seqlight.cli.lightning_cli import SeqlightCLI
from seqlight.common.description import subclasses
from seqlight.training.optimizer import UNUSABLE
from tests.cli.commands import python
from tests.conftest import seqlight_run

BASES = {
    "model": seqlight.SequenceClassifier,
    "model.cell": seqlight.RecurrentCell,
    "model.optimizer": torch.optim.Optimizer,
    "data": seqlight.SequenceDataModule,
    "data.task": seqlight.SequenceTask,
}


@functools.cache
def all_parsers():
    """The parsers of all commands."""

    class Parsers(SeqlightCLI):
        def parse_arguments(self, parser, args):
            raise NotImplementedError

        def add_arguments_to_parser(self, parser):
            super().add_arguments_to_parser(parser)
            parsers.append(parser)

    parsers = []
    with contextlib.suppress(NotImplementedError):
        Parsers([], CommandFolder(0.0))
    return parsers


def takes_no_value():
    """The names of the flags that take no value."""
    actions = [action for parser in all_parsers() for action in parser._actions]
    flags = [action.option_strings[-1].removeprefix("--") for action in actions if action.nargs == 0]
    return {*flags}


def text_of_file():
    """The expected content of `flag_names.txt`."""

    names = {"help", "print_config", "seed"}
    for parser in all_parsers():
        names.update(keys(parser.get_defaults()))
    for prefix, base in BASES.items():
        for cls in subclasses(base):
            # Not another test's.
            if cls.__module__.startswith("seqlight.") or (
                getattr(torch.optim, cls.__name__, None) is cls and cls not in UNUSABLE
            ):
                names.update(f"{prefix}.{name}" for name in inspect.signature(cls).parameters)
    names -= {"model.cell.input_size", "model.optimizer.params", "model.optimizer.lr", "data.encoding"}
    names = {name.replace("init_args.", "") for name in names if "class_path" not in name.split(".")}
    names = {name for name in names if name.split(".")[-1] not in ("init_args", "kwargs", "args")}
    ordered = sorted(names, key=lambda name: (name.startswith(("trainer", "checkpoint", "resume")), name))
    return "\n".join([f"Lightning {importlib.metadata.version('lightning')}", *ordered, ""])


def keys(defaults, prefix=""):
    for name, value in vars(defaults).items():
        yield prefix + name
        if isinstance(value, Namespace):
            yield from keys(value, f"{prefix}{name}.")


def test_file_has_all_flags():
    for name in seqlight.__all__:
        getattr(seqlight, name)
    assert flag_names.FILE.read_text() == text_of_file(), "run `python -m tests.cli.test_flag_names`"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--epochs 5", "use --trainer.max_epochs"),
        ("--max_epochs=5", "did you mean --trainer.max_epochs?"),
        ("--trainer.max_epoch 5", "use --trainer.max_epochs"),
        ("--trainer.max_epohcs 5", "did you mean --trainer.max_epochs?"),
        ("--lr 0.1", "use --model.learning_rate"),
        ("--model.lr 0.1", "use --model.learning_rate"),
        ("--learning_rate 0.1", "did you mean --model.learning_rate?"),
        ("--learning-rate 0.1", "did you mean --model.learning_rate?"),
        ("--model.lerning_rate 0.1", "did you mean --model.learning_rate?"),
        ("--hidden_size 64", "did you mean --model.cell.hidden_size?"),
        ("--model.hidden_size 64", "did you mean --model.cell.hidden_size?"),
        ("--batch_size 64", "did you mean --data.batch_size?"),
        ("--bs 64", "use --data.batch_size"),
        ("--n_layers 2", "use --model.num_layers"),
        ("--optim AdamW", "use --optimizer"),
        ("--optimiser AdamW", "did you mean --model.optimizer?"),
        ("--weight_decay 0.1", "did you mean --model.optimizer.weight_decay?"),
        ("--wd 0.1", "use --optimizer.weight_decay"),
        ("--warmup 3", "use --model.warmup_steps"),
        ("--warmup_steps 3", "did you mean --model.warmup_steps?"),
        ("--model.cel GRUCell", "did you mean --model.cell"),
        ("--modle x", "did you mean --model?"),
        ("--data.taks Parity", "did you mean --data.task"),
        ("--checkpoint.moniter x", "did you mean --checkpoint.monitor?"),
        ("--xyzzy 3", "--xyzzy: there is no such argument$"),
        ("config.yaml", "--config config.yaml$"),
        ("a.csv", "--data SequenceFiles --data.train a.csv$"),
        ("best.ckpt", "--ckpt_path best.ckpt$"),
        ("GRUCell", "expected a flag"),
    ],
)
def test_wrong_word_is_answered_with_the_right_flag(words, answer):
    message = wrong_word(["fit", *words.split()])
    assert re.search(answer.replace("?", r"\?"), message), message
    status, out, err = seqlight_run("fit", *words.split())
    assert (status, out, err) == (2, "", f"seqlight: error: {message}\n")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("train", "fit"),
        ("Evaluate", "test"),
        ("fitt", "fit"),
        ("predic", "predict"),
        ("cell", "cells"),
        ("trian", "fit"),
    ],
)
def test_wrong_command_is_answered_with_the_right_one(command, answer):
    assert f"did you mean {answer}?\nThe commands are fit, validate" in wrong_word([command])


@pytest.mark.parametrize(
    "words",
    [
        "fit",
        "fit -h",
        "--help fit",
        "fit --print_config",
        "fit --print_config=skip_default",
        "fit --trainer.help",
        "fit --model.cell.help LSTMCell",
        "fit --model.init_args.cell.class_path=GRUCell --model.init_args.cell.init_args.hidden_size 3",
        "fit --optimizer AdamW --optimizer.weight_decay 0.01 --model.optimizer.eps=1e-3",
        "fit --data.class_path seqlight.SequenceFiles --data.init_args.train a.csv",
        "fit --trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val/loss",
        "fit --trainer.logger.save_dir x",
        "fit --model.cell mycells.Own --model.cell.leak 3",
        "fit --model models.Mine --model.width 3",
        "fit --model=models.Mine --model.width 3",
        "fit --config run.yaml --model.width 3 --data.folder x",
        "fit --import mymodule --data.folder x",
        "test --ckpt_path a.ckpt --data.folder x",
        "check mycells.Own --cell.leak 3",
        "cells --import mycells",
    ],
)
def test_word_that_a_command_may_accept_is_left_to_it(words):
    assert wrong_word(words.split()) == ""


def test_every_flag_is_left_to_the_parser():
    for name in flag_names.flag_names():
        words = [f"--{name}"] if name in {*takes_no_value(), "print_config"} else [f"--{name}", "1.yaml"]
        if name in ("data.train", "data.val", "data.test", "data.predict"):
            words += ["--data=SequenceFiles"]
        for command in ("fit", "validate", "test", "predict"):
            assert wrong_word([command, *words]) == ""


def test_flags_without_a_value_are_known():
    assert takes_no_value() <= {*flag_names._WITHOUT_VALUE}


def test_another_version_of_lightning_can_have_other_flags(monkeypatch):
    assert wrong_word(["fit", "--trainer.new_argument=1"])
    monkeypatch.setattr(flag_names, "_lightning_version", lambda: "2.7")
    assert wrong_word(["fit", "--trainer.new_argument=1"]) == ""
    assert wrong_word(["fit", "--epochs=1"])


@pytest.mark.parametrize("arguments", [["fit", "--epochs=1"], ["train"], ["help"]], ids=" ".join)
def test_answer_needs_no_torch(arguments):
    program = f"import sys; sys.argv = ['seqlight', *{arguments}]\nfrom seqlight.__main__ import main\nstatus = main()"
    result = python("-c", f"{program}\nprint(status, 'torch' in sys.modules)")
    assert result.stdout.splitlines()[-1] == f"{0 if arguments == ['help'] else 2} False"


if __name__ == "__main__":
    for name in seqlight.__all__:
        getattr(seqlight, name)
    flag_names.FILE.write_text(text_of_file())
