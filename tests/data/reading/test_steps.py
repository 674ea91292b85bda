"""The order of rows, compared with sorting by (sequence, step)."""

import numpy as np
import pytest

from seqlight.data.reading import steps
from seqlight.data.reading.steps import order_of, repeated_step


@pytest.fixture(params=[1, 2, 3, 5, 100])
def chunk(request, monkeypatch):
    monkeypatch.setattr(steps, "_CHUNK", request.param)


def rows_with_one_swapped_pair(size=12):
    """Sorted rows with two neighbours swapped, once for each pair."""
    for place in range(size - 1):
        order = np.arange(size)
        order[[place, place + 1]] = place + 1, place
        yield order


@pytest.mark.usefixtures("chunk")
def test_sorted_rows_need_no_order():
    codes = np.repeat([0, 1, 2], [5, 1, 6]).astype(np.int32)
    assert order_of(codes, None) is None
    assert order_of(codes, np.r_[:5, 0, :6].astype(np.int64)) is None  # steps decrease where a sequence begins


@pytest.mark.usefixtures("chunk")
def test_unsorted_pair_is_found_at_every_position():
    codes = np.repeat([0, 1], 6).astype(np.int32)
    numbers = np.r_[:6, :6].astype(np.int64)
    for order in rows_with_one_swapped_pair():
        expected = sorted(range(12), key=lambda row: (codes[order][row], numbers[order][row]))
        found = order_of(codes[order], numbers[order])
        assert found is not None
        assert found.tolist() == expected
    found = order_of(np.int32([0, 0, 0, 1, 1, 0, 1]), None)
    assert found is not None
    assert found.tolist() == [0, 1, 2, 5, 3, 4, 6]


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("shuffled", [False, True])
def test_repeated_step_is_found_at_every_position(shuffled):
    codes = np.repeat([0, 1], 6).astype(np.int32)
    for place in (*range(5), *range(6, 11)):
        numbers = np.r_[:6, :6].astype(np.int64)
        numbers[place + 1] = numbers[place]
        rows = np.random.default_rng(place).permutation(12) if shuffled else np.arange(12)
        order = np.argsort(rows) if shuffled else None
        found = repeated_step(codes[rows], numbers[rows], order)
        assert found is not None
        assert sorted(rows[list(found)]) == [place, place + 1]
    assert repeated_step(codes, np.r_[:6, 5:11].astype(np.int64), None) is None  # in different sequences
