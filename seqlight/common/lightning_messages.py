"""Messages of Lightning that say nothing about a user's training."""

import logging
import warnings


def quiet_lightning() -> None:
    """Hide Lightning's advertisements and notes, such as "GPU available", but not its warnings.

    The warning that Lightning uses a deprecated class of torch, `LeafSpec`, is hidden too.
    """
    import lightning.pytorch  # noqa: F401 # it sets the levels when it is imported

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
