"""The state of random number generators, also of a device that this machine does not have."""

import pytest
import torch

from seqlight.common.random_state import random_state, random_state_kept, set_random_state


class Generator:
    """Stands for the generator of MPS."""

    def __init__(self, monkeypatch):
        self.state = torch.arange(4, dtype=torch.uint8)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        monkeypatch.setattr(torch.mps, "get_rng_state", lambda: self.state)
        monkeypatch.setattr(torch.mps, "set_rng_state", self.set)

    def set(self, state):
        assert state.device.type == "cpu"
        self.state = state


def test_state_of_mps_is_restored(monkeypatch):
    assert random_state()["mps"] is None or torch.backends.mps.is_available()
    generator = Generator(monkeypatch)
    before, kept = random_state(), generator.state
    assert before["mps"] is kept
    generator.state = torch.zeros(4, dtype=torch.uint8)
    set_random_state(before)
    assert torch.equal(generator.state, kept)
    # A checkpoint of an earlier version, or of a machine without MPS.
    for state in ({name: value for name, value in before.items() if name != "mps"}, {**before, "mps": None}):
        generator.state = changed = torch.ones(4, dtype=torch.uint8)
        set_random_state(state)
        assert generator.state is changed


def test_states_are_kept_after_an_error(monkeypatch):
    generator = Generator(monkeypatch)
    kept, before = generator.state, torch.get_rng_state()

    def fail():
        torch.rand(3)
        generator.state = torch.zeros(4, dtype=torch.uint8)
        raise KeyError

    with pytest.raises(KeyError), random_state_kept(torch.device("mps")):
        fail()
    assert torch.equal(generator.state, kept)
    assert torch.equal(torch.get_rng_state(), before)
    with random_state_kept(torch.device("cpu")):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
