"""The classifier that a callback works with."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from seqlight.training.classifier import SequenceClassifier


def classifier_of(callback: pl.Callback, module: pl.LightningModule) -> SequenceClassifier:
    """The Trainer's module, which must be a SequenceClassifier.

    Raises:
        MisconfigurationException: if it is not.
    """
    if not isinstance(module, SequenceClassifier):
        raise MisconfigurationException(
            f"{type(callback).__name__} needs a seqlight.SequenceClassifier, got {type(module).__name__}: remove the "
            "callback, or derive the module from SequenceClassifier"
        )
    return module


def has_results(outputs: Any) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether a validation or test step returned `probabilities` and `targets`; a subclass's can return others."""
    return isinstance(outputs, Mapping) and {"probabilities", "targets"} <= outputs.keys()
