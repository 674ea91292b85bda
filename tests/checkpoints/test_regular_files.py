"""Files of a run are regular files in its folder; what is replaced keeps its permissions."""

import os
import stat
import sys

import pytest

from seqlight import CheckpointError, SealedCheckpointIO
from seqlight.checkpoints.event_files import rewind
from seqlight.checkpoints.files import read_plain
from seqlight.checkpoints.run_choice import choose_run
from seqlight.checkpoints.run_folder import RunFolder, new_run_folder
from seqlight.checkpoints.run_search import unfinished_run
from seqlight.common.drafts import draft_of
from seqlight.common.errors import WriteError
from seqlight.common.files import write_atomically
from tests.conftest import seqlight_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
KINDS = ["link", "dangling link", "pipe", "folder"]


def put(kind, path, target):
    """Put something else in the place of a file."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(target if kind == "link" else target.with_name("nowhere"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["events.out.tfevents.1", "run.json", "lock", "config.yaml", "hparams.yaml", "checkpoints/best.ckpt"]
)
def test_run_does_not_continue_through_other_files(name, kind, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("a hundred lines")
    run = new_run_folder(tmp_path / "runs")
    run.describe({"a": "1"}, finished=False)
    (run.path / "checkpoints").mkdir()
    run.close(has_begun=True)
    put(kind, run.path / name, precious)
    with pytest.raises(WriteError, match=f"{os.path.basename(name)}: expected a regular file"):
        choose_run(
            tmp_path / "runs", {"a": "1"}, unfinished_run(tmp_path / "runs", {"a": "1"}) or run.path, first_process=True
        )
    assert precious.read_text() == "a hundred lines"
    assert not precious.with_name("nowhere").exists()


def test_event_file_that_becomes_a_link_is_not_cut(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("a hundred lines")
    run = RunFolder(tmp_path / "run")
    (run.path / "events.out.tfevents.1").symlink_to(precious)
    with pytest.raises(WriteError, match="expected a regular file"):
        rewind(run.path, {"events.out.tfevents.1": 1})
    assert precious.read_text() == "a hundred lines"
    run.close(has_begun=True)


def test_folder_of_checkpoints_is_not_a_link(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(WriteError, match="expected a folder, got a link"):
        RunFolder(tmp_path / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_does_not_replace_other_files(kind, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("a hundred lines")
    put(kind, tmp_path / "a.ckpt", precious)
    with pytest.raises(WriteError, match="expected a regular file"):
        SealedCheckpointIO().save_checkpoint({"a": 1}, tmp_path / "a.ckpt")
    assert precious.read_text() == "a hundred lines"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "precious"]


@pytest.mark.parametrize("name", ["a.ckpt", ".a.ckpt.part"])
def test_link_in_the_place_of_a_draft_is_not_followed(name, tmp_path):
    (tmp_path / "precious").write_text("a hundred lines")
    path = tmp_path / name
    draft_of(path).symlink_to(tmp_path / "precious")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "precious").read_text() == "a hundred lines"


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_checkpoint_to_read_is_a_file(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.ckpt" if kind != "device" else "/dev/zero"
    if kind != "device":
        put(kind, path, None)
    with pytest.raises(FileNotFoundError, match="it is a folder, pipe or device"):
        read_plain(path)
    for verb in ("test", "fit"):
        status, _, err = seqlight_run(verb, f"--ckpt_path={path}")
        assert (status, len(err.splitlines())) == (2, 1), err
        assert ("this folder has no best.ckpt" if kind == "folder" else "it is a folder, pipe or device") in err


def test_checkpoint_to_read_can_be_given_by_a_link(tmp_path):
    SealedCheckpointIO().save_checkpoint({"a": 1}, tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").symlink_to("a.ckpt")
    assert read_plain(tmp_path / "b.ckpt")["a"] == 1


def test_pipe_that_replaces_the_file_meanwhile_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.ckpt")
    monkeypatch.setattr("pathlib.Path.is_file", lambda _: True)
    with pytest.raises(CheckpointError, match="expected a file, got a pipe or device"):
        read_plain(tmp_path / "a.ckpt")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("mode", [None, 0o600, 0o640, 0o664, 0o444])
@pytest.mark.parametrize("name", ["a.ckpt", ".a.ckpt.part"])
def test_permissions_are_kept_and_new_files_obey_the_umask(name, mode, umask, tmp_path):
    if mode is not None:
        (tmp_path / "a.ckpt").touch()
        (tmp_path / "a.ckpt").chmod(mode)
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / name, b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == (0o666 & ~umask if mode is None else mode)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files to any group")
def test_group_is_kept(tmp_path):
    (tmp_path / "a.ckpt").touch()
    os.chown(tmp_path / "a.ckpt", -1, 54321)
    write_atomically(tmp_path / "a.ckpt", b"new")
    assert (tmp_path / "a.ckpt").stat().st_gid == 54321


def test_rights_of_a_group_that_is_not_kept_are_dropped(tmp_path, monkeypatch):
    (tmp_path / "a.ckpt").touch()
    (tmp_path / "a.ckpt").chmod(0o660)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    write_atomically(tmp_path / "a.ckpt", b"new")
    assert stat.S_IMODE((tmp_path / "a.ckpt").stat().st_mode) == 0o600
