import logging
import warnings

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

import seqlight


@pytest.fixture(autouse=True)
def _restored():
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        yield
    for each, level in zip(loggers, levels, strict=True):
        each.setLevel(level)


def test_notes_are_hidden_and_warnings_stay(caplog):
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    rank_zero_info("a note")
    seqlight.quiet_lightning()
    rank_zero_info("another note")
    logging.getLogger("lightning.fabric").info("Seed set to 0")
    logging.getLogger("lightning.pytorch").warning("a warning")
    assert [record.message for record in caplog.records] == ["a note", "a warning"]
    with pytest.warns(UserWarning, match="from Lightning"):
        rank_zero_warn("from Lightning")


def test_only_the_warning_about_lightnings_own_use_is_hidden():
    warnings.simplefilter("error")
    seqlight.quiet_lightning()
    warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, use `...`", FutureWarning, stacklevel=1)
    with pytest.raises(FutureWarning, match="other"):
        warnings.warn("other is deprecated", FutureWarning, stacklevel=1)
