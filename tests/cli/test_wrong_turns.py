"""Mistakes of new users, each answered with status 2, at most five lines and the right flag."""

from pathlib import Path

import pytest
import torch
import yaml

from seqlight.cli import devices
from seqlight.cli.check import _cell_as_flag
from seqlight.cli.flag_errors import UsageError
from seqlight.cli.flag_names import _COMMANDS_ELSEWHERE, _ELSEWHERE, flag_names, full_flag, wrong_word
from tests.cli.commands import run
from tests.conftest import seqlight_run

DATA_FILES = ["a.csv", "a.parquet", "a.jsonl", "a.npz", "a.ts", "a.arff", "A.CSV", "../data/a.csv"]


def refused(*words):
    """The lines of the answer."""
    status, out, err = seqlight_run(*words)
    lines = err.removeprefix("seqlight: error: ").splitlines()
    assert (status, out) == (2, "")
    assert err.startswith("seqlight: error: ")
    assert 1 <= len(lines) <= 5
    return lines


@pytest.mark.parametrize("name", _ELSEWHERE)
def test_word_from_elsewhere_has_its_flag_here(name):
    assert full_flag(_ELSEWHERE[name].partition(" ")[0]) in flag_names()
    for word in (name, name.replace("_", "-"), f"model.{name}", f"trainer.{name}", name.upper()):
        if full_flag(word) not in flag_names():
            assert wrong_word(["fit", f"--{word}", "5"]) == (
                f"--{word}: there is no such argument; use --{_ELSEWHERE[name]}"
            )


@pytest.mark.parametrize("command", _COMMANDS_ELSEWHERE)
def test_command_from_elsewhere_has_its_command_here(command):
    assert f"did you mean {_COMMANDS_ELSEWHERE[command]}?" in refused(command, "--epochs", "5")[0]


@pytest.mark.parametrize(
    ("words", "wrong", "answer"),
    [
        ("--max-epochs 5", "--max-epochs", "--trainer.max_epochs"),
        ("--MAX_EPOCHS 5", "--MAX_EPOCHS", "--trainer.max_epochs"),
        ("--trainer.epochs 5", "--trainer.epochs", "--trainer.max_epochs"),
        ("--trainer.lr 5", "--trainer.lr", "--model.learning_rate"),
        ("--batch-size 64", "--batch-size", "--data.batch_size"),
        ("--data.batch-size=64", "--data.batch-size", "--data.batch_size"),
        ("--model.cell.hidden-size 64", "--model.cell.hidden-size", "--model.cell.hidden_size"),
        ("--model.cell.hiden_size 64", "--model.cell.hiden_size", "--model.cell.hidden_size"),
        ("--model.Hidden_Size 64", "--model.Hidden_Size", "--model.cell.hidden_size"),
        ("--Model.Cell GRUCell", "--Model.Cell", "--model.cell"),
        ("--data.task.max_len 30", "--data.task.max_len", "--data.task.max_length"),
        ("-lr 0.1", "-lr", "--model.learning_rate"),
        ("-epochs=5", "-epochs", "--trainer.max_epochs"),
        ("-device cpu", "-device", "--device"),
        ("--epochs 5 --help", "--epochs", "--trainer.max_epochs"),
        ("--help --epochs 5", "--epochs", "--trainer.max_epochs"),
        ("-h --epochs 5", "--epochs", "--trainer.max_epochs"),
        ("--lr 0.1 --epochs 5", "--lr", "--model.learning_rate"),
        ("--data.inputs tokens", "--data.inputs", "--data SequenceFiles"),
    ],
)
def test_flag_is_answered_with_the_right_one(words, wrong, answer, command_line_state):
    [line] = refused("fit", *words.split())
    assert line.startswith(f"{wrong}: there is no such argument; ")
    assert line.removesuffix("?").endswith(answer)


@pytest.mark.parametrize(
    "words",
    ["--optimizer", "--model.cell", "--data.task", "--data", "-c", "--config", "--device", "--model.cell.hidden_size"],
)
@pytest.mark.parametrize("following", [(), ("--fresh",), ("-h",)], ids=" ".join)
def test_missing_value_is_said(words, following):
    [line] = refused("fit", words, *following)
    examples = {"-c": "-c run.yaml", "--data.task": "--data.task Parity", "--optimizer": "--optimizer AdamW"}
    assert line.startswith(f"{words}: expected a value")
    assert examples.get(words, "") in line


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--model.cell.hidden_size", "3", "4"], "4: expected a flag, as --model.cell GRUCell"),
        (["--model.cell", "GRUCell", "run.yaml"], "run.yaml: a configuration is given by a flag: --config run.yaml"),
        (["my run.yaml"], "my run.yaml: a configuration is given by a flag: --config 'my run.yaml'"),
        (["--device=cpu", "x.ckpt"], "x.ckpt: a checkpoint is given by a flag: --ckpt_path x.ckpt"),
        (["--fresh", "true"], "--fresh takes no value, got true"),
        (["--fresh=true"], "--fresh takes no value, got true"),
        (["--model.cell", "mycells.py"], "--model.cell mycells.py: expected a class, as --model.cell mycells.MyClass"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_leftover_word_is_answered(words, answer):
    assert refused("fit", *words) == [answer]


@pytest.mark.parametrize("number", ["-1", "-.5", "-0.5"])
def test_negative_number_is_a_value(number):
    assert wrong_word(["fit", "--model.learning_rate", number]) == ""
    assert "3: expected a flag" in wrong_word(["fit", "--model.learning_rate", number, "3"])


@pytest.mark.parametrize("path", DATA_FILES)
@pytest.mark.parametrize(
    ("command", "flag"),
    [("fit", "--data.train"), ("validate", "--data.val"), ("test", "--data.test"), ("predict", "--data.predict")],
)
def test_data_file_is_answered_with_its_flags(path, command, flag):
    answer = f"{path}: a data file is given by flags: --data SequenceFiles {flag} {path}"
    for words in ([path], ["--data", path], [f"--data={path}"], ["--data.task", path], ["--device=cpu", path]):
        assert refused(command, *words) == [answer]
        assert wrong_word([command, *answer.split(": ")[2].split()]) == ""


def test_name_of_a_data_file_is_quoted():
    [line] = refused("fit", "--data", "my files/a b.csv")
    assert line.endswith("--data SequenceFiles --data.train 'my files/a b.csv'")


@pytest.mark.parametrize("split", ["train", "val", "test", "predict"])
@pytest.mark.parametrize("form", ["--data.{} {}", "--data.{}={}", "--data.init_args.{} {}"])
def test_files_without_their_data_module_are_answered_with_it(split, form):
    words = form.format(split, "a.csv").split()
    [line] = refused("fit", *words)
    flags = [word.removeprefix("--data SequenceFiles ") for word in line.split(": ")[-1:]]
    assert flags == [f"{words[0].partition('=')[0]} a.csv"]
    for before in ("--data SequenceFiles", "--data=mydata.Mine", "--config run.yaml", "--ckpt_path a.ckpt"):
        assert wrong_word(["fit", *words, *before.split()]) == ""


def test_folder_and_other_file_in_place_of_a_data_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("a.txt").touch()
    for word in ("folder", "folder/"):
        assert refused("fit", "--data", word)[0].endswith(f"--data SequenceFiles --data.train {word}")
    assert refused("fit", "--data", "a.txt")[0].endswith("--data SequenceFiles --data.train a.txt")


@pytest.mark.parametrize(
    ("flag", "value", "answer"),
    [
        ("--model.cell", "LSMTCell", "did you mean LSTMCell?"),
        ("--model.cell", "lsmt", "did you mean LSTMCell?"),
        ("--model.cell", "peephole_lstm", "did you mean PeepholeLSTMCell?"),
        ("--model.cell", "GatedCell", " GatedCell"),
        ("--model.cell", "RecurrentCell", " RecurrentCell"),
        ("--model.cell", "RegularisedCell", " RegularisedCell"),
        ("--model.cell", "Parity", "use --data.task Parity"),
        ("--data.task", "sumsgin", "did you mean SumSign?"),
        ("--data.task", "SumSing", "did you mean SumSign?"),
        ("--data.task", "gru", "use --model.cell GRUCell"),
        ("--data", "Parity", "use --data.task Parity"),
        ("--data", "sequence_files", "did you mean SequenceFiles?"),
        ("--model", "gru", "use --model.cell GRUCell"),
        ("--model", "GRUCell", "use --model.cell GRUCell"),
        ("--optimizer", "adamv", "did you mean Adam"),
        ("--optimizer", "Optimizer", " Optimizer"),
    ],
)
@pytest.mark.parametrize("form", ["{} {}", "{}={}"])
def test_name_of_no_class_is_answered_with_the_right_one(flag, value, answer, form, command_line_state):
    first, *others = refused("fit", *form.format(flag, value).split())
    assert first.startswith(flag.replace("--optimizer", "--model.optimizer") + ": ")
    assert answer in first
    [expected] = others or [first]
    assert "expected " in expected
    assert "RegularisedCell" not in expected.partition("; got")[0]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("lsmt", "did you mean LSTMCell?"),
        ("LSTM --hidden_size 4", "--hidden_size: there is no such argument; did you mean --cell.hidden_size?"),
        ("LSTM --inputsize=4", "--inputsize: there is no such argument; did you mean --input_size?"),
        ("gru --cell.hiden_size 3", "--cell.hiden_size: there is no such argument; did you mean --cell.hidden_size?"),
    ],
)
def test_check_answers_too(words, answer, command_line_state):
    assert answer in refused("check", *words.split())[0]


def test_check_knows_short_names():
    assert _cell_as_flag(["--input_size", "3", "gru"]) == ["--cell=GRUCell", "--input_size", "3"]


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("--model.learning_rate high", "--model.learning_rate: expected float, got high"),
        ("--model.bidirectional maybe", "--model.bidirectional: expected bool, got maybe"),
        ("--trainer.max_epochs 5.5", "--trainer.max_epochs: expected int, got 5.5"),
        ("--seed x", "--seed: expected bool or int, got x"),
        ("--trainer.devices x", "--trainer.devices: expected auto, a number of devices, or their indices; got x"),
        (
            "--figures false",
            "--figures: expected a YAML file; its arguments are flags such as --figures.every_n_epochs",
        ),
        (
            "--checkpoint true",
            "--checkpoint: expected a YAML file; its arguments are flags such as --checkpoint.filename",
        ),
        ("--resume 3", "--resume: expected a YAML file; its arguments are flags such as --resume.every_n_seconds"),
        ("--trainer 3", "--trainer: expected a YAML file; its arguments are flags such as --trainer.max_epochs"),
    ],
)
def test_value_of_a_wrong_type_is_answered(words, flag, command_line_state):
    assert refused("fit", *words.split())[0] == flag


@pytest.mark.parametrize("number", [0, 1, 2])
def test_index_of_the_device_is_that_of_torch(number, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setitem(devices._AVAILABLE, "cuda", lambda: True)
    trainer = {"accelerator": "auto", "devices": "auto", "num_nodes": 1, "strategy": "auto"}
    if number == 2:
        with pytest.raises(UsageError, match="--device cuda:2: the last GPU of this machine is cuda:1"):
            devices.device_arguments("fit", "cuda:2", trainer)
    else:
        chosen = devices.device_arguments("fit", f"cuda:{number}", trainer)
        assert chosen == {"accelerator": "cuda", "devices": [number]}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
@pytest.mark.parametrize("device", ["gpu", "cuda", "cuda:0", "cuda:1", "mps"])
def test_device_that_the_machine_lacks_is_refused(device, command_line_state):
    assert refused("fit", "--device", device) == [
        f"--device {device}: torch finds no such GPU here; expected cpu or auto"
    ]


@pytest.mark.parametrize("device", ["cuda:x", "cuda1", "GPU", "tpu", "0"])
def test_value_of_no_device_is_refused(device, command_line_state):
    assert refused("fit", "--device", device) == [
        f"--device: expected one of auto, cpu, gpu, cuda, cuda:1, mps; got {device}"
    ]


NO_KEY = "there is no such key"
CONFIGURATIONS = [
    ("hidden_size: 3", f"hidden_size: {NO_KEY}; did you mean model.cell.hidden_size?"),
    ("epochs: 3", f"epochs: {NO_KEY}; use trainer.max_epochs"),
    ("seed: 3", f"seed: {NO_KEY}; use seed_everything"),
    ("optimizer: AdamW", f"optimizer: {NO_KEY}; use model.optimizer"),
    ("wd: 1", f"wd: {NO_KEY}; use model.optimizer.weight_decay"),
    ("trainer:\n  max_epoch: 3", f"trainer.max_epoch: {NO_KEY}; use trainer.max_epochs"),
    ("trainer.max_epohcs: 3", f"trainer.max_epohcs: {NO_KEY}; did you mean trainer.max_epochs?"),
    ('{"trainer": {"max_epoch": 3}}', f"trainer.max_epoch: {NO_KEY}; use trainer.max_epochs"),
    ("model:\n  hidden_size: 3", f"model.hidden_size: {NO_KEY}; did you mean model.cell.hidden_size?"),
    ("model:\n  init_args:\n    hiden_size: 3", f"model.hiden_size: {NO_KEY}; did you mean model.cell.hidden_size?"),
    (
        "model:\n  init_args:\n    cell:\n      class_path: GRUCell\n      init_args:\n        hiden_size: 3",
        f"model.cell.hiden_size: {NO_KEY}; did you mean model.cell.hidden_size?",
    ),
    ("data:\n  init_args:\n    batchsize: 3", f"data.batchsize: {NO_KEY}; did you mean data.batch_size?"),
    (
        "data:\n  class_path: SequenceFiles\n  init_args:\n    trian: a.csv",
        f"data.trian: {NO_KEY}; did you mean data.train?",
    ),
    ("data.train: a.csv", f"data.train: {NO_KEY}; it belongs to data SequenceFiles"),
    (
        "fit:\n  trainer:\n    max_epochs: 3",
        "fit.trainer.max_epochs: a configuration names no command; move the keys below fit to the top level",
    ),
    ("trainer:\n  max_epochs: many", "trainer.max_epochs: expected int, got many"),
    ("trainer: 3", "trainer: expected keys below it, such as trainer.max_epochs; got 3"),
    ("figures: false", "figures: expected keys below it, such as figures.every_n_epochs; got False"),
]


@pytest.mark.parametrize(("text", "answer"), CONFIGURATIONS)
@pytest.mark.parametrize("flag", ["--config", "-c"])
def test_key_of_a_configuration_is_answered_with_the_right_one(text, answer, flag, tmp_path, command_line_state):
    path = tmp_path / "my run.yaml"
    path.write_text(text + "\n")
    (tmp_path / "right.yaml").write_text("trainer:\n  max_steps: 2\n")
    assert refused("fit", "--config", f"{tmp_path}/right.yaml", flag, str(path), "--device=cpu") == [
        f"{path}: {answer}"
    ]


def test_names_of_classes_in_a_configuration_are_answered(tmp_path, command_line_state):
    path = tmp_path / "run.yaml"
    path.write_text("model.cell: gru\n")
    first, expected = refused("fit", "--config", str(path))
    assert first == f"{path}: model.cell: there is no RecurrentCell gru; did you mean GRUCell?"
    assert expected.startswith("  expected ")
    assert " GRUCell, " in expected


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("trainer:\n\tmax_epochs: 3", 2, "there is a tab in its indentation; use spaces"),
        ("trainer:\n  max_epochs: 3\n\tmax_steps: 3", 3, "there is a tab in its indentation; use spaces"),
        ("trainer:\n \t max_epochs: 3", 2, "there is a tab in its indentation; use spaces"),
        ("\ttrainer:", 1, "there is a tab in its indentation; use spaces"),
        ("trainer:\n  max_epochs: [3", 2, ""),
        ("name: a\ntrainer: max_epochs: 3", 2, ""),
        ("trainer:\n  max_epochs: 3\n max_steps: 3", 3, ""),
        ("name: a\n- b", 2, ""),
        ("name: 'a", 1, ""),
        ("name: !!python/object/apply:os.getcwd []", 1, "could not determine a constructor for the tag"),
    ],
)
def test_yaml_error_names_file_and_line(text, line, problem, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text + "\n")
    [answer] = refused("fit", "--config", str(path))
    assert answer.startswith(f"{path}, line {line}: {problem}")


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b", "3"])
def test_file_that_is_no_configuration_is_named(text, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    [answer] = refused("fit", "--config", str(path))
    assert answer.startswith(f"--config {path}: expected a YAML file of options")


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("--seed 3", "seed_everything", 3),
        ("--seed=3", "seed_everything", 3),
        ("--model.cell gru", "model.init_args.cell.class_path", "seqlight.GRUCell"),
        ("--model.cell=GRU", "model.init_args.cell.class_path", "seqlight.GRUCell"),
        ("--model.cell RNN", "model.init_args.cell.class_path", "seqlight.ElmanCell"),
        ("--model.cell.hidden_size 5 --model.cell sLSTM", "model.init_args.cell.init_args.hidden_size", 5),
        ("--model.cell gru --model.cell lstm", "model.init_args.cell.class_path", "seqlight.LSTMCell"),
        ("--data.num_train 5 --data.num_train 6", "data.init_args.num_train", 6),
        ("--data.task parity", "data.init_args.task.class_path", "seqlight.Parity"),
        ("--data.task SUMSIGN", "data.init_args.task.class_path", "seqlight.SumSign"),
        ("--optimizer adamw", "model.init_args.optimizer.class_path", "torch.optim.AdamW"),
        ("--optimizer.weight_decay 0.5", "model.init_args.optimizer.init_args.weight_decay", 0.5),
        ("--device cuda:1", "device", "cuda:1"),
    ],
)
def test_short_form_works(words, key, value, command_line_state):
    found = yaml.safe_load(run("fit", *words.split(), "--print_config"))
    for part in key.split("."):
        found = found[part]
    assert found == value


@pytest.mark.parametrize("words", ["--epochs 5", "--foo", "--config run.yaml", "--trainer.max_epochs 5"])
def test_a_command_comes_first(words):
    [line] = refused(*words.split())
    assert line.startswith("a command comes first, as in `seqlight fit ...`")
    assert ("use --trainer.max_epochs" in line) == ("--epochs" in words)


@pytest.mark.parametrize("command", ["test", "validate", "predict", "fit"])
@pytest.mark.parametrize("folder", ["runs/a run", "runs/a run/version_0"])
def test_folder_of_a_run_without_its_flag(command, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("runs/a run/version_0/checkpoints")
    path.mkdir(parents=True)
    (path / "best.ckpt").touch()
    assert refused(command, folder) == [f"{folder}: the folder of a run is given by a flag: --ckpt_path '{folder}'"]
