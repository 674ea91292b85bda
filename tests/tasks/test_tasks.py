"""Every task, against a slow checker in plain Python and simple models of its label."""

import dataclasses
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import seqlight
from seqlight import (
    Adding,
    Batch,
    CycleNavigation,
    DelayedRecall,
    Dyck,
    EarlyAdding,
    EvenPairs,
    FrequencySign,
    Majority,
    ModularArithmetic,
    Parity,
    RunningParity,
    SequenceTask,
    SumSign,
    SyntheticSequences,
    TemporalOrder,
    Tomita,
)
from seqlight.data.baselines import measure_baselines
from seqlight.tasks import dyck, tomita
from seqlight.tasks.languages import step_chances

MANY = 4000
TASKS = [
    cls
    for cls in (getattr(seqlight, name) for name in seqlight.__all__)
    if isinstance(cls, type) and issubclass(cls, SequenceTask) and cls is not SequenceTask
]


@cache
def draw(task, num_samples=MANY, seed=0):
    return task.sample(num_samples, np.random.default_rng(seed))


def sequences(batch):
    return [steps[:length] for steps, length in zip(batch.inputs.tolist(), batch.lengths.tolist(), strict=True)]


def sum_sign(steps):
    return sum(value for [value] in steps) > 0


def adding(steps):
    first, second = [value for value, marker in steps if marker == 1]
    return first + second > 1


def early_adding(steps):
    marked = [value for value, marker in steps if marker == 1]
    assert len(marked) == (1 if [marker for _, marker in steps].count(1) == 1 else 2)
    return sum(marked) > 0


def temporal_order(tokens):
    first, second = ["XY"[token - 4] for token in tokens if token in (4, 5)]
    return TemporalOrder.class_names.index(first + second)


def parity(tokens):
    odd = False
    for token in tokens:
        odd ^= token == 1
    return odd


def even_pairs(tokens):
    return sum(a != b for a, b in itertools.pairwise(tokens)) % 2 == 0


def majority(tokens):
    return tokens.count(1) > tokens.count(0)


def cycle(tokens):
    circle = [0, 1, 2, 3, 4]
    for token in tokens:
        turns = {0: 0, 1: 1, 2: 4}[token]
        circle = circle[turns:] + circle[:turns]
    return circle[0]


def arithmetic(tokens, modulus, precedence):
    symbols = [str(token) if token < modulus else "+-*"[token - modulus] for token in tokens]
    if precedence:
        return eval("".join(symbols)) % modulus
    value, *rest = symbols
    for operator, number in zip(rest[::2], rest[1::2], strict=True):
        value = str(eval(f"({value}){operator}{number}"))
    return int(value) % modulus


def first_symbol(tokens):
    return tokens[0]


def balanced(tokens, kinds, depth):
    stack = []
    for token in tokens:
        if token < kinds:
            stack.append(token)
        elif not stack or stack.pop() != token - kinds:
            return False
        if len(stack) > depth:
            return False
    return not stack


def in_tomita(tokens, number):
    word = "".join(map(str, tokens))
    if number == 3:
        runs = [(bit, len(list(run))) for bit, run in itertools.groupby(word)]
        return not any(a[0] == "1" and a[1] % 2 and b[1] % 2 for a, b in itertools.pairwise(runs))
    return {
        1: lambda: re.fullmatch("1*", word) is not None,
        2: lambda: re.fullmatch("(10)*", word) is not None,
        4: lambda: "000" not in word,
        5: lambda: word.count("0") % 2 == word.count("1") % 2 == 0,
        6: lambda: (word.count("0") - word.count("1")) % 3 == 0,
        7: lambda: re.fullmatch("0*1*0*1*", word) is not None,
    }[number]()


def cycle_shares(task):
    """The share of each class: the mean over all lengths of the probability of each place."""
    step = sum(np.roll(np.eye(5), turn, axis=1) for turn in (-1, 0, 1)) / 3
    lengths = range(task.min_length, task.max_length + 1)
    return np.mean([np.linalg.matrix_power(step, length)[0] for length in lengths], axis=0)


def arithmetic_shares(task):
    """The share of each class, from the probability of each pair of a sum and a last term."""
    modulus, numbers = task.modulus, range(task.modulus)
    chances, by_length = dict.fromkeys(itertools.product([0], numbers), 1 / modulus), {}
    for length in range(1, task.max_length + 1, 2):
        by_length[length] = [sum(p for (a, b), p in chances.items() if (a + b) % modulus == c) for c in numbers]
        following = Counter()
        for ((total, term), p), number in itertools.product(chances.items(), numbers):
            value = (total + term) % modulus
            product = (total, term * number % modulus) if task.precedence else (0, value * number % modulus)
            for state in ((value, number), (value, -number % modulus), product):
                following[state] += p / (3 * modulus)
        chances = following
    return np.mean([by_length[length] for length in by_length if length >= task.min_length], axis=0)


@dataclass(frozen=True)
class Case:
    task: SequenceTask
    label: object
    lengths: range
    shares: object = None  # gives the share of each class of a task; equal by default

    def __str__(self):
        return re.sub(r"m\w\w_length=|\w+=", "", str(self.task))


def case(task, label, *, first=None, step=1, shares=None):
    first = first or task.min_length or task.max_length
    return Case(task, label, range(first, task.max_length + 1, step), shares)


def arithmetic_case(**arguments):
    task = ModularArithmetic(**arguments)
    label = partial(arithmetic, modulus=task.modulus, precedence=task.precedence)
    return case(task, label, first=task.min_length + (task.min_length + 1) % 2, step=2, shares=arithmetic_shares)


def dyck_case(*, first=2, **arguments):
    task = Dyck(**arguments)
    return case(task, partial(balanced, kinds=task.num_kinds, depth=task.max_depth), first=first, step=2)


def tomita_case(number, first, step=1, **arguments):
    task = Tomita(number=number, **arguments)
    return case(task, partial(in_tomita, number=number), first=first, step=step)


MEMBERSHIP = [
    *(tomita_case(number, {1: 2, 4: 4, 7: 4}.get(number, 2), 2 if number in (2, 5) else 1) for number in range(1, 8)),
    *(tomita_case(n, f, s, min_length=1, max_length=9) for n, f, s in [(1, 1, 1), (2, 2, 2), (3, 2, 1), (7, 4, 1)]),
    tomita_case(4, 8, min_length=8, max_length=12),
    dyck_case(),
    dyck_case(num_kinds=1, max_depth=1, max_length=9),
    dyck_case(num_kinds=1, max_depth=60, min_length=1, max_length=30),
    dyck_case(num_kinds=3, max_depth=2, min_length=5, max_length=12, first=6),
    dyck_case(num_kinds=2, max_depth=9, min_length=60, max_length=60, first=60),
]
CASES = [
    *(case(SumSign(max_length=length), sum_sign) for length in (1, 10, 33)),
    case(SumSign(min_length=3, max_length=6), sum_sign),
    *(case(Adding(max_length=length), adding) for length in (2, 7, 50)),
    case(Adding(min_length=2, max_length=9), adding),
    case(EarlyAdding(), early_adding),
    case(EarlyAdding(min_length=12, max_length=20), early_adding),
    case(TemporalOrder(), temporal_order),
    case(TemporalOrder(min_length=10, max_length=14), temporal_order),
    case(Parity(min_length=1, max_length=1), parity),
    case(Parity(), parity),
    case(Parity(min_length=5, max_length=20), parity),
    case(EvenPairs(), even_pairs),
    case(EvenPairs(min_length=3, max_length=3), even_pairs),
    case(Majority(), majority),
    case(Majority(min_length=1, max_length=6), majority),
    case(CycleNavigation(), cycle, shares=cycle_shares),
    case(CycleNavigation(min_length=1, max_length=4), cycle, shares=cycle_shares),
    arithmetic_case(),
    arithmetic_case(precedence=False),
    arithmetic_case(min_length=1, max_length=5),
    arithmetic_case(min_length=2, max_length=12, modulus=3, precedence=False),
    case(DelayedRecall(), first_symbol),
    case(DelayedRecall(min_length=2, max_length=5, num_symbols=7), first_symbol),
    *MEMBERSHIP,
]
FREQUENCY = [
    case(FrequencySign(noise=noise, **lengths), None) for noise in (0.0, 0.3) for lengths in ({}, {"min_length": 90})
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_case_and_frequency = pytest.mark.parametrize("case", CASES + FREQUENCY, ids=str)
each_membership_case = pytest.mark.parametrize("case", MEMBERSHIP, ids=str)


@each_case
def test_labels_equal_the_checkers(case):
    batch = draw(case.task)
    assert batch.targets.tolist() == [float(case.label(steps)) for steps in sequences(batch)]


@each_case_and_frequency
def test_classes_have_the_expected_shares(case):
    classes = max(case.task.num_outputs, 2)
    shares = case.shares(case.task) if case.shares else np.full(classes, 1 / classes)
    found = np.bincount(draw(case.task).targets.long(), minlength=classes) / MANY
    assert (abs(found - shares) < 4 * (shares * (1 - shares) / MANY) ** 0.5).all()


@each_case_and_frequency
def test_lengths_are_uniform(case):
    found, share = Counter(draw(case.task).lengths.tolist()), 1 / len(case.lengths)
    assert set(found) <= set(case.lengths)
    for length in case.lengths:
        assert abs(found[length] / MANY - share) <= 4 * (share * (1 - share) / MANY) ** 0.5


@each_case_and_frequency
def test_samples_match_the_tasks_attributes(case):
    task, batch = case.task, draw(case.task)
    assert isinstance(batch, Batch)
    padding = torch.arange(task.max_length) >= batch.lengths[:, None]
    assert (batch.inputs[padding] == 0).all()
    assert (batch.lengths.shape, batch.lengths.dtype) == ((MANY,), torch.int64)
    if task.vocab_size is None:
        assert (batch.inputs.shape, batch.inputs.dtype) == ((MANY, task.max_length, task.input_size), torch.float32)
    else:
        assert task.input_size is None
        assert (batch.inputs.shape, batch.inputs.dtype) == ((MANY, task.max_length), torch.int64)
        # Each token of the vocabulary occurs.
        assert set(batch.inputs.unique().tolist()) - {0} == set(range(1, task.vocab_size))
    expected = {"binary": torch.float32, "multiclass": torch.int64}[task.target]
    assert (batch.targets.shape, batch.targets.dtype) == ((MANY,), expected)
    assert (task.num_outputs == 1) == (task.target == "binary")
    assert task.class_names is None or len(task.class_names) == max(task.num_outputs, 2)


@pytest.mark.parametrize("cls", TASKS)
def test_randomness_comes_only_from_the_generator(cls):
    state = torch.random.get_rng_state()
    np.random.seed(0)  # noqa: NPY002
    first, again, other = (cls().sample(50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(*parts) for parts in zip(first, again, strict=True))
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.random.randint(1 << 30) == np.random.RandomState(0).randint(1 << 30)  # noqa: NPY002


def test_fixed_length_draws_nothing_from_the_generator():
    rng, reference = np.random.default_rng(5), np.random.default_rng(5)
    values = reference.standard_normal((20, 10, 1), dtype=np.float32)
    assert np.array_equal(SumSign().sample(20, rng).inputs, values)
    assert rng.random() == reference.random()


def test_sum_sign_values_are_standard_normal():
    values = draw(SumSign()).inputs.double()
    count = values.numel()
    assert abs(values.mean().item()) < 4 / count**0.5
    assert abs(values.var().item() - 1) < 4 * (2 / count) ** 0.5


@pytest.mark.parametrize("task", [Adding(max_length=2), Adding(max_length=50), Adding(min_length=2, max_length=9)])
def test_adding_marks_one_place_in_each_half(task):
    batch = draw(task)
    assert batch.inputs[..., 0].min() >= 0
    assert batch.inputs[..., 0].max() < 1
    for steps in sequences(batch):
        markers = [marker for _, marker in steps]
        half = len(steps) // 2
        assert set(markers) <= {0, 1}
        assert markers[:half].count(1) == markers[half:].count(1) == 1
    assert (batch.inputs[..., 1].sum(0) > 0).all()


@pytest.mark.parametrize("task", [EarlyAdding(), EarlyAdding(min_length=12, max_length=20)])
def test_early_adding_marks_two_early_places_and_both_ends(task):
    batch, half = draw(task), task.min_length // 2 - 1
    places = Counter()
    for steps in sequences(batch):
        markers = [marker for _, marker in steps]
        assert markers[0] == markers[-1] == -1
        assert set(markers[1:-1]) <= {0, 1}
        marked = [place for place, marker in enumerate(markers) if marker == 1]
        assert len(marked) in (1, 2)  # one if the first step was chosen
        assert marked[0] < max(10, half)
        assert any(place < half for place in marked) or len(marked) == 1
        places.update(marked)
    assert set(places) == set(range(1, max(10, half)))
    values = batch.inputs[..., 0]
    assert -1 <= values.min() < -0.99
    assert 0.99 < values.max() < 1


@pytest.mark.parametrize("task", [TemporalOrder(), TemporalOrder(min_length=10, max_length=14)])
def test_temporal_order_places_its_symbols_as_documented(task):
    unit = task.min_length
    first, second = set(), set()
    for tokens in sequences(draw(task)):
        assert (tokens[0], tokens[-1]) == (6, 7)
        one, two = [place for place, token in enumerate(tokens) if token in (4, 5)]
        assert set(tokens[1:one] + tokens[one + 1 : two] + tokens[two + 1 : -1]) <= {0, 1, 2, 3}
        first.add(one)
        second.add(two)
    assert first == set(range(unit // 10, unit // 5 + 1))
    assert second == set(range(unit // 2, 6 * unit // 10 + 1))


@pytest.mark.parametrize(("noise", "right"), [(0.0, 1.0), (0.3, 0.99)])
def test_frequency_label_equals_the_best_matching_chirp(noise, right):
    batch = draw(FrequencySign(noise=noise), 500)
    # The reference label: whether the most similar chirp on a grid rises.
    grid = np.arange(0.02, 0.2001, 0.01)
    start, end = (values.ravel() for values in np.meshgrid(grid, grid))
    agree = []
    for values, label in zip(sequences(batch), batch.targets.tolist(), strict=True):
        steps = np.arange(len(values))
        cycles = start[:, None] * steps + (end - start)[:, None] * steps**2 / (2 * (len(values) - 1))
        likeness = abs(np.exp(2j * np.pi * cycles) @ np.array(values)[:, 0])
        agree.append((likeness[end > start].max() > likeness[end < start].max()) == label)
    assert np.mean(agree) >= right


def test_frequency_noise_has_the_given_standard_deviation():
    clean, noisy = (draw(FrequencySign(noise=noise, min_length=100)).inputs.double() for noise in (0.0, 0.5))
    assert abs(clean).max() <= 1
    assert abs((clean**2).mean().item() - 0.5) < 0.01
    assert abs((noisy**2).mean().item() - 0.75) < 0.01


@pytest.mark.parametrize("cls", TASKS)
def test_tasks_are_immutable_values_with_lengths(cls):
    assert cls() == cls()
    assert len({cls(), cls(), cls().with_lengths(31, 37)}) == 2
    changed = cls().with_lengths(31, 37)
    assert (changed.min_length, changed.max_length) == (31, 37)
    assert dataclasses.replace(changed, min_length=cls().min_length, max_length=cls().max_length) == cls()
    assert 31 <= draw(changed, 64).lengths.min() < draw(changed, 64).lengths.max() <= 37
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.max_length = 6
    with pytest.raises(TypeError, match="positional"):
        cls(31)
    assert "\n    Source: " in cls.__doc__
    assert "\n    Args:" in cls.__doc__


class Unchosen(SequenceTask):
    def sample(self, num_samples, rng):
        raise NotImplementedError


def test_with_lengths_needs_a_task_with_lengths():
    with pytest.raises(ValueError, match="the lengths of Unchosen can't be chosen: expected a dataclass with"):
        Unchosen().with_lengths(1, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SumSign(max_length=0), "max_length must be at least 1, got 0"),
        (lambda: SumSign(min_length=0), "min_length must be at least 1, got 0"),
        (lambda: SumSign(min_length=11), r"max_length must be at least min_length \(11\), got 10"),
        (lambda: Adding(max_length=1), "max_length must be at least 2, got 1"),
        (lambda: EarlyAdding(min_length=11), "min_length must be at least 12, got 11"),
        (lambda: TemporalOrder(min_length=9), "min_length must be at least 10, got 9"),
        (lambda: Parity(min_length=0), "min_length must be at least 1, got 0"),
        (lambda: Parity(min_length=5, max_length=4), r"max_length must be at least min_length \(5\), got 4"),
        (lambda: EvenPairs(min_length=1), "min_length must be at least 2, got 1"),
        (lambda: Majority(min_length=-1), "min_length must be at least 1, got -1"),
        (lambda: CycleNavigation(max_length=3), r"max_length must be at least min_length \(10\), got 3"),
        (lambda: ModularArithmetic(modulus=1), "modulus must be at least 2, got 1"),
        (
            lambda: ModularArithmetic(min_length=4, max_length=4),
            r"min_length to max_length must include one of 1, 3, 5, \.\.\., the lengths that have .*; got 4 to 4",
        ),
        (lambda: DelayedRecall(num_symbols=1), "num_symbols must be at least 2, got 1"),
        (lambda: DelayedRecall(min_length=1), "min_length must be at least 2, got 1"),
        (lambda: FrequencySign(noise=-0.1), r"noise must be at least 0, got -0\.1"),
        (lambda: FrequencySign(noise=float("nan")), "noise must be finite, got nan"),
        (lambda: FrequencySign(min_length=19), "min_length must be at least 20, got 19"),
        (lambda: Dyck(num_kinds=0), "num_kinds must be at least 1, got 0"),
        (lambda: Dyck(max_depth=0), "max_depth must be at least 1, got 0"),
        (lambda: Dyck(min_length=7, max_length=7), r"must include one of 2, 4, 6, \.\.\., .*; got 7 to 7"),
        (lambda: Tomita(number=8), "number must be from 1 to 7, got 8"),
        (lambda: Tomita(number=2, min_length=3, max_length=3), r"one of 2, 4, 6, .*; got 3 to 3"),
        (lambda: Tomita(number=4, max_length=3), r"one of 4, 5, 6, .*; got 2 to 3"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.usefixtures("without_type_checks")
def test_lengths_must_be_integers():
    with pytest.raises(TypeError, match=r"max_length must be an integer, got 2\.5"):
        SumSign(max_length=2.5)


def occurrences(task, batch):
    """The counts of each token, or the sums and means of features over time."""
    if task.vocab_size is None:
        sums = batch.inputs.sum(1).numpy()
        return np.column_stack([sums, sums / batch.lengths[:, None].numpy()])
    true_step = torch.arange(batch.inputs.shape[1]) < batch.lengths[:, None]
    return torch.stack([((batch.inputs == token) & true_step).sum(1) for token in range(task.vocab_size)], 1).numpy()


def linear_accuracy(features, targets, more_features, more_targets):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(features, targets).score(more_features, more_targets)


CLASSES = [cls for cls in TASKS if cls.target != "regression"]
PER_SEQUENCE = [cls for cls in CLASSES if cls.label_per == "sequence"]


@pytest.mark.parametrize("task", [cls(**arguments) for cls in PER_SEQUENCE for arguments, _ in cls.measured], ids=str)
def test_baselines_equal_accuracies_of_simple_models(task):
    train, test = (draw(task, 20_000, seed) for seed in (1, 2))
    targets = [batch.targets.numpy() for batch in (train, test)]
    bags = [np.column_stack([occurrences(task, batch), batch.lengths]) for batch in (train, test)]
    last = [batch.inputs[torch.arange(20_000), batch.lengths - 1].numpy() for batch in (train, test)]
    if task.vocab_size is not None:
        last = [np.eye(task.vocab_size)[symbols] for symbols in last]
    most_frequent = Counter(targets[0].tolist()).most_common(1)[0][0]
    found = {
        "majority": (targets[1] == most_frequent).mean(),
        "last_symbol": linear_accuracy(last[0], targets[0], last[1], targets[1]),
        "bag_of_symbols": linear_accuracy(bags[0], targets[0], bags[1], targets[1]),
    }
    assert dataclasses.asdict(task.baselines) == pytest.approx(found, abs=0.03)
    kind = {"target": task.target, "num_outputs": task.num_outputs, "vocab_size": task.vocab_size}
    measured = measure_baselines(train, test, **kind).baselines
    assert dataclasses.asdict(measured) == pytest.approx(found, abs=0.02)


def test_baselines_of_running_parity_equal_accuracies_of_simple_models():
    task = RunningParity()
    rows, targets = [], []
    for batch in (draw(task, 500, 1), draw(task, 500, 2)):
        bits, labels = batch.inputs.numpy(), batch.targets.numpy()
        places = [(row, step) for row, size in enumerate(batch.lengths) for step in range(size)]
        own = [(bits[row, : step + 1], labels[row, step]) for row, step in places]
        rows.append([[part[-1], len(part), part.sum()] for part, _ in own])
        targets.append([label for _, label in own])
    rows, targets = [np.array(each) for each in rows], [np.array(each) for each in targets]
    found = {
        "majority": (targets[1] == Counter(targets[0].tolist()).most_common(1)[0][0]).mean(),
        "last_symbol": linear_accuracy(rows[0][:, :1], targets[0], rows[1][:, :1], targets[1]),
        "bag_of_symbols": linear_accuracy(rows[0][:, 1:], targets[0], rows[1][:, 1:], targets[1]),
    }
    assert dataclasses.asdict(task.baselines) == pytest.approx(found, abs=0.03)
    kind = {"target": "binary", "num_outputs": 1, "vocab_size": 2, "label_per": "step"}
    measured = measure_baselines(draw(task, 500, 1), draw(task, 500, 2), **kind)
    assert dataclasses.asdict(measured.baselines) == pytest.approx(found, abs=1e-3)
    assert (measured.num_train, measured.num_evaluated) == (len(targets[0]), len(targets[1]))


def test_running_parity_ends_with_the_label_of_parity_and_changes_at_ones():
    batch = draw(RunningParity(max_length=12))
    for bits, labels, length in zip(batch.inputs, batch.targets, batch.lengths, strict=True):
        assert labels[:length].tolist() == [parity(bits[: step + 1].tolist()) for step in range(length)]
        assert not labels[length:].any()


@pytest.mark.parametrize("cls", CLASSES)
def test_baselines_are_given_only_for_the_measured_arguments(cls):
    others = [field.name for field in dataclasses.fields(cls) if field.name not in ("min_length", "max_length")]
    assert cls().baselines is not None
    assert cls().with_lengths(31, 37).baselines is None
    for name in set(others) - {"number", "precedence"}:
        assert dataclasses.replace(cls(), **{name: getattr(cls(), name) + 1}).baselines is None
    for arguments, baselines in cls.measured:
        assert cls(**arguments).baselines is baselines
        assert cls(**arguments).with_lengths(31, 37).baselines is None


def test_baselines_are_known_for_each_language_and_definition():
    assert all(Tomita(number=number).baselines for number in range(1, 8))
    assert Tomita(number=3).baselines is Tomita().baselines
    assert all(ModularArithmetic(precedence=precedence).baselines for precedence in (True, False))
    assert ModularArithmetic(precedence=False, modulus=7).baselines is None
    assert Unchosen().baselines is None


@each_membership_case
def test_length_and_counts_do_not_reveal_the_label(case):
    task, train, test = case.task, draw(case.task, 8000, 1), draw(case.task, 8000, 2)
    chance = 0.5 + 4 * 0.5 / 8000**0.5
    by_count = isinstance(task, Tomita) and task.number in (1, 5, 6)
    bags = [np.column_stack([occurrences(task, batch), batch.lengths]) for batch in (train, test)]
    targets = [batch.targets.numpy() for batch in (train, test)]
    linear = linear_accuracy(bags[0], targets[0], bags[1], targets[1])
    assert (linear > 0.99) if by_count and task.number == 1 else (linear < chance)
    for columns, reveals in ((slice(-1, None), False), (slice(None), by_count)):
        table = {}
        for bag, target in zip(bags[0][:, columns].tolist(), targets[0].tolist(), strict=True):
            table.setdefault(tuple(bag), Counter())[target] += 1
        guesses = {bag: counts.most_common(1)[0][0] for bag, counts in table.items()}
        found = np.mean([guesses.get(tuple(bag), 0) for bag in bags[1][:, columns].tolist()] == targets[1])
        assert (found > 0.99) if reveals else (found < chance)


def edits(tokens, by_count):
    for first in range(len(tokens)):
        if by_count:
            yield [*tokens[:first], 1 - tokens[first], *tokens[first + 1 :]]
            continue
        for second in range(first):
            swapped = list(tokens)
            swapped[first], swapped[second] = tokens[second], tokens[first]
            yield swapped


@each_membership_case
def test_each_near_word_is_one_edit_away_from_a_word(case):
    batch = draw(case.task)
    by_count = isinstance(case.task, Tomita) and case.task.number in (1, 5, 6)
    outside = [tokens for tokens, target in zip(sequences(batch), batch.targets, strict=True) if target == 0]
    assert len(outside) > 1000
    for tokens in outside[:60]:
        assert any(case.label(edited) for edited in edits(tokens, by_count))


@pytest.mark.parametrize(
    "case",
    [
        *(tomita_case(number, 6, min_length=6, max_length=6) for number in range(1, 8)),
        *(dyck_case(num_kinds=1, max_depth=depth, min_length=6, max_length=6, first=6) for depth in (1, 2, 3)),
        dyck_case(num_kinds=2, max_depth=2, min_length=4, max_length=4, first=4),
    ],
    ids=str,
)
def test_frequencies_of_words_and_near_words_are_proportional_to_edits(case):
    task, by_count = case.task, isinstance(case.task, Tomita) and case.task.number in (1, 5, 6)
    batch = draw(task, 10_000)
    words, others = Counter(), Counter()
    for word in itertools.product(range(task.vocab_size), repeat=task.max_length):
        if case.label(word):
            changed = Counter(tuple(edited) for edited in edits(word, by_count) if not case.label(edited))
            others += changed
            words += Counter({word: changed.total()})
    for target, expected in ((1, words), (0, others)):
        found = Counter(map(tuple, batch.inputs[batch.targets == target].tolist()))
        assert set(found) == set(expected)
        for tokens, number in found.items():
            share = expected[tokens] / expected.total()
            assert abs(number - found.total() * share) < 4.5 * (found.total() * share) ** 0.5


@pytest.mark.parametrize("left", [1, 2, 5, 8])
@pytest.mark.parametrize("number", range(1, 8))
def test_words_of_one_length_have_equal_probabilities(number, left):
    words = [word for word in itertools.product((0, 1), repeat=left) if in_tomita(word, number)]
    chances = step_chances(*tomita._automaton(number), left)[left, 0]
    if words:
        assert chances.tolist() == pytest.approx([sum(word[0] == bit for word in words) / len(words) for bit in (0, 1)])
    else:
        assert chances.tolist() == [0, 0]


@pytest.mark.parametrize(("depth", "left"), [(1, 4), (2, 8), (3, 8), (9, 10)])
def test_shapes_of_brackets_have_equal_probabilities(depth, left):
    words = [word for word in itertools.product((0, 1), repeat=left) if balanced(word, 1, depth)]
    assert dyck._chances(depth, left)[left, 0] == pytest.approx(1)
    after_one = sum(word[1] == 0 for word in words) / len(words)
    assert dyck._chances(depth, left)[left - 1, 1] == pytest.approx(after_one)


def test_long_words_do_not_overflow():
    # The number of words exceeds the range of floats.
    for task, label in (
        (Tomita(number=4, min_length=3000, max_length=3000), partial(in_tomita, number=4)),
        (Dyck(num_kinds=1, min_length=3000, max_length=3000, max_depth=40), partial(balanced, kinds=1, depth=40)),
    ):
        batch = draw(task, 20)
        assert batch.targets.tolist() == [label(tokens) for tokens in sequences(batch)]


@pytest.mark.parametrize("cls", TASKS)
def test_example_has_arguments_that_exist(cls):
    example = cls.example
    data = SyntheticSequences(cls(**example.task), **example.data)
    assert data.num_samples["train"] <= 20_000
    assert issubclass(getattr(seqlight, example.cell), seqlight.RecurrentCell)
    assert 1 <= example.max_epochs <= 20


@pytest.mark.parametrize("task", [cls(**arguments) for cls in TASKS for arguments, _ in cls.measured], ids=str)
def test_tasks_that_adding_up_solves_say_so(task):
    assert task.solved_by_bag == (task.baselines.bag_of_symbols > 0.99)
