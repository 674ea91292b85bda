"""Test, validate, predict and further training with the checkpoint of a short run."""

import csv
import io
import re
from pathlib import Path

import matplotlib.image
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlight
from tests.cli.commands import QUIET, SMALL, fit, forget, run
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("user_folder")
TEST_METRICS = {"test/loss", "test/accuracy", "test/auroc", "test/f1", "test/calibration_error"}


def test_commands_rebuild_model_and_data_without_flags():
    path = fit("--model.cell=GRUCell", "--model.cell.hidden_size=6", "--data.task=Parity", "--data.task.max_length=7")
    model = seqlight.load(path)
    data = seqlight.SyntheticSequences(seqlight.Parity(max_length=7), num_test=40, num_val=48)
    for verb, split in (("test", "test"), ("validate", "val")):
        out = run(verb, "--ckpt_path", path, *QUIET, "--device=cpu")
        batch = data.split(split)
        accuracy = ((model.probabilities(batch.inputs, batch.lengths) > 0.5) == batch.targets.bool()).float().mean()
        [row] = [line.split() for line in out.splitlines() if line.startswith(split)]
        assert float(row[2]) == pytest.approx(accuracy.item(), abs=5e-5)


def test_flags_override_the_checkpoint(trained):
    run("predict", "--ckpt_path", trained, "--data.num_test=7", *QUIET, "--device=cpu")
    assert len(Path("predictions.csv").read_text().splitlines()) == 1 + 7


def test_model_is_tested_on_other_lengths(monkeypatch):
    tested = []
    test_step = seqlight.SequenceClassifier.test_step

    def record(self, batch, batch_index):
        tested.extend(batch.lengths.tolist())
        return test_step(self, batch, batch_index)

    monkeypatch.setattr(seqlight.SequenceClassifier, "test_step", record)
    path = fit("--data.task=Parity", "--data.task.max_length=6", "--data.test_lengths=7:9", "--data.num_test=40")
    for flags, expected in (((), {7, 8, 9}), (("--data.test_lengths=12",), {12})):
        run("test", *QUIET, f"--ckpt_path={path}", *flags)
        assert set(tested) == expected
        tested.clear()


def test_test_prints_and_logs_accuracy_by_length():
    path = fit("--data.task=Parity", "--data.task.max_length=30", "--data.num_test=200")
    out = run("test", "--ckpt_path", path, *QUIET, "--device=cpu")
    model = seqlight.load(path)
    batch = seqlight.SyntheticSequences(seqlight.Parity(max_length=30), num_test=200).split("test")
    right = (model.probabilities(batch.inputs, batch.lengths) > 0.5) == batch.targets.bool()
    table = out.partition("length ")[2].splitlines()[1:]
    events = EventAccumulator(str(Path(path).parents[1] / "test")).Reload()
    assert set(events.Tags()["scalars"]) == {*TEST_METRICS, "test/accuracy_by_length"}
    curve = events.Scalars("test/accuracy_by_length")
    assert 1 < len(table) == len(curve) <= 8
    for (lengths, num_sequences, accuracy), point in zip(map(str.split, table), curve, strict=True):
        low, _, high = lengths.partition("-")
        high = high or low
        within = (batch.lengths >= int(low)) & (batch.lengths <= int(high))
        assert int(num_sequences) == within.sum()
        expected = right[within].float().mean().item()
        assert float(accuracy) == pytest.approx(expected, abs=5e-5)
        assert point.step == (int(low) + int(high)) // 2
        assert point.value == pytest.approx(expected)
    assert sum(int(line.split()[1]) for line in table) == 200
    [image] = events.Images("test_figures/accuracy_by_length")
    assert events.Tags()["images"] == ["test_figures/accuracy_by_length"]  # the others are turned off
    assert matplotlib.image.imread(io.BytesIO(image.encoded_image_string), format="png").std() > 0.05


def test_accuracy_by_length_is_left_out_if_lengths_are_equal(trained):
    out = run("test", "--ckpt_path", trained, *QUIET, "--device=cpu")
    assert "sequences" not in out  # the header of the table
    tags = EventAccumulator(str(Path(trained).parents[1] / "test")).Reload().Tags()
    assert set(tags["scalars"]) == TEST_METRICS
    assert not tags["images"]


@pytest.mark.parametrize(("verb", "split"), [("test", "test"), ("validate", "val")])
def test_results_are_drawn_at_the_step_of_the_checkpoint(verb, split, trained):
    for folder in (verb, f"{verb}_2"):
        run(verb, "--ckpt_path", trained, *QUIET, "--device=cpu")
        events = EventAccumulator(str(Path(trained).parents[1] / folder)).Reload()
        steps = {tag: [point.step for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        step = torch.load(trained, weights_only=True)["global_step"]
        assert step > 0
        assert steps == {f"{split}/{name}": [step] for name in ("loss", "accuracy", "auroc", "f1", "calibration_error")}


def test_test_draws_confusion_matrix_and_roc(trained):
    run("test", "--ckpt_path", trained, QUIET[0], "--device=cpu")
    events = EventAccumulator(str(Path(trained).parents[1] / "test")).Reload()
    assert set(events.Tags()["images"]) == {
        f"test_figures/{name}" for name in ("confusion_matrix", "roc", "reliability")
    }
    for tag in events.Tags()["images"]:
        [image] = events.Images(tag)
        assert image.step == torch.load(trained, weights_only=True)["global_step"]


def test_results_of_a_test_do_not_hide_the_training_curves(trained):
    version = Path(trained).parents[1]
    before = {file: file.read_bytes() for file in version.rglob("*") if file.is_file()}
    for verb in ("validate", "test"):
        run(verb, "--ckpt_path", trained, *QUIET, "--device=cpu")
        assert list((version / verb).glob("events.out*"))
    assert {file: file.read_bytes() for file in before} == before
    assert not [file for file in version.glob("events*") if file not in before]


def test_predict_writes_probabilities_of_the_test_split(trained):
    out = run("predict", "--ckpt_path", trained, "--output=out/p.csv", *QUIET, "--device=cpu")
    assert out.splitlines()[-1] == "out/p.csv"
    with open("out/p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    batch = seqlight.SyntheticSequences(seqlight.SumSign(), num_test=40).split("test")
    expected = seqlight.load(trained).probabilities(batch.inputs)
    assert [int(row["id"]) for row in rows] == list(range(40))
    torch.testing.assert_close(torch.tensor([float(row["probability_1"]) for row in rows]), expected, atol=1e-6, rtol=0)
    assert [int(row["prediction"]) for row in rows] == (expected > 0.5).int().tolist()
    assert [int(row["label"]) for row in rows] == batch.targets.int().tolist()
    assert [entry.name for entry in Path("out").iterdir()] == ["p.csv"]


def test_unwritable_predictions_are_reported_in_one_line(trained):
    status, _, err = seqlight_run("predict", "--ckpt_path", trained, "--output=mycells.py/p.csv", "--device=cpu")
    assert status == 5
    assert re.fullmatch(r"seqlight: error: can't write predictions to mycells\.py/p\.csv: .+\n", err)


def test_training_continues_from_a_checkpoint(trained):
    path = str(Path(trained).with_name("last.ckpt"))
    run("fit", *QUIET, "--device=cpu", "--ckpt_path", path, "--trainer.max_epochs=3")
    [second] = Path("runs/SumSign-LSTMCell/version_1/checkpoints").glob("last.ckpt")
    assert torch.load(path, weights_only=True)["global_step"] == 2
    assert torch.load(second, weights_only=True)["global_step"] == 6


def test_new_learning_rate_holds_for_the_rest_of_the_run(trained):
    last = Path(trained).with_name("last.ckpt")
    flags = ("--trainer.max_epochs=2", "--model.learning_rate=0.25", *QUIET, "--device=cpu")
    run("fit", "--ckpt_path", str(last), *flags)
    [end] = Path("runs").glob("*/version_1/checkpoints/last.ckpt")
    assert torch.load(end, weights_only=True)["lr_schedulers"][0]["base_lrs"] == [0.25]
    assert torch.load(end, weights_only=True)["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 0.25


def test_training_with_no_epoch_left_is_refused(trained):
    last = Path(trained).with_name("last.ckpt")
    status, _, err = seqlight_run("fit", "--ckpt_path", str(last), *SMALL, *QUIET, "--device=cpu")
    assert status == 2
    assert "has been trained for 1 epochs: expected --trainer.max_epochs above that, got 1" in err
    status, _, err = seqlight_run(
        *("fit", "--ckpt_path", str(last), *SMALL, *QUIET, "--device=cpu", "--trainer.max_epochs=2"),
        "--trainer.max_steps=1",
    )
    assert status == 2
    assert re.search(r"has been trained for \d+ steps: expected --trainer.max_steps above that, got 1\n", err)


def test_a_checkpoint_without_a_metric_is_not_called_the_best():
    out = run("fit", *SMALL, *QUIET, "--checkpoint.monitor=null")
    assert re.search(r"^last checkpoint  \S+best.ckpt$", out, re.MULTILINE)
    assert "best checkpoint" not in out


def test_continuing_within_an_epoch_needs_the_same_batch_size():
    path = fit("--checkpoint.every_n_train_steps=2", "--checkpoint.monitor=null", "--data.num_train=96")
    status, _, err = seqlight_run("fit", *QUIET, "--device=cpu", f"--ckpt_path={path}", "--data.batch_size=16")
    assert status == 2
    assert "batch_size must be 32" in err


def test_checkpoint_without_data_needs_a_flag(trained):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["seqlight"]["data"] = None
    seqlight.SealedCheckpointIO().save_checkpoint(checkpoint, "no_data.ckpt")
    arguments = ("test", "--ckpt_path=no_data.ckpt", *QUIET, "--device=cpu")
    status, _, err = seqlight_run(*arguments)
    assert status == 2
    assert "--data.task" in err
    run(*arguments, "--data.task=SumSign")


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
def test_checkpoint_without_its_parts_is_refused(damage, trained):
    checkpoint = torch.load(trained, weights_only=True)
    damage(checkpoint)
    seqlight.SealedCheckpointIO().save_checkpoint(checkpoint, "damaged.ckpt")
    status, _, err = seqlight_run("test", "--ckpt_path=damaged.ckpt", *QUIET)
    assert status == 3
    assert "damaged.ckpt is not a complete seqlight checkpoint" in err
    with pytest.raises(seqlight.CheckpointError):
        seqlight.load("damaged.ckpt")


@pytest.mark.parametrize(
    "value", ["mycells.LeakyCell", {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "popped"]}}]
)
@pytest.mark.parametrize("argument", ["cell", "learning_rate"])
def test_hostile_checkpoint_is_refused(value, argument, trained):
    checkpoint = torch.load(trained, weights_only=True)
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


def test_checkpoint_imports_only_modules_that_the_user_names():
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
    run("test", "--ckpt_path", path, "--import", "mycells", *QUIET, "--device=cpu")


def test_results_that_are_not_finite_are_an_error(trained):
    flags = ("--ckpt_path", trained, "--data.num_val=16", "--data.num_test=16", "--trainer.enable_progress_bar=false")
    flags = (*flags, "--import=tests.cli.spoilt", "--data.task=tests.cli.spoilt.Spoilt")
    for command, split in (("validate", "val"), ("test", "test")):
        status, out, err = seqlight_run(command, *flags)
        assert status == 4, err
        assert f"\n{split}  " in out  # the table
        assert f"seqlight: error: {split}/loss is nan" in err
        assert err.count("\n") <= 5
    status, out, err = seqlight_run("predict", *flags)
    assert status == 4, err
    assert "seqlight: error: the probabilities of these samples are not finite: 3, 7\n" in err
    assert "predictions.csv was not written" in err
    assert not Path("predictions.csv").exists()
    assert "predictions.csv" not in out
