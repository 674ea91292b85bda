from dataclasses import dataclass

import numpy as np
import pytest
import torch

from seqlight import Adding, Batch, Parity, SequenceLoader, SequenceTask, SumSign, SyntheticSequences
from seqlight.common.batch import BatchError
from seqlight.data import synthetic
from seqlight.data.loader import ResumeError


def draw(task, num_samples, seed=0):
    return task.sample(num_samples, np.random.default_rng(seed))


def assert_equal(batch, expected):
    for part, expected_part in zip(batch, expected, strict=True):
        assert part.dtype == expected_part.dtype
        assert torch.equal(part, expected_part)


def head(batch, num_samples):
    return Batch(*(part[:num_samples] for part in batch))


@pytest.mark.parametrize("task", [SumSign(max_length=4), Parity(min_length=2, max_length=5), Adding(max_length=4)])
@pytest.mark.parametrize("split", ["train", "val", "test", "predict"])
def test_samples_do_not_depend_on_their_number_or_the_batch_size(task, split):
    def samples(num_samples, batch_size):
        return SyntheticSequences(task, num_samples, num_samples, num_samples, batch_size=batch_size, seed=3).split(
            split
        )

    # Sizes around the block size in which samples are drawn.
    longest = samples(2500, 32)
    assert len(longest.lengths) == 2500
    for num_samples, batch_size in ((1, 1), (1000, 7), (1023, 32), (1024, 32), (1025, 64), (2048, 5)):
        assert_equal(samples(num_samples, batch_size), head(longest, num_samples))


@pytest.mark.parametrize("task", [SumSign(max_length=4), Parity(min_length=8, max_length=12), Adding(max_length=4)])
def test_samples_differ_between_splits_seeds_and_blocks(task):
    parts = []
    for seed in (0, 1, 2):
        data = SyntheticSequences(task, num_train=2048, num_val=1024, num_test=1024, seed=seed)
        parts += [data.split("train").inputs[:1024], data.split("train").inputs[1024:]]
        parts += [data.split("val").inputs, data.split("test").inputs]
    for index, part in enumerate(parts):
        assert not any(torch.equal(part, other) for other in parts[:index])


def test_predict_split_is_the_test_split():
    data = SyntheticSequences(Parity(), num_test=100)
    assert_equal(data.split("predict"), data.split("test"))


@pytest.mark.parametrize(("lengths", "expected"), [("11:15", range(11, 16)), ("12", [12]), ("3:4", [3, 4])])
def test_test_split_can_have_other_lengths(lengths, expected):
    data = SyntheticSequences(Parity(), test_lengths=lengths)
    assert set(data.split("test").lengths.tolist()) == set(expected)
    assert data.split("test").inputs.shape[1] == max(expected)
    assert_equal(data.split("predict"), data.split("test"))
    assert data.hparams["test_lengths"] == lengths
    for split in ("train", "val"):
        assert_equal(data.split(split), SyntheticSequences(Parity()).split(split))


@pytest.mark.parametrize("lengths", ["", "a", "41:", ":200", "41-200", "41:200:3", "-3", "4.5", "\u0663"])
def test_malformed_test_lengths_are_refused(lengths):
    with pytest.raises(ValueError, match=f"test_lengths must be a length, or .* such as 41:200; got {lengths!r}"):
        SyntheticSequences(Parity(), test_lengths=lengths)


@pytest.mark.parametrize(
    ("task", "lengths", "message"),
    [
        (Parity(), "0:4", "test_lengths '0:4': min_length must be at least 1, got 0"),
        (Parity(), "9:4", r"test_lengths '9:4': max_length must be at least min_length \(9\), got 4"),
        (Adding(), "1", "test_lengths '1': min_length must be at least 2, got 1"),
    ],
)
def test_test_lengths_outside_the_tasks_range_are_refused(task, lengths, message):
    with pytest.raises(ValueError, match=message):
        SyntheticSequences(task, test_lengths=lengths)


def test_test_lengths_need_a_task_with_lengths():
    with pytest.raises(ValueError, match=r"test_lengths '4': the lengths of Given can't be chosen"):
        SyntheticSequences(Given({}), test_lengths="4")


def test_data_module_describes_its_task():
    data = SyntheticSequences(Parity(min_length=2, max_length=7), num_train=10, batch_size=4, seed=5)
    assert (data.input_size, data.vocab_size, data.target, data.num_outputs) == (None, 2, "binary", 1)
    assert dict(data.hparams) == {
        "task": {"class_path": "seqlight.Parity", "init_args": {"min_length": 2, "max_length": 7}},
        "num_train": 10,
        "num_val": 1000,
        "num_test": 1000,
        "batch_size": 4,
        "seed": 5,
        "bucketing": True,
        "test_lengths": None,
    }


def test_data_module_shuffles_the_train_split_only():
    data = SyntheticSequences(SumSign(), num_train=40, num_val=41, num_test=42, batch_size=8, seed=5)
    for split in ("val", "test", "predict"):
        loader = getattr(data, f"{split}_dataloader")()
        assert torch.equal(torch.cat([batch.inputs for batch in loader]), data.split(split).inputs)
    loader = data.train_dataloader()
    assert (loader.shuffle, loader.seed, loader.batch_size) == (True, 5, 8)
    assert_equal(loader.data, data.split("train"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"num_train": 0}, "num_train must be at least 1, got 0"),
        ({"num_val": 0}, "num_val must be at least 1, got 0"),
        ({"num_test": -2}, "num_test must be at least 1, got -2"),
    ],
)
def test_data_module_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyntheticSequences(SumSign(), **arguments)


class Unwritable(SequenceTask):
    input_size = 1

    def __init__(self, length):
        self.steps = length

    def sample(self, num_samples, rng):
        raise NotImplementedError


def test_task_must_keep_its_arguments():
    with pytest.raises(TypeError, match=r"task of SyntheticSequences .* Unwritable must keep its argument 'length'"):
        SyntheticSequences(Unwritable(3))


def numbered(num_samples):
    """Samples whose inputs and target are their index, in sequences of unequal length."""
    number = torch.arange(num_samples)
    lengths = number * 7 % 5 + 1
    return Batch(number[:, None, None].expand(-1, 5, 1).double(), number.double(), lengths)


def numbers(batches):
    return [int(number) for batch in batches for number in batch.targets]


GRID = [
    (n, batch_size, world_size)
    for n in (1, 2, 3, 5, 8, 13, 17, 31, 64, 67)
    for batch_size in (1, 3, 8, 200)
    for world_size in (1, 2, 3, 7)
    if n >= world_size
]


@pytest.mark.parametrize("shuffle", [False, True], ids=["in-order", "shuffled"])
@pytest.mark.parametrize(("n", "batch_size", "world_size"), GRID)
def test_every_sample_appears_once_per_epoch(n, batch_size, world_size, shuffle):
    data = numbered(n)
    ranks = []
    for rank in range(world_size):
        loader = SequenceLoader(data, batch_size, shuffle=shuffle, rank=rank, world_size=world_size)
        batches = list(loader)
        assert len(batches) == len(loader)
        # A rest with fewer samples than ranks joins the last step.
        assert all(1 <= len(batch.lengths) <= batch_size + 1 for batch in batches)
        ranks.append(batches)
    assert len({len(batches) for batches in ranks}) == 1
    assert sorted(numbers(batch for batches in ranks for batch in batches)) == list(range(n))
    # Step by step and rank by rank, the samples come in the order of the epoch.
    steps = [batch for step in zip(*ranks, strict=True) for batch in step]
    assert numbers(steps) == loader.order().tolist()


def epoch_order(n, batch_size, world_size, seed, epoch, **options):
    ranks = []
    for rank in range(world_size):
        place = {"rank": rank, "world_size": world_size}
        loader = SequenceLoader(numbered(n), batch_size, shuffle=True, seed=seed, **place, **options)
        loader.set_epoch(epoch)
        ranks.append(list(loader))
    return numbers(batch for step in zip(*ranks, strict=True) for batch in step)


@pytest.mark.parametrize(
    ("bucketing", "same_steps"),
    [(False, [(1, 1), (8, 2), (5, 3), (64, 4)]), (True, [(16, 1), (8, 2), (4, 4), (2, 8)])],
)
def test_order_depends_on_seed_and_epoch_and_with_bucketing_on_samples_per_step(bucketing, same_steps):
    expected = epoch_order(50, *same_steps[0], seed=3, epoch=2, bucketing=bucketing)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    for batch_size, world_size in same_steps[1:]:
        assert epoch_order(50, batch_size, world_size, seed=3, epoch=2, bucketing=bucketing) == expected
    orders = {tuple(epoch_order(50, 8, 1, seed, epoch, bucketing=bucketing)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize("num_samples", [1000, 1019])
def test_buckets_hold_sequences_of_similar_length(num_samples):
    rng = np.random.default_rng(0)
    lengths = torch.from_numpy(rng.integers(1, 100, num_samples))
    data = Batch(torch.zeros(num_samples, 100, 1), torch.zeros(num_samples), lengths)
    padded = {}
    for bucketing in (False, True):
        batches = list(SequenceLoader(data, 20, shuffle=True, bucketing=bucketing))
        assert sorted(torch.cat([batch.lengths for batch in batches]).tolist()) == sorted(lengths.tolist())
        padded[bucketing] = sum(batch.inputs[..., 0].numel() for batch in batches) / int(lengths.sum())
        widths = [batch.inputs.shape[1] for batch in batches]
    assert padded[False] > 1.8
    assert padded[True] < 1.1
    assert widths != sorted(widths)  # short and long batches are mixed


def test_bucketing_changes_nothing_if_all_lengths_are_equal():
    data = Batch(torch.zeros(50, 4, 1), torch.arange(50) % 2.0, torch.full((50,), 4))
    orders = [
        SequenceLoader(data, 8, shuffle=True, bucketing=bucketing).order().tolist() for bucketing in (False, True)
    ]
    assert orders[0] == orders[1]


def test_without_shuffling_samples_keep_their_order():
    loader = SequenceLoader(numbered(10), 3)
    for epoch in range(3):
        loader.set_epoch(epoch)
        assert numbers(loader) == list(range(10))


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_trimmed_to_their_longest_sequence(shuffle):
    data = numbered(13)
    widths = set()
    for batch in SequenceLoader(data, 2, shuffle=shuffle):
        rows = batch.targets.long()
        assert batch.inputs.shape[1] == batch.lengths.max()
        assert torch.equal(batch.lengths, data.lengths[rows])
        assert torch.equal(batch.inputs, data.inputs[rows, : batch.inputs.shape[1]])
        widths.add(batch.inputs.shape[1])
    assert len(widths) > 1


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("epoch", [0, 4])
@pytest.mark.parametrize("given", range(8))
def test_loader_resumes_with_the_following_batch(world_size, epoch, given):
    def make():
        loader = SequenceLoader(numbered(22 * world_size), 3, shuffle=True, rank=world_size - 1, world_size=world_size)
        loader.set_epoch(epoch)
        return loader

    whole = list(make())
    assert len(whole) == 8
    interrupted = make()
    iterator = iter(interrupted)
    for _ in range(given):
        next(iterator)
    resumed = make()
    resumed.load_state_dict(interrupted.state_dict())
    rest = list(resumed)
    assert len(rest) == 8 - given
    for batch, expected in zip(rest, whole[given:], strict=True):
        assert_equal(batch, expected)
    # The next iteration is a whole epoch.
    assert numbers(resumed) == numbers(whole)


def test_loader_at_the_end_of_an_epoch_resumes_with_the_next():
    loader = SequenceLoader(numbered(10), 4)
    list(loader)
    other = SequenceLoader(numbered(10), 4)
    other.load_state_dict(loader.state_dict())
    assert numbers(other) == list(range(10))


def test_loader_state_names_the_next_batch():
    loader = SequenceLoader(numbered(10), 4)
    next(iter(loader))
    state = loader.state_dict()
    assert (state["epoch"], state["next_batch"], state["batch_size"]) == (0, 1, 4)


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"world_size": 2}, {"seed": 1}, {"data": 12}])
def test_position_from_a_loader_with_other_settings_is_refused(change):
    arguments = {"data": numbered(10), "batch_size": 4, "shuffle": True}
    loader = SequenceLoader(**arguments)
    next(iter(loader))
    with pytest.raises(ResumeError, match=r"must be .* to resume within an epoch, got"):
        SequenceLoader(**arguments | {**change, "data": numbered(change.get("data", 10))}).load_state_dict(
            loader.state_dict()
        )


def test_every_rank_needs_a_sample():
    with pytest.raises(ValueError, match=r"number of samples must be at least number of processes \(4\), got 3"):
        SequenceLoader(numbered(3), 2, world_size=4)


def test_loader_batch_size_must_be_positive():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        SequenceLoader(numbered(3), 0)


@pytest.mark.parametrize("task", [SumSign(max_length=4), Parity(min_length=2, max_length=4)])
def test_batch_moves_without_its_lengths(task):
    batch = draw(task, 3)
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert (moved.inputs.device.type, moved.targets.device.type) == ("meta", "meta")
    assert moved.lengths is batch.lengths
    assert (moved.inputs.shape, moved.inputs.dtype) == (batch.inputs.shape, batch.inputs.dtype)


def test_position_is_used_only_in_its_own_epoch_and_batch_size():
    data = SyntheticSequences(SumSign(), num_train=40).split("train")
    loader = SequenceLoader(data, 8, shuffle=True)
    next(iter(loader))
    later = SequenceLoader(data, 8, shuffle=True)
    later.set_epoch(1)
    later.load_state_dict(loader.state_dict())
    assert len(list(later)) == 5
    with pytest.raises(ValueError, match="batch_size must be 8 to resume within an epoch, got 16"):
        SequenceLoader(data, 16).load_state_dict(loader.state_dict())


def test_interrupted_epoch_does_not_shorten_the_next():
    loader = SequenceLoader(SyntheticSequences(SumSign(), num_train=40).split("train"), 8)
    next(iter(loader))
    assert len(list(loader)) == 5


@dataclass(frozen=True)
class Given(SequenceTask):
    """A task whose samples can be changed."""

    change: dict
    kind: str = "binary"
    vocab_size: int | None = None

    num_outputs = 1

    @property
    def input_size(self):
        return None if self.vocab_size else 2

    @property
    def target(self):
        return self.kind

    def sample(self, num_samples, rng):
        parts = {
            "inputs": torch.zeros(num_samples, 3, 2) if self.vocab_size is None else torch.ones(num_samples, 3).long(),
            "targets": torch.ones(num_samples) if self.kind == "binary" else torch.zeros(num_samples).long(),
            "lengths": torch.full((num_samples,), 3),
        }
        return Batch(**{name: self.change.get(name, lambda part: part)(part) for name, part in parts.items()})


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({}, {"inputs": torch.Tensor.double}, r"inputs must be float32 \(B, T, 2\), got torch.float64"),
        ({}, {"inputs": lambda x: x[:, :, :1]}, r"inputs must be float32 \(B, T, 2\), got .*\(1024, 3, 1\)"),
        ({}, {"inputs": torch.Tensor.numpy}, "inputs must be a tensor, got ndarray"),
        ({}, {"targets": torch.Tensor.long}, r"targets must be float32 \(1024,\), got torch.int64"),
        ({}, {"targets": lambda x: 7 * x}, "targets must be 0 or 1"),
        ({}, {"lengths": lambda x: 0 * x}, "lengths must be between 1 and the 3 time steps"),
        ({}, {"lengths": lambda x: x + 1}, "lengths must be between 1 and the 3 time steps"),
        ({"vocab_size": 3}, {"inputs": lambda x: x + 2}, "tokens from 0 to 2"),
        ({"kind": "multiclass"}, {"targets": torch.Tensor.float}, "targets must be int64 classes"),
        ({"kind": "multiclass"}, {"targets": lambda x: x + 1}, "targets must be from 0 to 0"),
        ({}, {name: lambda x: x[1:] for name in Batch._fields}, r"Given.sample\(1024\) must give 1024 sequences"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_samples_that_contradict_their_task_are_refused(options, change, message):
    with pytest.raises(BatchError, match=message):
        synthetic.draw(Given(change, **options), 5, 0, "train")
