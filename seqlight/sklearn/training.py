"""A training that prints nothing, writes no files and keeps the random generators."""

import functools
import inspect
import numbers
import secrets
import threading
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch

from seqlight.callbacks.best_weights import BestWeights
from seqlight.cells.cell import RecurrentCell
from seqlight.common.description import full_name, public_class, subclasses
from seqlight.common.lightning_messages import silent_lightning
from seqlight.common.random_state import random_state_kept
from seqlight.data.arrays import SequenceArrays
from seqlight.training.classifier import SequenceClassifier

# Initial weights and dropout draw from torch's generator of the whole process, so one thread trains at a time.
_training = threading.Lock()


def train(
    make: Callable[[], SequenceClassifier],
    data: SequenceArrays,
    max_epochs: int,
    seed: int,
    *,
    patience: int | None,
    has_val: bool,
    accelerator: str,
    gradient_clip_val: float,
) -> tuple[SequenceClassifier, int, list[float]]:
    """A trained model on the CPU, the number of epochs, and the validation losses.

    Args:
        make: makes the model with its initial weights.
        data: the training data, and those for validation.
        max_epochs: the largest number of epochs.
        seed: the seed of initial weights and dropout.
        patience: as for `RecurrentClassifier`.
        has_val: whether there are sequences for validation.
        accelerator: as for Lightning's Trainer.
        gradient_clip_val: as for Lightning's Trainer.
    """
    validation = BestWeights(patience)
    with _training, silent_lightning():
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=max_epochs,
            gradient_clip_val=gradient_clip_val,
            callbacks=[validation],
            limit_val_batches=1.0 if has_val else 0,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        device = trainer.strategy.root_device
        with random_state_kept(device):
            torch.default_generator.manual_seed(seed)
            if device.type != "cpu":
                torch.get_device_module(device).manual_seed(seed)
            model = make()
            trainer.fit(model, data)
            trained = make()  # without the Trainer, so that it can be pickled
    trained.load_state_dict(validation.weights or model.state_dict())
    return trained.eval(), trainer.current_epoch, validation.losses


def seed_of(random_state: Any) -> int:
    """A seed, from a `random_state` of scikit-learn. NumPy's global generator is not used."""
    if random_state is None:
        return secrets.randbelow(2**31)
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    if hasattr(random_state, "integers"):
        return int(random_state.integers(2**31))
    if hasattr(random_state, "randint"):
        return int(random_state.randint(2**31 - 1))
    raise ValueError(f"random_state must be None, a seed, or a generator of NumPy, got {random_state!r}")


def cell_of(cell: Any, hidden_size: int) -> Callable[[int], RecurrentCell]:
    """What makes a cell from its input size, for the arguments of `RecurrentClassifier`.

    Raises:
        ValueError: if there is no cell of that name.
    """
    given = cell
    if isinstance(cell, str):
        cell = public_class(full_name(cell, RecurrentCell))
        if not (isinstance(cell, type) and issubclass(cell, RecurrentCell)):
            known = ", ".join(
                sorted(each.__name__ for each in subclasses(RecurrentCell) if not inspect.isabstract(each))
            )
            raise ValueError(f"cell: expected a cell, as {known}; got {given!r}")
    is_bound = isinstance(cell, functools.partial) and "hidden_size" in cell.keywords
    if "hidden_size" in inspect.signature(cell).parameters and not is_bound:
        cell = functools.partial(cell, hidden_size=hidden_size)
    return cell  # type: ignore[no-any-return]
