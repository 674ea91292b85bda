"""Training: flags, configuration files, and the user's own classes."""

import logging
import re
from pathlib import Path

import pytest
import torch
import yaml

import seqlight
from seqlight.common.description import flatten
from tests.cli.commands import QUIET, SMALL, fit, forget, python, run
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("user_folder")


def test_fit_without_flags_trains_as_in_the_readme():
    result = python("-m", "seqlight", "fit")
    lines = result.stdout.splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines if line[:5].strip() in ("train", "val")}
    for loss, accuracy in table.values():
        assert 0 < float(loss) < 0.3
        assert 0.9 < float(accuracy) <= 1
    assert set(table) == {"train", "val"}
    [checkpoint] = [line.split()[-1] for line in lines if line.startswith("best checkpoint")]
    assert checkpoint.startswith("runs/SumSign-LSTMCell/version_0/")
    assert any(line.endswith("tensorboard --logdir runs") for line in lines)
    epochs = [line.split(":")[0] for line in lines if line.startswith("Epoch")]
    assert epochs == [f"Epoch {number:2}/10" for number in range(1, 11)]  # no terminal, so no bar
    assert not re.search(r"[^\n -~]", result.stdout)
    assert result.stderr == ""  # a process that imports Lightning first shows its messages if nothing stops them
    model = seqlight.load(checkpoint)
    assert model.hparams["cell"] == {
        "class_path": "seqlight.LSTMCell",
        "init_args": {"hidden_size": 32, "forget_bias": 1.0},
    }
    assert model.hparams["input_size"] == 1
    config = yaml.safe_load(Path("runs/SumSign-LSTMCell/version_0/config.yaml").read_text())
    assert config["data"]["init_args"]["num_train"] == 1000
    assert config["trainer"]["gradient_clip_val"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--model.cell=ElmanCell", "--model.cell.nonlinearity=relu"), {"cell.nonlinearity": "relu"}),
        (("--model.cell=GRUCell", "--model.cell.hidden_size=6"), {"cell": "GRUCell", "cell.hidden_size": 6}),
        (
            ("--model.cell=SLSTMCell", "--model.cell.forget_gate=exponential", "--model.cell.forget_bias=1"),
            {"cell": "SLSTMCell", "cell.forget_gate": "exponential", "cell.forget_bias": 1.0},
        ),
        (("--model.num_layers=2", "--model.bidirectional=true", "--model.dropout=0.2"), {"num_layers": 2}),
        (("--model.readout=max", "--model.learning_rate=0.003"), {"readout": "max", "learning_rate": 0.003}),
        (("--data.task=Parity", "--data.task.max_length=6"), {"vocab_size": 2}),
        (("--data.task=Adding", "--data.task.max_length=12"), {"input_size": 2}),
        (("--data.task.max_length=5", "--model.lr_schedule=constant"), {"lr_schedule": "constant"}),
    ],
)
def test_flags_reach_the_model(arguments, expected):
    model = seqlight.load(fit(*arguments))
    hparams = flatten("model", {"class_path": "m", "init_args": dict(model.hparams)})
    for name, value in expected.items():
        assert hparams[f"model.{name}"] == value


def test_flags_reach_the_stack():
    model = seqlight.load(
        fit(
            "--model.num_layers=2",
            "--model.bidirectional=true",
            "--model.dropout=0.1",
            "--model.input_dropout=0.2",
            "--model.recurrent_dropout=0.3",
            "--model.zoneout=0.4",
            "--model.residual=true",
            "--model.norm=layer",
            "--model.backend=eager",
        )
    )
    stack = model.recurrent
    assert [(layer.reverse, layer.backend) for layer in stack.layers] == [(False, "eager"), (True, "eager")] * 2
    assert (stack.num_directions, stack.output_size, model.head.in_features) == (2, 64, 64)
    assert (stack.dropout.p, stack.input_dropout.p, stack.residual) == (0.1, 0.2, True)
    assert [(layer.cell.recurrent_dropout, layer.cell.zoneout) for layer in stack.layers] == [(0.3, 0.4)] * 4
    assert [(type(norm), norm.normalized_shape) for norm in stack.norms] == [(torch.nn.LayerNorm, (64,))]


@pytest.mark.parametrize("source", ["flag", "configuration", "checkpoint"])
def test_another_task_does_not_inherit_lengths(source):
    if source == "configuration":
        Path("run.yaml").write_text(
            "data: {class_path: SyntheticSequences, init_args: {task: {class_path: seqlight.Adding}}}"
        )
        arguments = ("fit", "--config=run.yaml")
    elif source == "flag":
        arguments = ("fit", "--data.task=Adding")
    else:
        arguments = ("test", f"--ckpt_path={fit('--data.task.max_length=4')}", "--data.task=Adding")
    data = yaml.safe_load(run(*arguments, "--print_config"))["data"]
    assert data["init_args"]["task"]["init_args"] == {"min_length": None, "max_length": 50}


def test_flags_override_a_configuration_file():
    Path("run.yaml").write_text(
        yaml.safe_dump(
            {
                "model": {
                    "class_path": "seqlight.SequenceClassifier",
                    "init_args": {"cell": {"class_path": "seqlight.GRUCell", "init_args": {"hidden_size": 5}}},
                }
            }
        )
    )
    model = seqlight.load(fit("--config=run.yaml", "--model.num_layers=2"))
    assert model.hparams["cell"]["init_args"]["hidden_size"] == 5
    assert model.hparams["num_layers"] == 2


def test_printed_configuration_can_be_used():
    Path("all.yaml").write_text(run("fit", *SMALL, *QUIET, "--data.task=Parity", "--print_config"))
    assert seqlight.load(fit("--config=all.yaml")).hparams["vocab_size"] == 2


def test_cell_in_the_users_folder_has_its_own_arguments():
    path = fit("--model.cell=mycells.LeakyCell", "--model.cell.leak=0.5", "--model.cell.hidden_size=4")
    assert torch.load(path, weights_only=True)["seqlight"]["model"]["init_args"]["cell"] == {
        "class_path": "mycells.LeakyCell",
        "init_args": {"hidden_size": 4, "leak": 0.5},
    }


def test_import_gives_short_names():
    # In a new process, because other tests define classes with the same names. It is started with -P, so that Python
    # itself does not search the current folder.
    flags = ("--import=mycells", "--model=MyClassifier", "--model.scale=2", "--model.cell=LeakyCell")
    python("-P", "-m", "seqlight", "fit", *SMALL, *QUIET, *flags)
    [path] = Path("runs").glob("SumSign-LeakyCell/version_0/checkpoints/best.ckpt")
    description = torch.load(path, weights_only=True)["seqlight"]["model"]
    assert description["class_path"] == "mycells.MyClassifier"
    assert description["init_args"]["scale"] == 2


def test_script_searches_the_users_folder():
    # The installed script does not have the current folder in its path; -P is the same.
    script = "from seqlight.__main__ import main; main()"
    result = python("-P", "-c", script, "fit", "--model.cell=mycells.LeakyCell", "--print_config")
    assert "mycells.LeakyCell" in result.stdout


def test_class_weights_come_from_the_data():
    Path("weighted.py").write_text(
        "import torch\n"
        "from seqlight import *\n"
        "class Weighted(SequenceDataModule):\n"
        "    input_size, vocab_size, target, num_outputs, class_weights = 1, None, 'binary', 1, (0.5, 2.0)\n"
        "    def __init__(self):\n"
        "        super().__init__(4, 0)\n"
        "    def split(self, split):\n"
        "        return Batch(torch.randn(8, 3, 1), torch.arange(8.0) % 2, torch.full((8,), 3))\n"
        "class Plain(SequenceClassifier):\n"
        "    def __init__(self, input_size: int | None = None):\n"
        "        super().__init__(input_size=input_size)\n"
    )
    flags = ("--data=weighted.Weighted", "--trainer.max_epochs=1", "--device=cpu", *QUIET)
    run("fit", *flags)
    [path] = Path("runs").glob("Weighted-LSTMCell/version_0/checkpoints/best.ckpt")
    model = seqlight.load(path)
    assert model.hparams["class_weights"] == [0.5, 2.0]
    assert model.class_weights.tolist() == [0.5, 2.0]
    # A model without this argument can be trained too.
    run("fit", *flags, "--model=weighted.Plain")
    run("test", f"--ckpt_path={path}", "--import=weighted", "--device=cpu", *QUIET)
    forget("weighted")


def test_subclass_keeps_its_own_default_cell():
    Path("models.py").write_text(
        "from collections.abc import Callable\n"
        "from seqlight import *\n"
        "class Mine(SequenceClassifier):\n"
        "    def __init__(self, cell: Callable[[int], RecurrentCell] = GRUCell, *, width: int = 3, **kwargs):\n"
        "        super().__init__(cell, **kwargs)\n"
    )
    path = fit("--model=models.Mine", "--model.width=4", "--model.num_layers=2")
    model = seqlight.load(path)
    assert type(model.recurrent.layers[1].cell) is seqlight.GRUCell
    assert model.hparams["width"] == 4
    run("test", "--ckpt_path", path, "--import=models", *QUIET, "--device=cpu")
    forget("models")


def test_subclass_in_a_configuration_file_keeps_its_own_default_cell():
    Path("mymodels.py").write_text(
        "from collections.abc import Callable\n"
        "from seqlight import *\n"
        "class MineGru(SequenceClassifier):\n"
        "    def __init__(self, cell: Callable[[int], RecurrentCell] = GRUCell, **kwargs):\n"
        "        super().__init__(cell, **kwargs)\n"
    )
    Path("run.yaml").write_text("model: {class_path: mymodels.MineGru, init_args: {num_layers: 2}}\n")
    model = seqlight.load(fit("--config=run.yaml"))
    forget("mymodels")
    assert type(model).__name__ == "MineGru"
    assert [type(layer.cell) for layer in model.recurrent.layers] == [seqlight.GRUCell] * 2


@pytest.mark.parametrize(
    ("flag", "shown"),
    [("--model.help", ["--model.learning_rate", "--model.cell"]), ("--data.help", ["--data.num_train", "--data.task"])],
)
def test_help_describes_the_default_class(flag, shown):
    out = run("fit", flag)
    for argument in shown:
        assert argument in out


@pytest.fixture
def lightning_messages():
    """Messages of Lightning's logger."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("lightning.pytorch").addHandler(handler)
    yield records
    logging.getLogger("lightning.pytorch").removeHandler(handler)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), []),
        (("--trainer.profiler", "simple"), ["Profiler Report", "run_training_batch"]),
        (("--trainer.enable_model_summary", "true"), ["RecurrentStack", "Trainable params"]),
    ],
)
def test_reports_of_lightnings_logger(flags, expected, lightning_messages):
    out = run("fit", *SMALL, *QUIET, *flags)
    text = "\n".join([*lightning_messages, out])  # if rich is installed, Lightning prints the summary with it
    assert all(part in text for part in expected), text
    assert expected or not lightning_messages


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_failing_run_leaves_earlier_checkpoints_unchanged():
    Path("failing.py").write_text(
        "from pathlib import Path\n"
        "from seqlight import SequenceClassifier\n"
        "class Failing(SequenceClassifier):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        Path('steps').write_text(str(self.global_step))\n"
        "        if self.current_epoch == 1 and batch_idx == 5:\n"
        "            raise RuntimeError('the sixth step')\n"
        "        return super().training_step(batch, batch_idx)\n"
    )
    fit("--model=failing.Failing", "--data.batch_size=8", "--checkpoint.dirpath=kept")
    before = {path.name: path.read_bytes() for path in Path("kept").iterdir()}
    assert set(before) == {"best.ckpt"}
    [last] = Path("runs").rglob("last.ckpt")
    again = (f"--ckpt_path={last}", "--checkpoint.dirpath=kept", *QUIET, "--device=cpu")
    assert seqlight_run("fit", *SMALL, *again, "--import=failing", "--model.cell.hidden_size=-1")[0] == 2
    with pytest.raises(RuntimeError, match="the sixth step"):
        seqlight_run("fit", *again, "--import=failing", "--trainer.max_epochs=3")
    assert Path("steps").read_text() == "13"  # training had started
    assert {path.name: path.read_bytes() for path in Path("kept").iterdir()} == before
    forget("failing")
