import numpy as np
import pytest

from seqlight.data.reading import collect, memory
from seqlight.data.reading.collect import Collector
from seqlight.data.reading.options import Options
from seqlight.data.reading.raw import DataError


@pytest.mark.parametrize("width", [None, 3])
def test_memory_is_estimated_once_from_the_first_part(tmp_path, monkeypatch, width):
    """1% of the file has 100 steps, so the file has about 10,000, with 8 bytes per feature or 4 per token."""
    monkeypatch.setattr(collect, "_PROBE", 1000)
    sequences = Collector(tmp_path / "a.jsonl", 100_000, Options(labelled=False))

    def add():
        if width is None:
            sequences.add_tokens(["a", "b"] * 50)
        else:
            sequences.add_features(np.ones((100, width)), "here")
        sequences.add_label("a", "here")

    size = 10_000 * (8 * width if width else 4)
    add()
    monkeypatch.setattr(memory, "available", lambda: 0)
    sequences.done(999)
    monkeypatch.setattr(memory, "available", lambda: int(0.99 * size))
    with pytest.raises(DataError, match=f"a.jsonl: .* memory: its sequences need about {1.02 * size / 1000:.3g}"):
        sequences.done(1000)

    sequences = Collector(tmp_path / "a.jsonl", 100_000, Options(labelled=False))
    monkeypatch.undo()
    monkeypatch.setattr(collect, "_PROBE", 1000)
    add()
    monkeypatch.setattr(memory, "available", lambda: int(1.05 * size))
    sequences.done(1000)
    monkeypatch.setattr(memory, "available", lambda: 0)  # the estimate has reserved memory for the rest
    for part in range(2, 101):
        add()
        sequences.done(1000 * part)
    raw = sequences.finish()
    assert raw.lengths.tolist() == [100] * 100
    assert raw.values.nbytes == size
