"""The thresholds and the temperature that commands report, and flags that change them."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.cli.commands import QUIET, fit, run
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("command_line_state")
LEARNED = ("--model.threshold=f1", "--model.temperature_scaling=true")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a model that has learned both, and one that has learned neither."""
    folder = tmp_path_factory.mktemp("thresholds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit("--name=learned", *LEARNED)
        fit("--name=plain")
    return folder


@pytest.fixture(autouse=True)
def _in_folder(trained, monkeypatch):
    monkeypatch.chdir(trained)


def printed(text):
    """The temperature and threshold in a command's output."""
    return {name: float(value) for name, value in re.findall(r"^(temperature|threshold) ([\d.]+)", text, re.MULTILINE)}


def stored(name):
    checkpoint = torch.load(f"runs/{name}/version_0/checkpoints/last.ckpt", weights_only=True)
    return {key.partition(".")[2]: value for key, value in checkpoint["state_dict"].items() if "calibration" in key}


def test_test_says_what_it_uses():
    out = run("test", "--ckpt_path=runs/learned", "--device=cpu", *QUIET)
    assert re.search(r"^expected calibration error 0\.\d{4}$", out, re.MULTILINE)
    assert re.search(r"^temperature \d\.\d{4}: lowest log loss on validation \(48 sequences\)$", out, re.MULTILINE)
    assert re.search(r"^threshold 0\.\d{4}: best f1 on validation \(48 sequences\)$", out, re.MULTILINE)
    saved = stored("learned")
    expected = {"temperature": saved["temperature"].item(), "threshold": saved["f1_threshold"].item()}
    assert printed(out) == pytest.approx(expected, abs=5e-5)


def test_model_without_them_says_the_error_only():
    out = run("test", "--ckpt_path=runs/plain", "--device=cpu", *QUIET)
    assert "expected calibration error" in out
    assert printed(out) == stored("plain") == {}


@pytest.mark.parametrize("name", ["plain", "learned"])
@pytest.mark.parametrize("command", ["test", "predict"])
def test_flags_choose_them_for_a_trained_model(name, command):
    """The same training with other flags has the same weights, so that validation gives what the training gave."""
    flags = [*LEARNED] if name == "plain" else ["--model.threshold=balanced_accuracy"]
    out = run(command, f"--ckpt_path=runs/{name}", *flags, "--device=cpu", *(QUIET if command == "test" else QUIET[:1]))
    found = printed(out)
    assert found["temperature"] == pytest.approx(stored("learned")["temperature"].item(), abs=5e-5)
    if name == "plain":
        assert found["threshold"] == pytest.approx(stored("learned")["f1_threshold"].item(), abs=5e-5)
    else:
        assert "best balanced_accuracy on validation (48 sequences)" in out


def test_a_number_keeps_no_temperature_without_its_threshold():
    """A checkpoint's values belong together: with another threshold, validation gives the temperature again."""
    both = [
        run("test", "--ckpt_path=runs/learned", *flags, "--device=cpu", *QUIET)
        for flags in ((), ("--model.threshold=0.25",))
    ]
    first, second = map(printed, both)
    assert (second["threshold"], second["temperature"]) == (0.25, first["temperature"])


def test_predictions_are_at_the_threshold():
    run("predict", "--ckpt_path=runs/learned", "--output=p.csv", "--device=cpu", *QUIET[:1])
    table = pd.read_csv("p.csv")
    threshold = stored("learned")["f1_threshold"].item()
    assert (table.prediction == (table.probability_1 > threshold)).all()


def test_each_label_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("a.npz", inputs=rng.normal(size=(60, 4, 2)), targets=rng.integers(0, 2, (60, 2)))
    quick = ("--trainer.max_epochs=1", "--device=cpu", *QUIET)
    run("fit", "--data=SequenceFiles", "--data.train=a.npz", "--model.threshold=f1", "--name=a", *quick)
    out = run("test", "--ckpt_path=runs/a", "--data.test=a.npz", *quick[1:])
    assert re.search(r"^threshold 0 0\.\d{4}, 1 0\.\d{4}: best f1 on validation \(12 sequences\)$", out, re.MULTILINE)
    assert not list(Path().glob("lightning_logs"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model.threshold=2"], "--model.threshold must be greater than 0 and less than 1, got 2"),
        (["--model.threshold=recall"], "--model.threshold"),
        (
            ["--model.threshold=f1", "--data.task=DelayedRecall"],
            "--model.threshold must be 0.5 for a multiclass target, got",
        ),
        (
            ["--model.threshold=f1", "--trainer.limit_val_batches=0"],
            "--model.threshold f1 needs validation sequences, but this training has none",
        ),
    ],
)
def test_wrong_flags(flags, message):
    status, _, err = seqlight_run("fit", *flags, "--name=wrong", "--device=cpu", *QUIET)
    assert status == 2
    assert message in err
