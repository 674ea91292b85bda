import numpy as np
import pytest

from seqlight.data import scale
from seqlight.data.feature_summary import FeatureSummary, summarise_features


def test_summaries_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr(scale, "_CHUNK", 16)
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(1e9, 1, 50), rng.integers(-5, 5, 50), np.full(50, 0.1), np.full(50, np.nan)], 1)
    values[3, 0] = values[::7, 1] = np.nan
    found = summarise_features(values, ("a", "b", "c", "d"))
    assert [each.kind for each in found] == ["number", "integer-valued", "constant", "missing"]
    assert [each.missing for each in found] == [1, 8, 0, 50]
    for each, column in zip(found[:3], values.T, strict=False):
        assert (each.lowest, each.highest) == (np.nanmin(column), np.nanmax(column))
        assert each.mean == pytest.approx(np.nanmean(column), rel=1e-12)
    assert np.isnan(found[3][2:5]).all()


def test_one_fraction_makes_a_number():
    values = np.arange(100.0)[:, None]
    assert summarise_features(values, ("a",)) == [FeatureSummary("a", "integer-valued", 0.0, 49.5, 99.0, 0)]
    values[57] += 0.5
    assert summarise_features(values, ("a",))[0].kind == "number"
