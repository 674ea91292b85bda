"""Messages and exit statuses for wrong usage."""

import re
from pathlib import Path

import pytest
import torch

from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("user_folder")

WRONG = [
    (["fit", "--modle=3"], 2, r"--modle: there is no such argument; did you mean --model\?"),
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
    (["fit", "--optimizer=nosuch"], 2, r"--model\.optimizer: expected ASGD, .*AdamW, .*SGD, or your own .* got nosuch"),
    (["fit", "--optimizer", "adamv"], 2, r"--model\.optimizer: there is no Optimizer adamv; did you mean Adam"),
    (["fit", "--optimizer", "LBFGS"], 2, r"--model\.optimizer must be .*LBFGS can't: it calls a closure"),
    (["fit", "--model.optimizer=sparseadam"], 2, r"--model\.optimizer must be .*SparseAdam can't: .* sparse gradients"),
    (["fit", "--optimizer=torch.nn.Linear"], 2, r"--model\.optimizer: expected .* got torch\.nn\.Linear"),
    (
        ["fit", "--optimizer=AdamW", "--optimizer.weightdecay", "1"],
        2,
        r"--model\.optimizer\.weightdecay: .*did you mean --model\.optimizer\.weight_decay",
    ),
    (["fit", "--optimizer.lr=1"], 2, r"--model\.optimizer\.lr: there is no such argument; use --model\.learning_rate"),
    (
        ["fit", "--optimizer.weight_decay=-1"],
        2,
        r"--model\.optimizer must be .*Adam\(weight_decay=-1.0\) can't: Invalid weight_decay value",
    ),
    (["fit", "--optimizer.weight_decay=much"], 2, r"--model\.optimizer\.weight_decay: expected .*float.* got much"),
    (["fit", "--model.warmup_steps=-1"], 2, r"--model\.warmup_steps must be at least 0, got -1"),
    (["fit", "--model.warmup_steps=1.5"], 2, r"--model\.warmup_steps: expected int, got 1\.5"),
    (["fit", "--model.warmup_steps=321"], 2, r"--model\.warmup_steps 321 is longer than the run, which has 320 steps"),
    (
        ["fit", "--optimizer.betas=0.9"],
        2,
        r"--model\.optimizer\.betas: expected a list such as \[0\.9, 0\.99\], got 0\.9",
    ),
    (["fit", "--seed=abc"], 2, r"--seed: expected bool or int, got abc"),
    (["fit", "--name=../away"], 2, r"--name: expected the name of a folder in runs/, got '\.\./away'"),
    (["fit", "--optimizer.betas=[0.9]"], 2, r"--model\.optimizer\.betas: expected a list of 2 values, got \[0\.9\]"),
    (["fit", "--optimizer.betas=[a,b]"], 2, r"--model\.optimizer\.betas: expected float, got \['a', 'b'\]"),
    (
        ["fit", "--optimizer=SGD", "--optimizer.betas=[0.9,0.99]"],
        2,
        r"--model\.optimizer\.betas: SGD has no such argument; see `seqlight fit --model\.optimizer\.help SGD`",
    ),
    (
        ["fit", "--model.readout=first"],
        2,
        r"--model\.readout: expected one of last, mean, max, last_mean_max; got first",
    ),
    (
        ["fit", "--model.cell=ElmanCell", "--model.backend=torc"],
        2,
        r"expected one of auto, eager, torch, kernel; got torc",
    ),
    (
        ["fit", "--data.task=NoTask"],
        2,
        r"--data\.task: .*NoTask.*Parity, .*SumSign|--data\.task: .*Parity, .*SumSign.*NoTask",
    ),
    (["fit", "--data.task.max_length=0"], 2, r"max_length must be at least 1, got 0"),
    (["fit", "--data.task=Parity", "--data.task.max_length=1"], 2, r"max_length must be at least min_length \(2\)"),
    (["fit", "--data.num_train=0"], 2, r"num_train must be at least 1, got 0"),
    (["fit", "--data.batch_size=0"], 2, r"batch_size must be at least 1, got 0"),
    (["fit", "--config=missing.yaml"], 2, r"--config: .*missing\.yaml"),
    (["fit", "--trainer.max_epochs=many"], 2, r"--trainer\.max_epochs: expected int, got many"),
    (["fit", "--device=tpu"], 2, r"--device: expected one of auto, cpu, gpu, cuda, cuda:1, mps; got tpu"),
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
    (["predict", "--ckpt_path=mycells.py"], 3, r"mycells\.py is not a seqlight checkpoint"),
    (["validate", "--ckpt_path=weights.pt"], 3, r"weights\.pt .*not a checkpoint of a seqlight model"),
]


@pytest.mark.parametrize(
    ("arguments", "status", "message"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_input_gets_a_short_message(arguments, status, message):
    torch.save({"weight": torch.zeros(2)}, "weights.pt")
    got, _, err = seqlight_run(*arguments)
    assert got == status, err
    lines = err.splitlines()
    assert 1 <= len(lines) <= 5
    assert "Traceback" not in err
    assert re.search(message, err, re.DOTALL), err
    assert not list(Path().rglob("*.ckpt"))


def test_ckpt_path_in_a_configuration_file_is_refused():
    Path("run.yaml").write_text("ckpt_path: some.ckpt\n")
    status, _, err = seqlight_run("test", "--config=run.yaml")
    assert status == 2
    assert "--ckpt_path on the command line" in err


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is another accelerator")
@pytest.mark.parametrize("flag", ["--device", "--trainer.accelerator"])
def test_missing_gpu_is_reported_in_one_line(flag):
    status, _, err = seqlight_run("fit", f"{flag}=gpu")
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "gpu" in err.lower()
