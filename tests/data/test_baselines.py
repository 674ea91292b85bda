import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seqlight import Batch
from seqlight.data.baselines import MOST_SEQUENCES, measure_baselines, some_of
from seqlight.data.sequences import Sequences

OUTPUTS = {"binary": 1, "multiclass": 4, "multilabel": 3}


def samples(target, vocab_size=None, num_samples=300, num_steps=12, num_features=3, seed=0):
    """Sequences of unequal length whose labels depend on their last step and on their bag, with noise."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, num_steps + 1, num_samples)
    steps = np.arange(num_steps) < lengths[:, None]
    last = np.arange(num_samples), lengths - 1
    if vocab_size is None:
        inputs = rng.normal(1, 2, (num_samples, num_steps, num_features)).astype(np.float32)
        scores = inputs[last] + (inputs * steps[..., None]).mean(1)
    else:
        inputs = rng.integers(0, vocab_size, (num_samples, num_steps))
        counts = np.stack([((inputs == token) & steps).sum(1) for token in range(3)], axis=1)
        scores = counts + 2.0 * (inputs[last][:, None] == np.arange(3))
    scores = scores - scores.mean(0) + rng.normal(0, 1, scores.shape)
    targets = {
        "binary": (scores[:, 0] > 0.5).astype(np.float32),
        "multiclass": np.where(scores.max(1) < 0.5, 3, scores.argmax(1)),
        "multilabel": (scores[:, [0, 1, 2]] > 0.3).astype(np.float32),
    }[target]
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(lengths))


def measure(train, evaluated, target, vocab_size=None, num_outputs=None):
    return measure_baselines(
        train, evaluated, target=target, num_outputs=num_outputs or OUTPUTS[target], vocab_size=vocab_size
    )


def tables(batch, vocab_size):
    """The last step and the bag of steps of each sequence, in plain Python."""
    last, bag = [], []
    for steps, length in zip(batch.inputs.numpy(), batch.lengths.tolist(), strict=True):
        true = steps[:length]
        if vocab_size is None:
            bag.append([length, *true.sum(0), *true.mean(0)])
            last.append(true[-1])
        else:
            bag.append([length, *np.bincount(true, minlength=vocab_size)])
            last.append(np.eye(vocab_size)[true[-1]])
    return np.array(last), np.array(bag)


@pytest.mark.parametrize("target", OUTPUTS)
@pytest.mark.parametrize("vocab_size", [None, 6])
def test_accuracies_equal_those_of_scikit_learn(target, vocab_size):
    train, test = (samples(target, vocab_size, seed=seed) for seed in (0, 1))
    found = measure(train, test, target, vocab_size)
    truth, answers = train.targets.numpy(), test.targets.numpy()
    expected = []
    for known, new in zip(tables(train, vocab_size), tables(test, vocab_size), strict=True):
        model = LogisticRegression(max_iter=1000)
        model = make_pipeline(StandardScaler(), MultiOutputClassifier(model) if target == "multilabel" else model)
        expected.append((model.fit(known, truth).predict(new) == answers).mean())
    if target == "multiclass":
        majority = (answers == np.bincount(truth).argmax()).mean()
    else:
        majority = (answers == (truth.mean(0) > 0.5)).mean()
    assert dataclasses.astuple(found.baselines) == pytest.approx((majority, *expected), abs=0.007)  # 2 sequences
    assert max(expected) > majority + 0.1
    assert found[1:5] == (300, 300, 300, 300)


def test_last_token_predicts_its_most_frequent_class():
    tokens = torch.tensor([[2, 0, 9], [2, 0, 9], [2, 0, 9], [0, 1, 9], [0, 1, 9], [2, 2, 9], [2, 2, 9]])
    batch = Batch(tokens, torch.tensor([2, 2, 1, 0, 0, 1, 1]), torch.full((7,), 2))
    found = measure(batch, batch, "multiclass", vocab_size=10, num_outputs=4).baselines
    assert (found.majority, found.last_symbol) == (3 / 7, 6 / 7)


@pytest.mark.parametrize("vocab_size", [None, 6])
@pytest.mark.parametrize("target", OUTPUTS)
def test_sequences_without_padding_give_the_same(target, vocab_size):
    batches = [samples(target, vocab_size, seed=seed) for seed in (0, 1)]
    packed = []
    for batch in batches:
        values = torch.cat([steps[:length] for steps, length in zip(batch.inputs, batch.lengths, strict=True)])
        packed.append(Sequences(values, batch.lengths.cumsum(0) - batch.lengths, batch.lengths, batch.targets))
        padding = torch.arange(12) >= batch.lengths[:, None]
        batch.inputs[padding] = torch.nan if vocab_size is None else 5
    assert measure(*packed, target, vocab_size) == measure(*batches, target, vocab_size)


def constant(batch):
    return batch._replace(inputs=torch.full_like(batch.inputs, 3), lengths=torch.full_like(batch.lengths, 12))


def one_class(batch):
    return batch._replace(targets=torch.zeros_like(batch.targets))


def one_sample(batch):
    return Batch(*(part[:1] for part in batch))


def huge(batch):
    return batch._replace(inputs=batch.inputs * 1e37)


def not_finite(batch):
    batch.inputs[::7] = torch.nan
    batch.inputs[1::7] = torch.inf
    return batch


@pytest.mark.parametrize("spoil", [constant, one_class, one_sample, huge, not_finite])
@pytest.mark.parametrize("target", OUTPUTS)
def test_unusual_data_have_baselines_too(spoil, target):
    found = measure(spoil(samples(target)), samples(target, seed=1), target).baselines
    assert all(0 <= value <= 1 for value in dataclasses.astuple(found))
    if spoil in (constant, one_class, one_sample):  # nothing to learn from
        assert len({*dataclasses.astuple(found)}) == 1


def test_a_class_that_training_lacks_is_never_predicted():
    train, test = (samples("multiclass", seed=seed) for seed in (0, 1))
    train.targets[train.targets == 2] = 1
    found = measure(train, test, "multiclass").baselines
    assert max(dataclasses.astuple(found)) <= (test.targets != 2).float().mean().item()


def test_more_features_than_samples_equals_scikit_learn():
    train, test = (samples("binary", num_samples=60, num_features=100, seed=seed) for seed in (0, 1))
    found = measure(train, test, "binary").baselines
    for value, known, new in zip(
        (found.last_symbol, found.bag_of_symbols), tables(train, None), tables(test, None), strict=True
    ):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        expected = (model.fit(known, train.targets.numpy()).predict(new) == test.targets.numpy()).mean()
        assert value == pytest.approx(expected, abs=0.034)  # 2 sequences


def test_rare_tokens_of_a_large_vocabulary_count_as_one():
    train, test = (samples("binary", 6, num_samples=400, seed=seed) for seed in (0, 1))
    expected = measure(train, test, "binary", 6).baselines
    for batch in (train, test):
        rare = batch.inputs >= 3
        batch.inputs[rare] += torch.randint(0, 40_000, (int(rare.sum()),), generator=torch.Generator().manual_seed(0))
    found = measure(train, test, "binary", 50_000)
    assert found.baselines.bag_of_symbols == pytest.approx(expected.bag_of_symbols, abs=0.1)
    assert found.num_fitted == 400


def test_long_and_many_sequences_are_represented_by_some():
    lengths = torch.tensor([3_000_000, *[4] * 30_000])
    values = torch.arange(int(lengths.sum()), dtype=torch.int32) % 5
    targets = (torch.arange(len(lengths)) % 2).float()
    many = Sequences(values, lengths.cumsum(0) - lengths, lengths, targets)
    found = measure(many, many, "binary", vocab_size=5)
    assert found.num_train == found.num_split == 30_001
    assert found.num_fitted == found.num_evaluated == MOST_SEQUENCES
    assert found.baselines.majority == pytest.approx(0.5, abs=0.02)


def test_some_samples_are_a_random_choice():
    batch = samples("binary")
    assert some_of(batch, 300) is batch
    some, again = some_of(batch, 100), some_of(batch, 100)
    assert torch.equal(some.inputs, again.inputs)
    rows = [int((batch.inputs[:, 0] == steps[0]).all(1).nonzero()[0]) for steps in some.inputs]
    assert len({*rows}) == 100
    assert len({*np.diff(rows)}) > 3  # no fixed distance, which could follow a pattern in the data
