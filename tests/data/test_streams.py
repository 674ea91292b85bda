"""No two purposes of random numbers share a stream."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import seqlight
from seqlight import SequenceFiles, SequenceLoader, SumSign, SyntheticSequences
from seqlight.common.errors import CheckpointError
from seqlight.data.loader import ResumeError
from seqlight.data.streams import STREAMS, Purpose, generator, streams_of
from tests.data.test_files import write_table

# Small numbers with zeros at the end, neighbours, and numbers of one word of 32 bits and of more.
NUMBERS = [*range(8), 1023, 1024, 2**31 - 2, 2**31 - 1, 2**32 - 1, 2**32, 2**32 + 1, 2 * 2**32, 3 * 2**32]
RANDOM = np.random.default_rng(0).integers(0, 2**33, 8).tolist()
STREAM_KEYS = [
    (purpose, seed, index)
    for purpose, seed, index in product(Purpose, NUMBERS + RANDOM, NUMBERS + RANDOM)
    if purpose is not Purpose.VAL_SPLIT or index == 0
]


def coinciding(streams):
    """The streams that begin with the same 128 bits as another one."""
    first_draws = {}
    for key in STREAM_KEYS:
        first_draws.setdefault(generator(*key, streams=streams).bytes(16), []).append(key)
    return [keys for keys in first_draws.values() if len(keys) > 1]


def test_no_two_streams_coincide():
    assert len(STREAM_KEYS) > 2000
    assert coinciding(STREAMS) == []
    # The test sees the fault of version 1: the order of epoch 0 began like the first block of the training split.
    assert [(Purpose.TRAIN, 5, 0), (Purpose.ORDER, 5, 0)] in coinciding(1)


@pytest.mark.parametrize(
    ("purpose", "seed", "index"), [(Purpose.TRAIN, 0, 0), (Purpose.TEST, 7, 3), (4, 2**31 - 1, 9), (6, 1, 0)]
)
def test_streams_are_numpys_for_a_spawn_key(purpose, seed, index):
    expected = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(int(purpose), index))))
    assert generator(Purpose(purpose), seed, index).bytes(64) == expected.bytes(64)


def test_numbers_of_purposes_stay():
    """Another number would change everyone's samples."""
    assert {purpose.name: purpose.value for purpose in Purpose} == {
        "TRAIN": 0,
        "VAL": 1,
        "TEST": 2,
        "VAL_SPLIT": 3,
        "ORDER": 4,
        "BASELINES": 5,
        "MEMORY": 6,
    }


def test_generators_are_made_in_one_place():
    package = Path(seqlight.__file__).parent
    makers = ("SeedSequence(", "default_rng(", "Philox(", "PCG64(", "RandomState(")
    found = {path.name for path in package.rglob("*.py") if any(maker in path.read_text() for maker in makers)}
    assert found == {"streams.py"}


@pytest.mark.parametrize("seed", [0, 1, 3])
@pytest.mark.parametrize("source", ["task", "file"])
def test_a_run_draws_from_distinct_streams(source, seed, tmp_path, monkeypatch):
    """Whatever a data module draws, in all splits, blocks and epochs."""
    keys = []

    class Recorder(np.random.Philox):
        def __init__(self, key):
            super().__init__(key)
            keys.append(key.generate_state(4).tobytes())

    monkeypatch.setattr(np.random, "Philox", Recorder)
    if source == "task":
        data = SyntheticSequences(SumSign(max_length=3), num_train=3000, num_val=2000, num_test=2000, seed=seed)
        splits = 3 + 2 + 2
    else:
        write_table(tmp_path / "a.csv")
        data = SequenceFiles(tmp_path / "a.csv", seed=seed)
        splits = 1
    loaders = [data.train_dataloader(), data.val_dataloader()]
    if source == "task":
        loaders.append(data.test_dataloader())
    for loader in loaders:
        for epoch in range(6):
            loader.set_epoch(epoch)
            loader.order()
    assert len(keys) == splits + 6
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("streams", [1, STREAMS])
def test_samples_of_an_earlier_version_can_be_drawn(streams):
    """The formulas of version 1, as they were, and of this one."""
    data = SyntheticSequences(SumSign(max_length=4), num_train=2500, num_val=8, num_test=8, seed=6)
    data.streams = streams

    def drawn(*key):
        sequence = np.random.SeedSequence((6, *key))
        if streams == 2:
            sequence = np.random.SeedSequence(6, spawn_key=(4, *key) if len(key) == 1 else key)
        return np.random.Generator(np.random.Philox(sequence))

    blocks = [data.task.sample(1024, drawn(0, block)).inputs for block in range(3)]
    assert torch.equal(data.split("train").inputs, torch.cat(blocks)[:2500])
    for number, split in enumerate(("train", "val", "test")):
        assert torch.equal(data.split(split).inputs[:8], data.task.sample(1024, drawn(number, 0)).inputs[:8])
    loader = data.train_dataloader()
    for epoch in (0, 5):
        loader.set_epoch(epoch)
        assert loader.order().tolist() == drawn(epoch).permutation(2500).tolist()


def test_validation_sequences_of_a_file_are_those_of_earlier_versions(tmp_path):
    """A model of an earlier version must not be validated with sequences that it was trained with."""
    write_table(tmp_path / "a.csv", num_sequences=20, labels=("cat",) * 10 + ("dog",) * 10)
    data = SequenceFiles(tmp_path / "a.csv", seed=4)
    # Per class, the first 2 of 10 in a permutation by the formula of version 1.
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence((4, 3)))).permutation(20)
    classes = ([row for row in order if row // 10 % 2 == label] for label in (0, 1))
    expected = {f"s{row}" for members in classes for row in members[:2]}
    assert set(data.sample_ids("val")) == expected


def test_a_position_in_an_order_of_an_earlier_version_is_refused():
    data = SyntheticSequences(SumSign(), num_train=40).split("train")
    before = SequenceLoader(data, 8, shuffle=True, streams=1)
    next(iter(before))
    state = before.state_dict()
    for saved in (state, {name: value for name, value in state.items() if name != "streams"}):
        with pytest.raises(ResumeError, match="streams must be 1 to resume within an epoch, got 2"):
            SequenceLoader(data, 8, shuffle=True).load_state_dict(saved)
        resumed = SequenceLoader(data, 8, shuffle=True, streams=1)
        resumed.load_state_dict(saved)
        assert len(list(resumed)) == 4


@pytest.mark.parametrize("streams", [0, STREAMS + 1, -1, "2", 1.0, True, None, [1], 10**100])
def test_unknown_streams_are_refused(streams):
    with pytest.raises(CheckpointError, match=r"needs version .* of the random streams, and there are 1 to 2 here"):
        streams_of({"streams": streams})


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seeds_of_loaders_are_checked(seed):
    data = SyntheticSequences(SumSign(), num_train=4).split("train")
    with pytest.raises(ValueError, match=r"seed must be at (least|most) \d+, got"):
        SequenceLoader(data, 2, shuffle=True, seed=seed)
