"""Devices, processes and threads of a command."""

from functools import partial
from pathlib import Path

import pytest
import torch

import seqlight
from seqlight.cli.threads import choose_num_threads
from seqlight.common.processes import torchrun_settings
from tests.cli.commands import QUIET
from tests.conftest import seqlight_run


@pytest.mark.parametrize(("size", "nodes"), [(2, 1), (6, 3)])
def test_trainer_gets_the_processes_of_torchrun(size, nodes, monkeypatch):
    variables = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size // nodes, "RANK": 0, "LOCAL_RANK": 0}
    for name, value in {**variables, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, str(value))
    assert torchrun_settings() == {"devices": size // nodes, "num_nodes": nodes, "strategy": "ddp"}


def test_predict_in_several_processes_is_refused(trained, monkeypatch):
    with monkeypatch.context() as patch:
        for name, value in {
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "TORCHELASTIC_RUN_ID": "none",
            "RANK": "0",
        }.items():
            patch.setenv(name, value)
        status, _, err = seqlight_run("predict", "--ckpt_path", trained, *QUIET, "--device=cpu")
    assert status == 2
    assert "predict runs in one process, but torchrun started 2" in err
    status, _, err = seqlight_run("predict", "--ckpt_path", trained, *QUIET, "--device=cpu", "--trainer.devices=2")
    assert status == 2
    assert "predict runs on one device, got --trainer.devices 2" in err
    assert not Path("predictions.csv").exists()


def test_number_of_threads_suits_the_model_and_never_exceeds_the_users(monkeypatch):
    small = seqlight.SequenceClassifier(partial(seqlight.LSTMCell, hidden_size=32), input_size=1)
    large = seqlight.SequenceClassifier(partial(seqlight.LSTMCell, hidden_size=1024), input_size=1)
    for limit in (1, 2, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda limit=limit: limit)
        assert choose_num_threads(small, 32) == 1
        assert choose_num_threads(large, 256) == limit
