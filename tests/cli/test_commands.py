import csv
import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlight
from seqlight.common.processes import torchrun_settings
from tests.conftest import seqlight_run

SMALL = ("--trainer.max_epochs=1", "--data.num_train=64", "--data.num_val=48", "--data.num_test=40", "--device=cpu")
QUIET = ("--trainer.enable_progress_bar=false", "--figures.every_n_epochs=0")

MYCELLS = """
from pathlib import Path

import torch
from seqlight import GatedCell, SequenceClassifier

Path("mycells_was_imported").touch()


class LeakyCell(GatedCell):
    num_gates = 1

    def __init__(self, input_size: int, hidden_size: int = 8, leak: float = 0.3):
        super().__init__(input_size, hidden_size)
        self.leak = leak

    def update(self, input_gates, hidden_gates, state):
        return ((1 - self.leak) * state[0] + self.leak * torch.tanh(input_gates + hidden_gates),)


class MyClassifier(SequenceClassifier):
    def __init__(self, *args, scale: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = scale

    def classify(self, features, lengths=None):
        return self.scale * super().classify(features, lengths)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, command_line_state):
    """A user's folder with mycells.py."""
    monkeypatch.chdir(tmp_path)
    Path("mycells.py").write_text(MYCELLS)
    yield tmp_path
    forget("mycells")


def forget(module):
    sys.modules.pop(module, None)


def fit(*arguments):
    status, out, err = seqlight_run("fit", *SMALL, *QUIET, *arguments)
    assert status == 0, err
    [path] = [line.split()[-1] for line in out.splitlines() if line.startswith("best checkpoint")]
    assert Path(path).is_file()
    return path


def python(*arguments, check=True, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=200, check=check, **options
    )


def test_fit_alone_trains_as_the_readme_says():
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
    assert "Epoch 9: 100%" in result.stderr + result.stdout
    model = seqlight.load(checkpoint)
    assert model.hparams["cell"] == {
        "class_path": "seqlight.LSTMCell",
        "init_args": {"hidden_size": 32, "forget_bias": None},
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
def test_fit_flags_reach_the_model(arguments, expected):
    model = seqlight.load(fit(*arguments))
    hparams = seqlight.common.description.flatten("model", {"class_path": "m", "init_args": dict(model.hparams)})
    for name, value in expected.items():
        assert hparams[f"model.{name}"] == value


@pytest.mark.parametrize("source", ["flag", "configuration", "checkpoint"])
def test_another_task_does_not_take_over_lengths(source):
    if source == "configuration":
        Path("run.yaml").write_text(
            "data: {class_path: SyntheticSequences, init_args: {task: {class_path: seqlight.Adding}}}"
        )
        arguments = ("fit", "--config=run.yaml")
    elif source == "flag":
        arguments = ("fit", "--data.task=Adding")
    else:
        arguments = ("test", f"--ckpt_path={fit('--data.task.max_length=4')}", "--data.task=Adding")
    status, out, err = seqlight_run(*arguments, "--print_config")
    assert status == 0, err
    assert yaml.safe_load(out)["data"]["init_args"]["task"]["init_args"] == {"min_length": None, "max_length": 50}


def test_a_model_is_tested_on_other_lengths(monkeypatch):
    seen = []
    test_step = seqlight.SequenceClassifier.test_step

    def noting(self, batch, batch_index):
        seen.extend(batch.lengths.tolist())
        return test_step(self, batch, batch_index)

    monkeypatch.setattr(seqlight.SequenceClassifier, "test_step", noting)
    path = fit("--data.task=Parity", "--data.task.max_length=6", "--data.test_lengths=7:9", "--data.num_test=40")
    for flags, expected in (((), {7, 8, 9}), (("--data.test_lengths=12",), {12})):
        status, _, err = seqlight_run("test", *QUIET, f"--ckpt_path={path}", *flags)
        assert status == 0, err
        assert set(seen) == expected
        seen.clear()


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


def test_configuration_file_and_flags_over_it():
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


def test_print_config_can_be_used_as_config():
    status, out, _ = seqlight_run("fit", "--data.task=Parity", "--print_config")
    assert status == 0
    Path("all.yaml").write_text(out)
    assert seqlight.load(fit("--config=all.yaml")).hparams["vocab_size"] == 2


def test_a_cell_of_the_users_folder_with_its_own_arguments():
    path = fit("--model.cell=mycells.LeakyCell", "--model.cell.leak=0.5", "--model.cell.hidden_size=4")
    assert torch.load(path, weights_only=True)["seqlight"]["model"]["init_args"]["cell"] == {
        "class_path": "mycells.LeakyCell",
        "init_args": {"hidden_size": 4, "leak": 0.5},
    }


def test_import_gives_short_names():
    # In a process of its own: other tests have made classes of the same names.
    flags = ("--import=mycells", "--model=MyClassifier", "--model.scale=2", "--model.cell=LeakyCell")
    python("-m", "seqlight", "fit", *SMALL, *QUIET, *flags)
    [path] = Path("runs").glob("SumSign-LeakyCell/version_0/checkpoints/best.ckpt")
    description = torch.load(path, weights_only=True)["seqlight"]["model"]
    assert description["class_path"] == "mycells.MyClassifier"
    assert description["init_args"]["scale"] == 2


@pytest.mark.parametrize("command", [["-m", "seqlight"], ["-c", "from seqlight.__main__ import main; main()"]])
def test_the_users_folder_is_searched_by_script_and_module(command, folder):
    # -P leaves out the current folder, as the installed script does.
    arguments = ["--model.cell=mycells.LeakyCell", "--print_config"]
    result = python("-P", *command, "fit", *arguments, cwd=folder)
    assert "mycells.LeakyCell" in result.stdout


def test_checkpoint_rebuilds_model_and_data_without_flags():
    path = fit("--model.cell=GRUCell", "--model.cell.hidden_size=6", "--data.task=Parity", "--data.task.max_length=7")
    model = seqlight.load(path)
    data = seqlight.SyntheticSequences(seqlight.Parity(max_length=7), num_test=40, num_val=48)
    for verb, split in (("test", "test"), ("validate", "val")):
        status, out, err = seqlight_run(verb, "--ckpt_path", path, *QUIET, "--device=cpu")
        assert status == 0, err
        batch = data.split(split)
        accuracy = ((model.probabilities(batch.inputs, batch.lengths) > 0.5) == batch.targets.bool()).float().mean()
        [row] = [line.split() for line in out.splitlines() if line.startswith(split)]
        assert float(row[2]) == pytest.approx(accuracy.item(), abs=5e-5)


def test_predict_writes_the_probabilities_of_the_test_split():
    path = fit()
    status, out, err = seqlight_run("predict", "--ckpt_path", path, "--output=out/p.csv", *QUIET, "--device=cpu")
    assert status == 0, err
    assert out.splitlines()[-1] == "out/p.csv"
    with open("out/p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    batch = seqlight.SyntheticSequences(seqlight.SumSign(), num_test=40).split("test")
    expected = seqlight.load(path).probabilities(batch.inputs)
    assert [int(row["id"]) for row in rows] == list(range(40))
    torch.testing.assert_close(torch.tensor([float(row["probability_1"]) for row in rows]), expected, atol=1e-6, rtol=0)
    assert [int(row["prediction"]) for row in rows] == (expected > 0.5).int().tolist()
    assert [entry.name for entry in Path("out").iterdir()] == ["p.csv"]


def test_predictions_that_can_not_be_written_are_one_line():
    path = fit()
    status, _, err = seqlight_run("predict", "--ckpt_path", path, "--output=mycells.py/p.csv", *QUIET, "--device=cpu")
    assert status == 5
    assert re.fullmatch(r"seqlight: error: can't write predictions to mycells\.py/p\.csv: .+\n", err)


def test_test_shows_accuracy_by_length():
    path = fit("--data.task=Parity", "--data.task.max_length=30", "--data.num_test=200")
    status, out, err = seqlight_run("test", "--ckpt_path", path, *QUIET, "--device=cpu")
    assert status == 0, err
    model = seqlight.load(path)
    batch = seqlight.SyntheticSequences(seqlight.Parity(max_length=30), num_test=200).split("test")
    right = (model.probabilities(batch.inputs, batch.lengths) > 0.5) == batch.targets.bool()
    table = out.partition("length ")[2].splitlines()[1:]
    events = EventAccumulator(str(Path(path).parents[1] / "test")).Reload()
    tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("test_lengths/")}
    assert 1 < len(table) == len(tags) <= 8
    for lengths, num_sequences, accuracy in map(str.split, table):
        low, _, high = lengths.partition("-")
        high = high or low
        within = (batch.lengths >= int(low)) & (batch.lengths <= int(high))
        assert int(num_sequences) == within.sum()
        expected = right[within].float().mean().item()
        assert float(accuracy) == pytest.approx(expected, abs=5e-5)
        [point] = events.Scalars(f"test_lengths/accuracy_{low}_{high}")
        assert point.value == pytest.approx(expected)
    assert sum(int(line.split()[1]) for line in table) == 200
    [image] = events.Images("test_figures/accuracy_by_length")
    assert matplotlib.image.imread(io.BytesIO(image.encoded_image_string), format="png").std() > 0.05


def test_test_shows_no_accuracy_by_length_where_all_are_the_same():
    path = fit()
    status, out, err = seqlight_run("test", "--ckpt_path", path, *QUIET, "--device=cpu")
    assert status == 0, err
    assert len(out.splitlines()) == 2
    tags = EventAccumulator(str(Path(path).parents[1] / "test")).Reload().Tags()
    assert set(tags["scalars"]) == {"test/loss", "test/accuracy", "test/auroc", "test/f1"}
    assert not tags["images"]


def test_class_weights_are_those_of_the_data():
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
    assert seqlight_run("fit", *flags)[0] == 0
    [path] = Path("runs").glob("Weighted-LSTMCell/version_0/checkpoints/best.ckpt")
    model = seqlight.load(path)
    assert model.hparams["class_weights"] == [0.5, 2.0]
    assert model.class_weights.tolist() == [0.5, 2.0]
    # A model that takes none is trained without.
    status, _, err = seqlight_run("fit", *flags, "--model=weighted.Plain")
    assert status == 0, err
    test = ("test", f"--ckpt_path={path}", "--import=weighted", "--device=cpu", *QUIET)
    status, _, err = seqlight_run(*test)
    forget("weighted")
    assert status == 0, err


@pytest.mark.parametrize(("size", "nodes"), [(2, 1), (6, 3)])
def test_processes_of_torchrun_are_those_of_the_run(size, nodes, monkeypatch):
    variables = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size // nodes, "RANK": 0, "LOCAL_RANK": 0}
    for name, value in {**variables, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, str(value))
    assert torchrun_settings() == {"devices": size // nodes, "num_nodes": nodes, "strategy": "ddp"}


def test_predict_in_several_processes_is_refused(monkeypatch):
    path = fit()
    with monkeypatch.context() as patch:
        for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}.items():
            patch.setenv(name, value)
        status, _, err = seqlight_run("predict", "--ckpt_path", path, *QUIET, "--device=cpu")
    assert status == 2
    assert "predict runs in one process, but torchrun started 2" in err
    status, _, err = seqlight_run("predict", "--ckpt_path", path, *QUIET, "--device=cpu", "--trainer.devices=2")
    assert status == 2
    assert "predict runs on one device, got --trainer.devices 2" in err
    assert not Path("predictions.csv").exists()


def test_results_of_a_trained_model_do_not_hide_its_curves():
    path = fit()
    version = Path(path).parents[1]
    before = {file: file.read_bytes() for file in version.rglob("*") if file.is_file()}
    for verb in ("validate", "test"):
        assert seqlight_run(verb, "--ckpt_path", path, *QUIET, "--device=cpu")[0] == 0
        assert list((version / verb).glob("events.out*"))
    assert {file: file.read_bytes() for file in before} == before
    assert not [file for file in version.glob("events*") if file not in before]


def test_a_learning_rate_given_anew_holds_for_the_rest_of_a_run():
    last = Path(fit()).with_name("last.ckpt")
    status, _, err = seqlight_run(
        "fit", "--ckpt_path", str(last), "--trainer.max_epochs=2", "--model.learning_rate=0.25", *QUIET, "--device=cpu"
    )
    assert status == 0, err
    [end] = Path("runs").glob("*/version_1/checkpoints/last.ckpt")
    assert torch.load(end, weights_only=True)["lr_schedulers"][0]["base_lrs"] == [0.25]
    assert torch.load(end, weights_only=True)["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 0.25


def test_a_run_that_has_reached_its_end_says_so():
    last = Path(fit()).with_name("last.ckpt")
    status, _, err = seqlight_run("fit", "--ckpt_path", str(last), *SMALL, *QUIET, "--device=cpu")
    assert status == 2
    assert "has been trained for 1 epochs: expected --trainer.max_epochs above that, got 1" in err


def test_flags_win_over_the_checkpoint():
    path = fit()
    status, _, err = seqlight_run("predict", "--ckpt_path", path, "--data.num_test=7", *QUIET, "--device=cpu")
    assert status == 0, err
    assert len(Path("predictions.csv").read_text().splitlines()) == 1 + 7


def test_a_checkpoint_imports_nothing_that_the_user_has_not_named():
    path = fit("--model.cell=mycells.LeakyCell")
    forget("mycells")
    Path("mycells_was_imported").unlink()
    status, _, err = seqlight_run("test", "--ckpt_path", path, *QUIET)
    assert status == 3
    assert "--import mycells" in err
    assert len(err.splitlines()) <= 5
    assert not Path("mycells_was_imported").exists()
    with pytest.raises(seqlight.CheckpointError, match="mycells"):
        seqlight.load(path)
    status, _, err = seqlight_run("test", "--ckpt_path", path, "--import", "mycells", *QUIET, "--device=cpu")
    assert status == 0, err


@pytest.mark.parametrize(
    "value", ["mycells.LeakyCell", {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "popped"]}}]
)
@pytest.mark.parametrize("argument", ["cell", "learning_rate"])
def test_a_hostile_checkpoint_is_refused(value, argument):
    path = fit()
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["seqlight"]["model"]["init_args"][argument] = value
    torch.save(checkpoint, "hostile.ckpt")
    status, _, err = seqlight_run("test", "--ckpt_path", "hostile.ckpt", *QUIET)
    assert status in (2, 3), err
    assert len(err.splitlines()) <= 5
    assert "Traceback" not in err
    with pytest.raises(seqlight.CheckpointError):
        seqlight.load("hostile.ckpt")
    assert not Path("mycells_was_imported").exists()
    assert not Path("popped").exists()


def test_training_goes_on_from_a_checkpoint():
    path = str(Path(fit()).with_name("last.ckpt"))
    status, _, err = seqlight_run("fit", *QUIET, "--device=cpu", "--ckpt_path", path, "--trainer.max_epochs=3")
    assert status == 0, err
    [second] = Path("runs/SumSign-LSTMCell/version_1/checkpoints").glob("last.ckpt")
    assert torch.load(path, weights_only=True)["global_step"] == 2
    assert torch.load(second, weights_only=True)["global_step"] == 6


def test_going_on_within_an_epoch_needs_the_same_batch_size():
    path = Path(fit("--checkpoint.every_n_train_steps=1", "--checkpoint.monitor=null", "--checkpoint.save_top_k=-1"))
    first = min(path.parent.glob("best*.ckpt"), key=lambda file: torch.load(file, weights_only=True)["global_step"])
    status, _, err = seqlight_run("fit", *QUIET, "--device=cpu", f"--ckpt_path={first}", "--data.batch_size=16")
    assert status == 2
    assert "batch_size must be 32" in err


@pytest.mark.parametrize(
    "damage",
    [
        lambda checkpoint: checkpoint.pop("state_dict"),
        lambda checkpoint: checkpoint.update(state_dict=None),
        lambda checkpoint: checkpoint.update(seqlight=None),
        lambda checkpoint: checkpoint["seqlight"].pop("model"),
        lambda checkpoint: checkpoint["seqlight"].update(model={}),
        lambda checkpoint: checkpoint["seqlight"].update(data="x"),
    ],
)
def test_a_checkpoint_without_its_parts_is_refused(damage):
    path = fit()
    checkpoint = torch.load(path, weights_only=True)
    damage(checkpoint)
    seqlight.SealedCheckpointIO().save_checkpoint(checkpoint, "damaged.ckpt")
    status, _, err = seqlight_run("test", "--ckpt_path=damaged.ckpt", *QUIET)
    assert status == 3
    assert "damaged.ckpt is not a complete checkpoint" in err
    with pytest.raises(seqlight.CheckpointError):
        seqlight.load("damaged.ckpt")


def test_a_subclass_keeps_its_own_default_cell():
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
    status, _, err = seqlight_run("test", "--ckpt_path", path, "--import=models", *QUIET, "--device=cpu")
    assert status == 0, err
    forget("models")


def test_a_model_that_a_configuration_file_names_keeps_its_own_default_cell():
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
def test_help_of_model_and_data_is_about_the_default_class(flag, shown):
    status, out, err = seqlight_run("fit", flag)
    assert status == 0, err
    for argument in shown:
        assert argument in out


@pytest.fixture
def told():
    """What Lightning's logger says."""
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
def test_reports_that_lightnings_logger_gives(flags, expected, told):
    status, out, err = seqlight_run("fit", *SMALL, *QUIET, *flags)
    assert status == 0, err
    text = "\n".join([*told, out])  # where rich is installed, Lightning prints the model's summary with it
    assert all(part in text for part in expected), text
    assert expected or not told


def test_a_checkpoint_that_knows_no_data_needs_them_named():
    path = fit()
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["seqlight"]["data"] = None
    seqlight.SealedCheckpointIO().save_checkpoint(checkpoint, "no_data.ckpt")
    arguments = ("test", "--ckpt_path=no_data.ckpt", *QUIET, "--device=cpu")
    status, _, err = seqlight_run(*arguments)
    assert status == 2
    assert "--data.task" in err
    assert seqlight_run(*arguments, "--data.task=SumSign")[0] == 0


def test_ckpt_path_in_a_configuration_file_is_refused():
    Path("run.yaml").write_text("ckpt_path: some.ckpt\n")
    status, _, err = seqlight_run("test", "--config=run.yaml")
    assert status == 2
    assert "--ckpt_path on the command line" in err


BAD = [
    (["fit", "--modle=3"], 2, r"--modle=3"),
    (["fitt"], 2, r"fitt.*fit.*validate"),
    (["fit", "--model.cell=NoCell"], 2, r"--model\.cell: expected .*ElmanCell, .*GRUCell, .*LSTMCell.* got NoCell"),
    (
        ["fit", "--model.cell=nomodule.Cell"],
        2,
        r"--model\.cell nomodule\.Cell: can't import nomodule: .*No module named",
    ),
    (["fit", "--model.cell=mycells.NoCell"], 2, r"--model\.cell: expected .* got mycells\.NoCell"),
    (["fit", "--model.cell.hidden_size=big"], 2, r"--model\.cell\.hidden_size: expected int, got big"),
    (["fit", "--model.cell.hidden_size=1.5"], 2, r"--model\.cell\.hidden_size: expected int, got 1\.5"),
    (["fit", "--model.cell.hidden_size=-3"], 2, r"hidden_size must be at least 1, got -3"),
    (["fit", "--model.cell.hiden_size=3"], 2, r"--model\.cell\.hiden_size: there is no such argument"),
    (["fit", "--model.lerning_rate=3"], 2, r"--model\.lerning_rate: there is no such argument"),
    (["fit", "--model.learning_rate=-1"], 2, r"learning_rate must be greater than 0 and finite, got -1"),
    (["fit", "--model.dropout=1"], 2, r"dropout must be at least 0 and less than 1, got 1"),
    (["fit", "--model.num_layers=0"], 2, r"num_layers must be at least 1, got 0"),
    (["fit", "--model.readout=first"], 2, r"--model\.readout: expected one of last, mean, max; got first"),
    (
        ["fit", "--model.cell=ElmanCell", "--model.backend=torc"],
        2,
        r"expected one of auto, eager, torch, kernel; got torc",
    ),
    (["fit", "--data.task=NoTask"], 2, r"--data\.task: expected Adding, .*Parity, .*SumSign.* got NoTask"),
    (["fit", "--data.task.max_length=0"], 2, r"max_length must be at least 1, got 0"),
    (["fit", "--data.task=Parity", "--data.task.max_length=1"], 2, r"max_length must be at least min_length \(2\)"),
    (["fit", "--data.num_train=0"], 2, r"num_train must be at least 1, got 0"),
    (["fit", "--data.batch_size=0"], 2, r"batch_size must be at least 1, got 0"),
    (["fit", "--config=missing.yaml"], 2, r"--config: .*missing\.yaml"),
    (["fit", "--trainer.max_epochs=many"], 2, r"--trainer\.max_epochs: expected int, got many"),
    (["fit", "--device=tpu"], 2, r"--device: expected one of auto, cpu, gpu; got tpu"),
    (["fit", "--device=cpu", "--trainer.accelerator=gpu"], 2, r"--device cpu contradicts --trainer\.accelerator gpu"),
    (["fit", "--import=nomodule"], 2, r"--import nomodule: .*No module named 'nomodule'"),
    (["fit", "--num_threads=0"], 2, r"num_threads must be at least 1, got 0"),
    (["fit", "--ckpt_path=missing.ckpt"], 2, r"no checkpoint at missing\.ckpt"),
    (["fit", "--model.input_size=3"], 2, r"--model\.input_size follows from the data"),
    (["fit", "--model.class_weights=[1,2]"], 2, r"--model\.class_weights follows .* with --data\.class_weights"),
    (["fit", "--trainer.gradient_clip_val=-1"], 2, r"gradient_clip_val must be at least 0, got -1"),
    (["fit", "--trainer.accumulate_grad_batches=0"], 2, r"accumulate_grad_batches"),
    (["fit", "--trainer.val_check_interval=100"], 2, r"Lightning refuses these settings: .*val_check_interval"),
    (["fit", "--seed_everything=-1"], 2, r"-1"),
    (["fit", "--ckpt_path=last"], 2, r"there is no unfinished run of this configuration"),
    (["test"], 2, r"seqlight test needs .*--ckpt_path"),
    (["test", "--ckpt_path=missing.ckpt"], 2, r"no checkpoint at missing\.ckpt"),
    (["test", "--ckpt_path=https://localhost/x.ckpt"], 2, r"not a URL"),
    (["predict", "--ckpt_path=mycells.py"], 3, r"mycells\.py is no checkpoint"),
    (["validate", "--ckpt_path=weights.pt"], 3, r"weights\.pt .*no checkpoint of a seqlight model"),
]


@pytest.mark.parametrize(
    ("arguments", "status", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_gets_a_few_clear_lines(arguments, status, message):
    torch.save({"weight": torch.zeros(2)}, "weights.pt")
    got, _, err = seqlight_run(*arguments)
    assert got == status, err
    lines = err.splitlines()
    assert 1 <= len(lines) <= 5
    assert "Traceback" not in err
    assert re.search(message, err, re.DOTALL), err
    assert not list(Path().rglob("*.ckpt"))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("flag", ["--device", "--trainer.accelerator"])
def test_a_gpu_where_there_is_none_is_one_line(flag):
    status, _, err = seqlight_run("fit", f"{flag}=gpu")
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "gpu" in err.lower()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_failing_run_leaves_earlier_checkpoints_as_they_were():
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
    assert Path("steps").read_text() == "13"  # it had begun
    assert {path.name: path.read_bytes() for path in Path("kept").iterdir()} == before
    forget("failing")


def test_version_and_help_do_not_import_torch():
    for flag in ("--version", "--help"):
        program = f"import sys; sys.argv = ['seqlight', '{flag}']\nfrom seqlight.__main__ import main\nstatus = main()"
        result = python("-c", f"{program}\nassert 'torch' not in sys.modules and status == 0")
        assert "seqlight" in result.stdout


def test_threads_suit_the_model_and_never_exceed_the_users(monkeypatch):
    from functools import partial

    from seqlight.cli.threads import choose_num_threads

    small = seqlight.SequenceClassifier(partial(seqlight.LSTMCell, hidden_size=32), input_size=1)
    large = seqlight.SequenceClassifier(partial(seqlight.LSTMCell, hidden_size=1024), input_size=1)
    for limit in (1, 2, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda limit=limit: limit)
        assert choose_num_threads(small, 32) == 1
        assert choose_num_threads(large, 256) == limit
