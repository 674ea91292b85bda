"""Messages of Lightning that say nothing about a user's training."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

_LOGGERS = ("lightning.pytorch", "lightning.fabric")
_LEAF_SPEC = ".*LeafSpec.*is deprecated"


def quiet_lightning() -> None:
    """Hide Lightning's advertisements and notes, such as "GPU available", but not its warnings.

    The warning that Lightning uses a deprecated class of torch, `LeafSpec`, is hidden too.
    """
    import lightning.pytorch  # noqa: F401 # it sets the levels when it is imported

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=_LEAF_SPEC, category=FutureWarning)


@contextlib.contextmanager
def silent_lightning() -> Iterator[None]:
    """Hide what `quiet_lightning` hides, and Lightning's advice, for as long as this lasts: in the whole process."""
    import lightning.pytorch  # noqa: F401 # as above
    from lightning.fabric.utilities.warnings import PossibleUserWarning

    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with warnings.catch_warnings():
        quiet_lightning()
        warnings.simplefilter("ignore", PossibleUserWarning)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
