import numpy as np
import pytest

from seqlight.data.reading import memory
from seqlight.data.reading.buffer import Buffer
from seqlight.data.reading.raw import DataError


@pytest.mark.parametrize("width", [None, 3])
@pytest.mark.parametrize("reserve", [0, 5, 10_000])
def test_finish_returns_the_appended_rows(tmp_path, width, reserve):
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal(size if width is None else (size, width)) for size in rng.integers(0, 50, 40)]
    buffer = Buffer(tmp_path, np.float32, width, num_rows=7)
    for index, part in enumerate(parts):
        assert len(buffer) == sum(map(len, parts[:index]))
        buffer.append(part)
        if index == 3:
            buffer.reserve(reserve)
    rows = buffer.finish()
    np.testing.assert_array_equal(rows, np.concatenate(parts).astype(np.float32))
    assert (rows if rows.base is None else rows.base).size == rows.size  # no reserve is kept


def test_missing_memory_is_an_error(tmp_path, monkeypatch):
    buffer = Buffer(tmp_path / "a.csv", np.float64)
    buffer.extend(100)
    monkeypatch.setattr(memory, "available", lambda: 5000)
    buffer.extend(500)
    with pytest.raises(DataError, match=r"a.csv: expected a file that fits into memory: .* about 8 kB, and 5 kB are"):
        buffer.extend(1000)
