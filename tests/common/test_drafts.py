"""Temporary files of a dead process are removed, and nothing else."""

import os
import socket
import subprocess
import sys

import pytest

from seqlight.common.drafts import draft_of, draft_suffix, remove_abandoned


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def suffix_of(process):
    return draft_suffix().replace(f".{os.getpid()}.", f".{process}.")


def test_only_drafts_of_dead_processes_are_removed(dead, tmp_path):
    (tmp_path / f"tmp1{suffix_of(dead)}").mkdir()
    (tmp_path / f"tmp1{suffix_of(dead)}" / "cell.cpp").touch()
    (tmp_path / f".two\nlines.csv{suffix_of(dead)}").touch()
    machine = socket.gethostname()
    kept = [
        draft_of(tmp_path / "p.csv"),  # this process lives
        tmp_path / f".p.csv{suffix_of(os.getppid())}",
        tmp_path / f".p.csv.other-{machine}.{dead}.part",
        tmp_path / f".p.csv.{dead}.part",
        tmp_path / "download.part",
        tmp_path / f"p.csv{suffix_of(dead)}.csv",
    ]
    for path in kept:
        path.touch()
    remove_abandoned(tmp_path, tmp_path / "missing", kept[0])
    assert {*tmp_path.iterdir()} == {*kept}


def test_link_is_removed_and_its_target_stays(dead, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "file").touch()
    (tmp_path / f"link{suffix_of(dead)}").symlink_to(tmp_path / "target")
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "file"]
