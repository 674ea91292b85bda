"""How long `seqlight fit` trains: the budget that the user names replaces the default number of epochs."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.commands import QUIET, run
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("user_folder")
FLAGS = ("--data.num_train=16", "--data.batch_size=8", "--data.num_val=4", "--data.num_test=4", "--device=cpu", *QUIET)


@pytest.mark.parametrize("source", ["flags", "configuration"])
@pytest.mark.parametrize(
    ("budget", "max_epochs"),
    [
        ({}, 10),
        ({"max_steps": 25}, -1),
        ({"max_steps": -1}, 10),
        ({"max_epochs": 4, "max_steps": 5}, 4),
        ({"max_time": "00:01:00:00"}, -1),
        ({"max_time": "00:01:00:00", "max_epochs": 3}, 3),
        ({"min_epochs": 11}, 11),
        ({"min_epochs": 3}, 10),
    ],
)
def test_named_budget_replaces_the_default_epochs(budget, max_epochs, source):
    flags = [f"--trainer.{name}={value}" for name, value in budget.items()]
    if source == "configuration":
        Path("run.yaml").write_text(yaml.safe_dump({"trainer": budget}))
        flags = ["--config=run.yaml"]
    printed = yaml.safe_load(run("fit", *flags, "--print_config"))["trainer"]
    assert printed["max_epochs"] == max_epochs
    assert {name: printed[name] for name in budget} == budget


@pytest.mark.parametrize(
    ("budget", "steps"), [({"max_steps": 25}, 25), ({"max_epochs": 2, "max_steps": 25}, 4), ({"min_epochs": 11}, 22)]
)
def test_training_ends_with_the_budget(budget, steps):
    flags = [f"--trainer.{name}={value}" for name, value in budget.items()]
    out = run("fit", *FLAGS, *flags, "--model.cell.hidden_size=2")
    [folder] = Path("runs").glob("*/version_0")
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == steps
    assert checkpoint["lr_schedulers"][0]["_last_lr"] == [pytest.approx(0, abs=1e-12)]
    assert ("the run ended after 2 epochs, at step 4 of 25" in out) == (steps == 4)


def test_budget_in_time_replaces_the_default_epochs():
    limits = ["--trainer.max_time=00:00:00:02", "--model.cell.hidden_size=2"]
    status, _, err = seqlight_run("fit", *FLAGS, *limits)
    assert status == 2
    assert err.endswith("set the Trainer's max_epochs or max_steps, or --model.lr_schedule constant\n")
    assert not list(Path("runs").glob("*/*"))
    config = yaml.safe_load(run("fit", *limits, "--model.lr_schedule=constant", "--print_config"))
    assert config["trainer"]["max_epochs"] == -1
    run("fit", *FLAGS, *limits, "--trainer.max_epochs=1")
