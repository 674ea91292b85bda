"""A run that is killed continues as if it had not been interrupted."""

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from tests.plain_data import assert_same
from tests.small_training import COMMAND, STEPS, result, train, uninterrupted_result

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The result of the run without interruption, by its flags."""
    results = {}

    def run(*flags, command=COMMAND):
        if flags not in results:
            results[flags] = uninterrupted_result(tmp_path_factory.mktemp("whole"), *flags, command=command)
        return results[flags]

    return run


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """The folder and the output of a run that is killed at a place and continues, by the place."""
    runs = {}

    def run(place):
        if place not in runs:
            folder = tmp_path_factory.mktemp("killed")
            assert train(folder, events=f"SIGKILL@{place}")[0] == -signal.SIGKILL
            status, out, err = train(folder, events=f"SIGKILL@{place}")
            assert (status, err) == (0, "")
            runs[place] = folder, out
        return runs[place]

    return run


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of a run that is killed after its fifth step; tests work on copies."""
    folder = tmp_path_factory.mktemp("killed")
    assert train(folder, events="SIGKILL@end5")[0] == -signal.SIGKILL
    return folder


# The checkpoint of a step is written after its batch; at the end of an epoch, after the validation.
PLACES = [("start0", None), ("end1", None), ("end6", 5), ("start6", 6), ("val6", 5), ("start10", 10), ("epoch18", 17)]
EVERYWHERE = [(f"{name}{step}", None) for name in ("start", "end") for step in range(1, STEPS)]


@pytest.mark.parametrize(
    ("place", "step"), [*PLACES, *(pytest.param(*each, marks=pytest.mark.long) for each in EVERYWHERE)]
)
def test_killed_run_continues_exactly(place, step, uninterrupted, continued):
    folder, out = continued(place)
    if (place, step) in PLACES:
        message = "starts again" if step is None else f"continues from step {step}; --fresh starts a new run"
        assert message in out.splitlines()[0]
    assert_same(result(folder), uninterrupted())
    assert not list(folder.rglob("*.part"))


def test_every_sample_is_seen_once_per_epoch_across_a_kill(continued):
    folder, _ = continued("start10")
    last = {}  # the samples of each step; a step after the last checkpoint is taken twice
    for line in (folder / "seen.txt").read_text().splitlines():
        epoch, step, *samples = line.split()
        last[int(epoch), int(step)] = samples
    for epoch in range(3):
        samples = [sample for (at, _), seen in last.items() if at == epoch for sample in seen]
        assert len(samples) == len(set(samples)) == 96
    assert sorted(step for _, step in last) == list(range(18))


def test_random_cell_continues_exactly_after_three_kills_with_other_threads(uninterrupted, tmp_path):
    flags = ("--model.cell=events.Noisy", "--model.cell.hidden_size=8")
    kills = "SIGKILL@end3 SIGKILL@val6 SIGKILL@start13"
    for number in range(3):
        status, _, _ = train(tmp_path, *flags, f"--num_threads={number % 2 + 1}", events=kills)
        assert status == -signal.SIGKILL
    status, _, err = train(tmp_path, *flags, events=kills)
    assert status == 0, err
    assert_same(result(tmp_path), uninterrupted(*flags))


@pytest.mark.parametrize(
    "flags",
    [
        ("--trainer.accumulate_grad_batches=2", "--trainer.val_check_interval=0.5"),
        ("--trainer.val_check_interval=1", "--trainer.max_steps=8"),
        ("--resume.every_n_steps=3", "--trainer.val_check_interval=3"),
        ("--trainer.check_val_every_n_epoch=2", "--trainer.precision=bf16-mixed", "--checkpoint.save_top_k=2"),
        ("--trainer.logger=false", "--trainer.max_steps=15", "--trainer.max_epochs=-1"),
        ("--trainer.precision=64-true",),
        ("--optimizer=adamw", "--optimizer.weight_decay=0.1", "--model.warmup_steps=8"),
        ("--model=events.Averaged", "--model.non_finite=skip"),
        ("--model=events.Averaged",),
    ],
    ids=lambda flags: flags[0].removeprefix("--"),
)
def test_killed_run_continues_exactly_with_other_settings(flags, uninterrupted, tmp_path):
    own_model = flags[0].startswith("--model=")  # it sets its layers and dropout itself
    command = tuple(flag for flag in COMMAND if not (own_model and flag.startswith("--model.")))
    kills = "SIGKILL@start3 SIGKILL@start6 SIGKILL@epoch12"
    for _ in range(3):
        status, _, err = train(tmp_path, *flags, events=kills, command=command)
        if status == 0:
            break  # a run of fewer steps
        assert status == -signal.SIGKILL, err
    else:
        status, _, err = train(tmp_path, *flags, events=kills, command=command)
    assert status == 0, err
    assert_same(result(tmp_path), uninterrupted(*flags, command=command))


def test_early_stopping_continues_after_signals(tmp_path):
    stopping = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}}
    stopping["init_args"] |= {"patience": 1, "min_delta": 10.0}
    flags = (f"--trainer.callbacks+={json.dumps(stopping)}", "--trainer.max_epochs=9")
    status, _, err = train(tmp_path, *flags, events="SIGTERM@start10")  # it stops after this epoch, the second
    assert status == 128 + signal.SIGTERM
    assert "saved at step 11" in err
    assert train(tmp_path, *flags, events="SIGTERM@val12")[0] == 128 + signal.SIGTERM
    status, _, err = train(tmp_path, *flags)
    assert (status, err) == (0, "")
    [version] = tmp_path.glob("runs/*/version_*")
    assert torch.load(version / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 12


def test_checkpoints_are_saved_by_time_by_default(tmp_path):
    """Within an epoch if the seconds have passed, else at its end."""
    flags = ("--resume.every_n_steps=null", "--resume.every_n_seconds")
    for seconds, step in (("0.001", 3), ("1000", None)):
        folder = tmp_path / seconds
        status, _, err = train(folder, *flags, seconds, events="SIGKILL@end4")
        assert status == -signal.SIGKILL, err
        message = "starts again" if step is None else f"continues from step {step};"
        assert message in train(folder, *flags, seconds)[1]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(("place", "step"), [("setup0", None), ("start3", 4), ("val6", 6)])
def test_signal_stops_run_once_it_is_saved(name, place, step, uninterrupted, tmp_path):
    status, _, err = train(tmp_path, events=f"{name}@{place}")
    assert status == 128 + getattr(signal, name)
    notice = ["seqlight: SIGINT: the run stops when it is saved; press Ctrl-C again to exit at once"]
    assert err.splitlines()[:-1] == (notice if name == "SIGINT" and step is not None else [])
    assert err.splitlines()[-1].startswith(f"seqlight: stopped by {name}")
    if step is not None:
        assert f"saved at step {step}" in err
    status, out, err = train(tmp_path)
    assert (status, err) == (0, "")
    if step is not None:
        assert f"continues from step {step}" in out
    assert_same(result(tmp_path), uninterrupted())


def test_last_needs_an_unfinished_run_and_a_finished_run_stays_unchanged(tmp_path):
    quick = ("--trainer.max_epochs=1",)
    status, _, err = train(tmp_path, *quick, "--ckpt_path=last")
    assert status == 2
    assert "--ckpt_path last: there is no unfinished run of this configuration" in err
    assert train(tmp_path, *quick, events="SIGKILL@end3")[0] == -signal.SIGKILL
    status, out, err = train(tmp_path, *quick, "--ckpt_path=last")
    assert status == 0, err
    assert "version_0 continues from step 2" in out
    before = {path: path.read_bytes() for path in Path(tmp_path).rglob("version_0/**/*") if path.is_file()}
    status, out, err = train(tmp_path, *quick)
    assert status == 0, err
    assert "version_1" in out
    assert {path: path.read_bytes() for path in before} == before


def test_fresh_leaves_an_unfinished_run_unchanged(killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    [version] = tmp_path.glob("runs/*/version_0")
    before = {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}
    status, out, err = train(tmp_path, "--fresh")
    assert status == 0, err
    assert "version_1" in out
    assert {path: path.read_bytes() for path in version.rglob("*") if path.is_file()} == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def test_run_continues_from_previous_checkpoint_if_last_is_damaged(killed, uninterrupted, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    [last] = tmp_path.rglob("last.ckpt")
    cut(last)
    status, out, err = train(tmp_path)
    assert status == 0, err
    assert re.search(r"last\.ckpt .*damaged", out)
    assert "continues from step 3" in out
    assert_same(result(tmp_path), uninterrupted())


def test_run_is_refused_if_all_checkpoints_are_damaged(killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("*.ckpt"):
        cut(path)
    status, _, err = train(tmp_path)
    assert status == 3
    assert "--fresh starts a new run" in err


def test_run_that_began_with_a_checkpoint_continues(tmp_path):
    assert train(tmp_path, "--trainer.max_epochs=1")[0] == 0
    [first] = tmp_path.rglob("last.ckpt")
    more = (f"--ckpt_path={first}", "--trainer.max_epochs=2")
    assert train(tmp_path, *more, events="SIGKILL@start9")[0] == -signal.SIGKILL
    status, out, err = train(tmp_path, *more)
    assert (status, err) == (0, "")
    assert "version_1 continues from step 9;" in out
    status, out, err = train(tmp_path, *more)
    assert (status, err) == (0, "")
    assert "version_2" in out
    last = [tmp_path / first.parents[2] / f"version_{number}" / "checkpoints" / "last.ckpt" for number in (1, 2)]
    one, other = (torch.load(path, weights_only=True) for path in last)
    assert one["global_step"] == other["global_step"] == 12
    assert_same(one["state_dict"], other["state_dict"])
