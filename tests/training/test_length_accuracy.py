"""Accuracy by length, and its ranges of lengths."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier

from seqlight import AccuracyByLength, Parity, SequenceClassifier, SyntheticSequences
from seqlight.training.length_accuracy import LengthAccuracy, length_buckets, length_ranges


@pytest.mark.parametrize(
    ("shortest", "longest", "expected"),
    [
        (41, 200, [(41, 60), (61, 80), (81, 100), (101, 120), (121, 140), (141, 160), (161, 180), (181, 200)]),
        (1, 8, [(length, length) for length in range(1, 9)]),
        (1, 9, [(1, 2), (3, 4), (5, 6), (7, 8), (9, 9)]),
        (5, 6, [(5, 5), (6, 6)]),
    ],
)
def test_ranges_have_equal_width(shortest, longest, expected):
    assert length_ranges(shortest, longest) == expected


@pytest.mark.parametrize("longest", [2, 7, 8, 16, 17, 63, 64, 65, 1000])
def test_ranges_cover_all_lengths_once(longest):
    ranges = length_ranges(1, longest)
    assert len(ranges) <= 8
    assert [length for low, high in ranges for length in range(low, high + 1)] == list(range(1, longest + 1))
    assert len({high - low for low, high in ranges[:-1]}) <= 1


@pytest.mark.parametrize("shortest", [1, 3, 40])
@pytest.mark.parametrize("longest", [41, 47, 200, 1000])
@pytest.mark.parametrize("cut", [1, 2, 40, 41, 199, 200, 5000])
def test_a_range_ends_at_the_cut(shortest, longest, cut):
    ranges = length_ranges(shortest, longest, cut=cut)
    assert len(ranges) <= 8
    lengths = [length for low, high in ranges for length in range(low, high + 1)]
    assert lengths == list(range(shortest, longest + 1))
    assert all(low > cut or high <= cut for low, high in ranges)
    for part in ([each for each in ranges if each[1] <= cut], [each for each in ranges if each[0] > cut]):
        assert len({high - low for low, high in part[:-1]}) <= 1


@pytest.mark.parametrize(("longest_trained", "first"), [(None, (2, 4)), (3, (2, 3)), (20, (2, 4))])
def test_buckets_end_at_the_longest_trained_length(longest_trained, first):
    count = torch.zeros(21, dtype=torch.int64)
    count[2:] = 1
    accuracy = (torch.arange(21) <= 3).double()  # right where it was trained
    buckets = length_buckets(accuracy, count, longest_trained)
    assert buckets[0][:2] == first
    assert buckets[0].accuracy == (1 if longest_trained == 3 else pytest.approx(2 / 3))
    assert (buckets[-1].longest, sum(bucket.num_sequences for bucket in buckets)) == (20, 19)


def draw(target, num_outputs, num_samples, generator):
    """Probabilities and targets."""
    if target == "multiclass":
        probabilities = torch.rand(num_samples, num_outputs, generator=generator).softmax(-1)
        return probabilities, torch.randint(num_outputs, (num_samples,), generator=generator)
    shape = (num_samples,) if target == "binary" else (num_samples, num_outputs)
    return torch.rand(shape, generator=generator), torch.randint(2, shape, generator=generator).float()


def right_answers(probabilities, targets, target):
    """Whether each prediction is correct, in plain Python; for multilabel the fraction of correct labels."""
    rows = zip(probabilities.tolist(), targets.tolist(), strict=True)
    if target == "multiclass":
        return np.array([row.index(max(row)) == label for row, label in rows], dtype=float)
    if target == "binary":
        return np.array([(p > 0.5) == (label == 1) for p, label in rows], dtype=float)
    return np.array([np.mean([(p > 0.5) == (one == 1) for p, one in zip(*row, strict=True)]) for row in rows])


@pytest.mark.parametrize(("target", "num_outputs"), [("binary", 1), ("multiclass", 4), ("multilabel", 3)])
def test_accuracy_of_each_range_equals_a_plain_mean(target, num_outputs):
    generator = torch.Generator().manual_seed(0)
    metric, lengths, right, labels = LengthAccuracy(target, num_outputs), [], [], []
    for longest in (5, 40, 12):  # the table of lengths grows, and can be longer than a batch needs
        probabilities, targets = draw(target, num_outputs, 50, generator)
        lengths.append(torch.randint(2, longest + 1, (50,), generator=generator))
        right.append(right_answers(probabilities, targets, target))
        labels.append(targets)
        metric.update(probabilities, targets, lengths[-1])
    lengths, right = torch.cat(lengths).numpy(), np.concatenate(right)
    *by_length, chance = metric.compute()
    buckets = length_buckets(*by_length)
    assert sum(bucket.num_sequences for bucket in buckets) == 150
    answers = torch.cat(labels).reshape(150, -1).numpy().T
    constant = DummyClassifier(strategy="most_frequent")  # for each label
    expected = [constant.fit(np.zeros(150), answer).score(np.zeros(150), answer) for answer in answers]
    assert chance == pytest.approx(np.mean(expected), rel=1e-12)
    assert (buckets[0].shortest, buckets[-1].longest) == (lengths.min(), lengths.max())
    for shortest, longest, num_sequences, accuracy in buckets:
        within = (lengths >= shortest) & (lengths <= longest)
        assert num_sequences == within.sum()
        assert accuracy == pytest.approx(right[within].mean(), rel=1e-12)
    metric.reset()
    metric.update(*draw(target, num_outputs, 3, generator), torch.tensor([1, 2, 3]))
    assert metric.compute()[1].tolist() == [0, 1, 1, 1]


def test_ranges_without_sequences_are_left_out():
    count = torch.zeros(101, dtype=torch.int64)
    count[[10, 100]] = torch.tensor([3, 1])
    accuracy = torch.full((101,), torch.nan)
    accuracy[[10, 100]] = torch.tensor([1 / 3, 1.0])
    assert [bucket[:3] for bucket in length_buckets(accuracy, count)] == [(10, 21, 3), (94, 100, 1)]


@pytest.mark.parametrize("num_sequences", [0, 1, 7])
def test_single_length_makes_no_buckets(num_sequences):
    count = torch.zeros(9, dtype=torch.int64)
    count[8] = num_sequences
    assert length_buckets(torch.ones(9), count) == []


class Silent(SequenceClassifier):
    def test_step(self, batch, batch_idx):
        self.log("test/loss", 1.0)

    def on_test_epoch_end(self):
        pass


@pytest.mark.parametrize("kind", [SequenceClassifier, Silent])
def test_callback_works_in_a_trainer_and_with_a_subclass_that_returns_nothing(kind):
    callback = AccuracyByLength()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[callback])
    data = SyntheticSequences(Parity(max_length=5), num_test=50)
    model = kind(vocab_size=2)
    for _ in range(2):  # the second test starts from empty counts
        [results] = trainer.test(model, data, verbose=False)
    expected = set() if kind is Silent else {f"test_lengths/accuracy_{length}_{length}" for length in range(2, 6)}
    assert {name for name in results if name.startswith("test_lengths")} == expected
    assert sum(bucket.num_sequences for bucket in callback.buckets) == (0 if kind is Silent else 50)


@pytest.mark.parametrize(("test_lengths", "expected"), [(None, 7), ("2:40", 7), ("20:40", None)])
def test_callback_cuts_at_the_longest_trained_length(test_lengths, expected):
    callback = AccuracyByLength()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[callback])
    data = SyntheticSequences(Parity(max_length=7), num_test=500, test_lengths=test_lengths)
    trainer.test(SequenceClassifier(vocab_size=2), data, verbose=False)
    assert (expected in [bucket.longest for bucket in callback.buckets]) == (expected is not None)
    assert all(bucket.shortest > 7 or bucket.longest <= 7 for bucket in callback.buckets)
