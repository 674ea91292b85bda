"""Runs that are killed go on as if they had not been."""

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from tests.small_training import COMMAND, STEPS, assert_equal, result, train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the run gives that nothing ends, by its flags."""
    results = {}

    def run(*flags, command=COMMAND):
        if flags not in results:
            folder = tmp_path_factory.mktemp("whole")
            status, _, err = train(folder, *flags, command=command)
            assert status == 0, err
            results[flags] = result(folder)
        return results[flags]

    return run


# A checkpoint of step n is written after the batch that makes it; but at the end of an epoch after the validation.
PLACES = [("start0", None), ("end1", None), ("end6", 5), ("start6", 6), ("val6", 5), ("start10", 10), ("epoch18", 17)]
EVERYWHERE = [(f"{name}{step}", None) for name in ("start", "end") for step in range(1, STEPS)]


@pytest.mark.parametrize(
    ("place", "goes_on_at"), [*PLACES, *(pytest.param(*each, marks=pytest.mark.long) for each in EVERYWHERE)]
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(place, goes_on_at, whole, tmp_path):
    status, _, _ = train(tmp_path, happens=f"SIGKILL@{place}")
    assert status == -signal.SIGKILL
    status, out, err = train(tmp_path, happens=f"SIGKILL@{place}")
    assert (status, err) == (0, "")
    if (place, goes_on_at) in PLACES:
        said = "starts again" if goes_on_at is None else f"continues from step {goes_on_at}; --fresh starts a new run"
        assert said in out.splitlines()[0]
    for expected, got in zip(whole(), result(tmp_path), strict=True):
        assert_equal(expected, got)
    assert not list(tmp_path.rglob("*.part"))


def test_three_kills_a_cell_that_draws_random_numbers_and_other_threads(whole, tmp_path):
    flags = ("--model.cell=happens.Noisy", "--model.cell.hidden_size=8")
    kills = "SIGKILL@end3 SIGKILL@val6 SIGKILL@start13"
    for number in range(3):
        status, _, _ = train(tmp_path, *flags, f"--num_threads={number % 2 + 1}", happens=kills)
        assert status == -signal.SIGKILL
    status, _, err = train(tmp_path, *flags, happens=kills)
    assert status == 0, err
    for expected, got in zip(whole(*flags), result(tmp_path), strict=True):
        assert_equal(expected, got)


@pytest.mark.parametrize(
    "flags",
    [
        ("--trainer.accumulate_grad_batches=2", "--trainer.val_check_interval=0.5"),
        ("--trainer.val_check_interval=1", "--trainer.max_steps=8"),
        ("--resume.every_n_steps=3", "--trainer.val_check_interval=3"),
        ("--trainer.check_val_every_n_epoch=2", "--trainer.precision=bf16-mixed", "--checkpoint.save_top_k=2"),
        ("--trainer.logger=false", "--trainer.max_steps=15", "--trainer.max_epochs=-1"),
        ("--trainer.precision=64-true",),
        ("--model=happens.Averaged", "--model.non_finite=skip"),
        ("--model=happens.Averaged",),
    ],
    ids=lambda flags: flags[0].removeprefix("--"),
)
def test_whatever_the_run_is_like(flags, whole, tmp_path):
    flags = tuple(flag for flag in flags if flag)
    start = tuple(flag for flag in COMMAND if not (flags[0].startswith("--model=") and flag.startswith("--model.")))
    kills = "SIGKILL@start3 SIGKILL@start6 SIGKILL@epoch12"
    for _ in range(3):
        status, _, err = train(tmp_path, *flags, happens=kills, command=start)
        if status == 0:
            break  # without so many places
        assert status == -signal.SIGKILL, err
    else:
        status, _, err = train(tmp_path, *flags, happens=kills, command=start)
    assert status == 0, err
    for expected, got in zip(whole(*flags, command=start), result(tmp_path), strict=True):
        assert_equal(expected, got)


def test_a_run_that_is_about_to_stop_early_stops(tmp_path):
    stopping = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}}
    stopping["init_args"] |= {"patience": 1, "min_delta": 10.0}
    flags = (f"--trainer.callbacks+={json.dumps(stopping)}", "--trainer.max_epochs=9")
    status, _, err = train(tmp_path, *flags, happens="SIGTERM@start10")  # of the second epoch, after which it stops
    assert status == 128 + signal.SIGTERM
    assert "saved at step 11" in err
    assert train(tmp_path, *flags, happens="SIGTERM@val12")[0] == 128 + signal.SIGTERM
    status, _, err = train(tmp_path, *flags)
    assert (status, err) == (0, "")
    [version] = tmp_path.glob("runs/*/version_*")
    assert torch.load(version / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 12


def test_by_default_seconds_decide(tmp_path):
    """Saved within an epoch where so many have passed, and else at its end."""
    flags = ("--resume.every_n_steps=null", "--resume.every_n_seconds")
    for seconds, goes_on_at in (("0.001", 3), ("1000", None)):
        folder = tmp_path / seconds
        status, _, err = train(folder, *flags, seconds, happens="SIGKILL@end4")
        assert status == -signal.SIGKILL, err
        said = "starts again" if goes_on_at is None else f"continues from step {goes_on_at};"
        assert said in train(folder, *flags, seconds)[1]


def test_every_sample_is_seen_once_per_epoch_across_a_kill(tmp_path):
    train(tmp_path, happens="SIGKILL@start9")
    train(tmp_path)
    last = {}  # what was seen at a step the last time, for a step after a checkpoint is made twice
    for line in (tmp_path / "seen.txt").read_text().splitlines():
        epoch, step, *samples = line.split()
        last[int(epoch), int(step)] = samples
    for epoch in range(3):
        samples = [sample for (at, _), seen in last.items() if at == epoch for sample in seen]
        assert len(samples) == len(set(samples)) == 96
    assert sorted(step for _, step in last) == list(range(18))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(("place", "saved"), [("setup0", None), ("start3", 4), ("val6", 6)])
def test_a_signal_ends_a_run_where_it_is_saved(name, place, saved, whole, tmp_path):
    status, _, err = train(tmp_path, happens=f"{name}@{place}")
    assert status == 128 + getattr(signal, name)
    told = ["seqlight: SIGINT: the run stops when it is saved; press Ctrl-C again to stop at once"]
    assert err.splitlines()[:-1] == (told if name == "SIGINT" and saved is not None else [])
    assert err.splitlines()[-1].startswith(f"seqlight: stopped by {name}")
    if saved is not None:
        assert f"saved at step {saved}" in err
    status, out, err = train(tmp_path)
    assert (status, err) == (0, "")
    if saved is not None:
        assert f"continues from step {saved}" in out
    for expected, got in zip(whole(), result(tmp_path), strict=True):
        assert_equal(expected, got)


def test_last_wants_an_unfinished_run_and_a_finished_one_is_not_touched(tmp_path):
    quick = ("--trainer.max_epochs=1",)
    status, _, err = train(tmp_path, *quick, "--ckpt_path=last")
    assert status == 2
    assert "--ckpt_path last: there is no unfinished run of this configuration" in err
    assert train(tmp_path, *quick, happens="SIGKILL@end3")[0] == -signal.SIGKILL
    status, out, err = train(tmp_path, *quick, "--ckpt_path=last")
    assert status == 0, err
    assert "version_0 continues from step 2" in out
    before = {path: path.read_bytes() for path in Path(tmp_path).rglob("version_0/**/*") if path.is_file()}
    status, out, err = train(tmp_path, *quick)
    assert status == 0, err
    assert "version_1" in out
    assert {path: path.read_bytes() for path in before} == before


def test_fresh_starts_beside(tmp_path):
    assert train(tmp_path, happens="SIGKILL@end3")[0] == -signal.SIGKILL
    [version] = tmp_path.glob("runs/*/version_0")
    before = {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}
    status, out, err = train(tmp_path, "--fresh")
    assert status == 0, err
    assert "version_1" in out
    assert {path: path.read_bytes() for path in version.rglob("*") if path.is_file()} == before


def test_a_damaged_last_checkpoint_makes_way_for_the_one_before_and_all_damaged_stop(whole, tmp_path):
    assert train(tmp_path, happens="SIGKILL@end5")[0] == -signal.SIGKILL
    [last] = tmp_path.rglob("last.ckpt")
    last.write_bytes(last.read_bytes()[:-1000])
    shutil.copytree(tmp_path, tmp_path.with_name("all damaged"))
    status, out, err = train(tmp_path)
    assert status == 0, err
    assert re.search(r"last\.ckpt.*damaged", out)
    assert "continues from step 3" in out
    for expected, got in zip(whole(), result(tmp_path), strict=True):
        assert_equal(expected, got)
    folder = tmp_path.with_name("all damaged")
    for path in folder.rglob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-1000])
    status, _, err = train(folder)
    assert status == 3
    assert "--fresh starts a new run" in err


def test_a_run_that_began_with_a_checkpoint_goes_on_too(tmp_path):
    assert train(tmp_path, "--trainer.max_epochs=1")[0] == 0
    [first] = tmp_path.rglob("last.ckpt")
    more = (f"--ckpt_path={first}", "--trainer.max_epochs=2")
    assert train(tmp_path, *more, happens="SIGKILL@start9")[0] == -signal.SIGKILL
    status, out, err = train(tmp_path, *more)
    assert (status, err) == (0, "")
    assert "version_1 continues from step 9;" in out
    status, out, err = train(tmp_path, *more)
    assert (status, err) == (0, "")
    assert "version_2" in out
    last = [tmp_path / first.parents[2] / f"version_{number}" / "checkpoints" / "last.ckpt" for number in (1, 2)]
    one, other = (torch.load(path, weights_only=True) for path in last)
    assert one["global_step"] == other["global_step"] == 12
    assert_equal(one["state_dict"], other["state_dict"])
