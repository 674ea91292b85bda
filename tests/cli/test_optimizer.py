"""`--optimizer`, which stands for `--model.optimizer`."""

from pathlib import Path

import pytest
import torch
import yaml

import seqlight
from tests.cli.commands import fit, run
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("user_folder")

OWN = """
import torch


class Signs(torch.optim.Optimizer):
    def __init__(self, params, rate, weight_decay: float = 0.0):
        super().__init__(params, {"lr": rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for each in group["params"]:
                each.sub_(each.grad.sign(), alpha=group["lr"])
        return loss
"""


def groups(path):
    [state] = torch.load(path, weights_only=True)["optimizer_states"]
    return state["param_groups"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--optimizer=AdamW", "--optimizer.weight_decay=0.25"),
        ("--optimizer", "adamw", "--model.optimizer.weight_decay", "0.25"),
        ("--optimizer.weight_decay", "0.25", "--optimizer", "Adamw"),
        ("--model.init_args.optimizer.class_path=torch.optim.AdamW", "--optimizer.weight_decay=0.25"),
    ],
    ids=" ".join,
)
def test_optimizer_of_the_flags_is_used(flags):
    path = fit(*flags, "--model.warmup_steps=2")
    decayed, others = groups(path)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.25, 0)
    assert decayed["fused"]
    described = torch.load(path, weights_only=True)["seqlight"]
    expected = {"class_path": "torch.optim.AdamW", "init_args": {"betas": [0.9, 0.999], "eps": 1e-8}}
    expected["init_args"]["weight_decay"] = 0.25
    assert described["schedule"]["optimizer"] == described["model"]["init_args"]["optimizer"] == expected
    assert described["schedule"]["warmup_steps"] == 2
    assert seqlight.load(path).optimizer_class is torch.optim.AdamW


def test_run_with_an_optimizer_is_used_like_any_other():
    path = fit("--optimizer=AdamW", "--optimizer.weight_decay=0.25", "--model.warmup_steps=2")
    run("test", f"--ckpt_path={path}", "--device=cpu", "--trainer.enable_progress_bar=false")
    run("predict", f"--ckpt_path={path}", "--device=cpu", "--trainer.enable_progress_bar=false")
    # Its config.yaml trains the same.
    config = Path(path).parents[1] / "config.yaml"
    again = fit(f"--config={config}", "--fresh")
    torch.testing.assert_close(seqlight.load(again).state_dict(), seqlight.load(path).state_dict(), rtol=0, atol=0)
    # Another training continues it with another optimizer.
    sizes = ("--trainer.enable_progress_bar=false", "--figures.every_n_epochs=0", "--device=cpu")
    flags = ("--trainer.max_epochs=2", "--optimizer.weight_decay=0.5", *sizes)
    status, _, err = seqlight_run("fit", f"--ckpt_path={path}", *flags)
    assert status == 0, err
    assert "model.optimizer.weight_decay 0.5 (was 0.25)" in err
    assert "eps" not in err
    assert "betas" not in err
    [last] = Path("runs").glob("*/version_2/checkpoints/last.ckpt")
    assert [group["weight_decay"] for group in groups(last)] == [0.5, 0]


def test_default_is_adam_without_weight_decay():
    [group] = groups(path := fit())
    expected = torch.optim.Adam([torch.zeros(1)], fused=True).state_dict()["param_groups"][0]
    ignored = {"lr", "initial_lr", "params"}
    assert {name: value for name, value in group.items() if name not in ignored} == {
        name: value for name, value in expected.items() if name not in ignored
    }
    config = yaml.safe_load((Path(path).parents[1] / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.Adam"


def test_own_optimizer():
    Path("mycells.py").write_text(Path("mycells.py").read_text() + OWN)
    path = fit("--optimizer=mycells.Signs", "--optimizer.weight_decay=0.5")
    assert [group["weight_decay"] for group in groups(path)] == [0.5, 0]
    assert seqlight.load(path).optimizer_class.__name__ == "Signs"
    # A change of its module is another training.
    unfinished = Path(path).parents[1] / "run.json"
    assert '"mycells.py"' in unfinished.read_text()
