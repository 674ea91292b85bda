"""The samples of a training batch."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch

from seqlight.common.steps import step_mask
from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.loader import SequenceLoader


def samples_of(trainer: pl.Trainer, batches: Sequence[int]) -> tuple[list[str], list[str]]:
    """The samples of this epoch's batches, if the loader is seqlight's, and those with non-finite values."""
    loader = trainer.train_dataloader
    if not isinstance(loader, SequenceLoader):
        return [], []
    datamodule: Any = getattr(trainer, "datamodule", None)
    ids = datamodule.sample_ids("train") if isinstance(datamodule, SequenceDataModule) else None
    samples, unsound = [], []
    for batch in batches:
        rows = loader.rows(batch)
        names = [sample_name(int(row), ids) for row in rows]
        index = torch.from_numpy(rows)
        inputs, targets, lengths = loader.data.take(index, index.to(loader.data.targets.device))
        padding = ~step_mask(lengths, inputs.shape[1], inputs.device)
        inputs = inputs.masked_fill(padding if inputs.ndim == 2 else padding[..., None], 0)
        sound = inputs.isfinite().flatten(1).all(1) & targets.isfinite().reshape(len(rows), -1).all(1)
        samples += names
        unsound += [name for name, is_sound in zip(names, sound.tolist(), strict=True) if not is_sound]
    return samples, unsound


def sample_name(row: int, ids: Sequence[str | int] | None) -> str:
    """The index of a sample in its split, with its id if that is another."""
    return str(row) if ids is None or ids[row] == row else f"{row} (id {ids[row]})"
