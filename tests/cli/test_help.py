"""The help of each command: seqlight's own flags, each with its default and a text, in 80 columns."""

import inspect
import re

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

import seqlight
from seqlight.cli import help_page
from seqlight.cli.class_help import DEFAULTS, class_help, flag_texts
from seqlight.cli.flag_names import FROM_DATA, flag_names
from seqlight.cli.help_page import FlagText
from seqlight.common.description import subclasses
from seqlight.training.optimizer import UNUSABLE
from tests.cli.commands import python, run
from tests.cli.test_flag_names import BASES, all_parsers
from tests.conftest import seqlight_run

COMMANDS = ("fit", "validate", "test", "predict")
# Of the methods of Lightning's Trainer; none of them is seqlight's.
LIGHTNINGS = ("return_predictions", "verbose", "weights_only", "trainer", "seed_everything", "help")
# Texts for flags that Lightning and jsonargparse make.
TEXTS = {
    "config": ("FILE", "", "YAML with options, as --print_config writes it; -c for short"),
    "ckpt_path": ("PATH", "", "a checkpoint or the folder of a run; fit continues its training"),
    "device": ("DEVICE", "auto", "auto, cpu, gpu, cuda, cuda:1 or mps"),
    "seed": ("INT", "0", "seed of the initial weights and of dropout"),
    "data": ("CLASS", "SyntheticSequences", "SyntheticSequences, or SequenceFiles for files"),
    "model": ("CLASS", "SequenceClassifier", "the model, or a subclass of your own"),
    "print_config": ("", "", "print the configuration as YAML, and stop"),
}


def text_of_file():
    """The expected content of `flag_texts.txt`."""
    ours = {}
    for parser in all_parsers():
        for action in parser._actions:
            name = action.option_strings[-1].removeprefix("--") if action.option_strings else action.dest
            if (
                "." not in name
                and name in flag_names()
                and name not in (*LIGHTNINGS, "checkpoint", "resume", "figures")
            ):
                kind = "" if action.nargs == 0 else action.metavar or name.upper()
                default = "" if action.nargs == 0 or action.default is None else str(action.default)
                ours.setdefault(name, FlagText(name, kind, default, action.help))
    for name, text in TEXTS.items():
        ours[name] = FlagText(name, *text)
    first = ["config", "ckpt_path", "name", "device", "seed"]
    groups = {
        "Model": [ours.pop("model"), *model_flags()],
        "Training": training_flags(),
        "Data": [ours.pop("data"), *data_flags()],
        "Files, with --data SequenceFiles": file_flags(),
        "Run": [ours[name] for name in [*first, *sorted(ours.keys() - {*first})]] + run_flags(),
    }
    lines = []
    for heading, flags in groups.items():
        lines += [heading, *("\t".join(in_short(flag)) for flag in flags)]
    return "\n".join([*lines, ""])


def of(prefix, *names, cls=None):
    flags = flag_texts(cls or DEFAULTS[prefix], prefix)
    return [flag for flag in flags if not names or flag.name.rpartition(".")[2] in names]


TRAINING = ("optimizer", "learning_rate", "lr_schedule", "warmup_steps", "non_finite")
RARE = ("backend", "recover", "threshold", "temperature_scaling", "regression_loss")  # only in --model.help


def model_flags():
    cell, *rest = of("model")
    return [cell, *of("model.cell"), *(flag for flag in rest if flag.name.rpartition(".")[2] not in TRAINING + RARE)]


def training_flags():
    return [
        *of("trainer", "max_epochs"),
        *of("model", *TRAINING),
        *of("trainer", "gradient_clip_val"),
    ]


def data_flags():
    task, *rest = of("data")
    return [task, *of("data.task"), *rest]


def file_flags():
    return of("data", "train", "val", "test", "predict", "label_column", cls=seqlight.SequenceFiles)


def run_flags():
    return of("figures") + of("resume")


def in_short(flag):
    """The text up to the first full stop, colon or semicolon, and the choices, if it does not name them."""
    text = re.split(r"(?<=[^.])\.(?: |$)|[;:] (?![^(]*\))", flag.text)[0].removeprefix("the ")
    choices = flag.kind.split("|")
    named = (
        not choices[1:] or choices == ["true", "false"] or {*choices} & {*re.findall(r"\w+", text)} or not flag.default
    )
    return flag._replace(text=text if named else f"{text} ({', '.join(choices)})")


def test_file_has_the_texts():
    assert help_page.FILE.read_text() == text_of_file(), "run `python -m tests.cli.test_help`"


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_page_is_short_and_narrow(command, flag):
    lines = run(command, "--device=cpu", flag).splitlines()
    assert len(lines) < 90
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"usage: seqlight {command} ")
    for name in ("trainer", "checkpoint", "resume", "figures"):
        assert f"--{name}.help" in "\n".join(lines)


def flags_of(text):
    return dict(re.findall(r"^  --([\w.]+) ?(\S*)", text, re.MULTILINE))


def test_page_of_fit_shows_the_defaults():
    given = yaml.safe_load(run("fit", "--print_config"))
    shown = {flag.name: flag for flags in help_page.texts().values() for flag in flags}
    compared = 0
    for name, flag in shown.items():
        value = given
        for part in {"seed": "seed_everything"}.get(name, name).split("."):
            value = value.get("init_args", value).get(part, ...) if isinstance(value, dict) else ...
        if isinstance(value, dict):
            value = value["class_path"].rpartition(".")[2]
        if value is not ...:
            expected = "" if value is None or not flag.kind else value
            assert yaml.safe_load(flag.default or "''") == expected, name
            compared += 1
    assert compared > 40
    page = flags_of(run("fit", "--help"))
    assert {name for name in page if not name.endswith(".help")} == {*shown} - {"output"}


USED = {
    "validate": {"data.val", "data.num_val", "device", "name"},
    "test": {"data.test", "data.num_test", "data.test_lengths", "device", "name"},
    "predict": {"data.predict", "output", "device"},
}
UNUSED = {
    "validate": {
        "model.dropout",
        "data.bucketing",
        "seed",
        "fresh",
        "output",
        "data.test",
        "resume.every_n_steps",
        "trainer.max_epochs",
    },
    "test": {"model.learning_rate", "fresh", "output", "data.num_train", "data.predict", "checkpoint.mode"},
    "predict": {"model.cell", "fresh", "name", "data.train", "data.num_test", "figures.every_n_epochs"},
}


@pytest.mark.parametrize("command", USED)
def test_page_of_a_trained_models_command_shows_what_it_uses(command):
    shown = flags_of(run(command, "--help"))
    assert USED[command] <= shown.keys()
    assert UNUSED[command].isdisjoint(shown)


GROUPS = [("trainer", Trainer), ("checkpoint", ModelCheckpoint), ("resume", None), ("figures", None)]


@pytest.mark.parametrize(("name", "cls"), GROUPS)
@pytest.mark.parametrize("command", ["fit", "test"])
def test_group_has_its_page(name, cls, command, command_line_state):
    text = run(command, f"--{name}.help")
    assert "Default: `" not in text
    shown = flags_of(text)
    assert shown.keys() == {flag for flag in flag_names() if flag.startswith(f"{name}.")}
    assert max(map(len, text.splitlines())) <= 80
    config = yaml.safe_load(run("fit", "--print_config"))[name]
    for flag, value in shown.items():
        expected = config[flag.rpartition(".")[2]]
        if expected is not None:
            assert yaml.safe_load(value) == expected


for _name in seqlight.__all__:
    getattr(seqlight, _name)
CLASSES = [
    (prefix, cls)
    for prefix, base in BASES.items()
    for cls in sorted(subclasses(base), key=lambda cls: cls.__name__)
    if not inspect.isabstract(cls)
    and cls.__module__.startswith(("seqlight.", "torch."))
    and cls not in (*UNUSABLE, torch.optim.Optimizer)
]


@pytest.mark.parametrize(
    ("prefix", "cls"), CLASSES, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_class_has_its_page_with_a_text_for_each_flag(prefix, cls):
    flags = flag_texts(cls, prefix)
    text = class_help(["fit", f"--{prefix}.help", cls.__name__])
    assert text.startswith(f"{cls.__name__}: ")
    assert flags_of(text).keys() == {flag.name for flag in flags}
    assert max(map(len, text.splitlines())) <= 80
    for flag in flags:
        assert flag.name in flag_names()
        assert re.match(r"[^)]", flag.text), flag.name
        assert "efault:" not in flag.text
        assert flag.text.count("(") == flag.text.count(")")


def test_every_flag_has_a_text():
    told = {flag.name for flags in help_page.texts().values() for flag in flags}
    told |= {f"model.{name}" for name in (*FROM_DATA, "optimizer")}  # refused: they follow from the data
    for prefix, base in BASES.items():
        for cls in subclasses(base):
            told.update(flag.name for flag in flag_texts(cls, prefix) if flag.text)
    for prefix in ("checkpoint", "resume", "figures"):
        told.update(flag.name for flag in flag_texts(DEFAULTS[prefix], prefix) if flag.text)
    ours = {name for name in flag_names() if not name.startswith("trainer.")}
    assert ours - told == {*LIGHTNINGS, "checkpoint", "resume", "figures"} - {"trainer.help"}


@pytest.mark.parametrize(
    ("words", "first", "shown"),
    [
        ("--model.cell.help", "LSTMCell: ", "ElmanCell"),
        ("--model.cell.help gru", "GRUCell: ", "--model.cell.hidden_size 32"),
        ("--model.cell.help=seqlight.GRUCell", "GRUCell: ", "--model.cell.hidden_size 32"),
        ("--model.cell.help mycells.LeakyCell", "LeakyCell", "--model.cell.leak 0.3"),
        ("--model.help mycells.MyClassifier", "MyClassifier", "--model.scale 1.0"),
        ("--model.help mycells.MyClassifier", "MyClassifier", "--model.num_layers 1"),
        ("--data.task.help", "SumSign: ", "Parity"),
        ("--data.task.help parity", "Parity: ", "--data.task.max_length 10"),
        ("--optimizer.help", "Adam: ", "AdamW"),
        ("--optimizer.help adamw", "AdamW: ", "--model.optimizer.weight_decay 0.01"),
        ("--model.optimizer.help SGD", "SGD: ", "--model.optimizer.momentum 0"),
        ("--data.help SequenceFiles", "SequenceFiles: ", "--data.train FILE"),
        ("--data.help", "SyntheticSequences: ", "SequenceFiles"),
        ("--model.help", "SequenceClassifier: ", "--model.learning_rate 0.01"),
    ],
)
def test_help_on_a_class(words, first, shown, user_folder):
    text = run("fit", *words.split())
    assert text.startswith(first)
    assert shown in text
    assert "RegularisedCell" not in text


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--model.cell.help lsmt", "did you mean LSTMCell?"),
        ("--model.cell.help Parity", "use --data.task Parity"),
        ("--data.task.help nomodule.Task", "can't import nomodule"),
        ("--data.help torch.nn.Linear", "SequenceFiles"),
        ("--data.help a.csv", "a.csv"),
    ],
)
def test_help_on_no_class_is_answered(words, answer, user_folder):
    status, out, err = seqlight_run("fit", *words.split())
    assert (status, out) == (2, "")
    assert answer in err
    assert len(err.splitlines()) <= 5


@pytest.mark.parametrize("words", ["fit --help", "fit -h", "help fit", "--help fit", "-h fit"])
def test_page_needs_no_torch(words):
    program = f"import sys; sys.argv = ['', *{words.split()}]\nfrom seqlight.__main__ import main\nstatus = main()"
    result = python("-c", f"{program}\nprint(status, 'torch' in sys.modules)")
    assert result.stdout.splitlines()[-1] == "0 False"
    assert "--model.cell.hidden_size 32" in result.stdout


if __name__ == "__main__":
    help_page.FILE.write_text(text_of_file())
