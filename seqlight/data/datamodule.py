"""Splits and loaders, for a `Trainer` or for use by hand."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch

from seqlight.data.batch import Batch, BatchError, check_batch
from seqlight.data.loader import SequenceLoader
from seqlight.data.task import SequenceTask, Target
from seqlight.plain import save_plain_hyperparameters
from seqlight.validation import check_at_least

Split = Literal["train", "val", "test", "predict"]


class SequenceDataModule(pl.LightningDataModule, ABC):
    """Labelled sequences in splits.

    A subclass says what its sequences are by the four attributes, and gives each split's samples.

    Attributes:
        input_size: the number of features F of a time step, for float inputs; else None.
        vocab_size: the number of tokens, for token inputs; else None.
        target: "binary", "multiclass" or "multilabel".
        num_outputs: 1 for binary, else the number of classes or labels.

    Args:
        batch_size: sequences per step and process.
        seed: with the epoch, all that the order of the training samples depends on.
    """

    input_size: int | None
    vocab_size: int | None
    target: Target
    num_outputs: int

    def __init__(self, batch_size: int, seed: int) -> None:
        super().__init__()
        save_plain_hyperparameters(self)
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        self.batch_size = batch_size
        self.seed = seed

    @abstractmethod
    def split(self, split: Split) -> Batch:
        """All samples of a split, in the order of their indices, in the host's memory."""

    def train_dataloader(self) -> SequenceLoader:
        """Shuffled anew each epoch."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> SequenceLoader:
        """In the order of the samples."""
        return self._loader("val")

    def test_dataloader(self) -> SequenceLoader:
        """In the order of the samples."""
        return self._loader("test")

    def predict_dataloader(self) -> SequenceLoader:
        """In the order of the samples."""
        return self._loader("predict")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move what is not there yet; the lengths stay on the host."""
        if not isinstance(batch, Batch):
            raise BatchError(f"a loader must give seqlight.Batch(inputs, targets, lengths), got {type(batch).__name__}")
        return batch if batch.inputs.device == device else batch.to(device)

    def _loader(self, split: Split, shuffle: bool = False) -> SequenceLoader:
        data = self.split(split)
        check_batch(data, f"{type(self).__name__}.split({split!r})", **_kind(self))
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            if _fits(data, self.trainer.strategy.root_device):
                data = data.to(self.trainer.strategy.root_device)
        return SequenceLoader(data, self.batch_size, shuffle=shuffle, seed=self.seed, rank=rank, world_size=world_size)


def _kind(source: SequenceDataModule | SequenceTask) -> dict[str, Any]:
    """What a source says of its samples."""
    return {name: getattr(source, name) for name in ("input_size", "vocab_size", "target", "num_outputs")}


def _fits(data: Batch, device: torch.device) -> bool:
    """Whether the split may live on `device`: it takes a quarter of the free memory at most."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return 4 * (data.inputs.nbytes + data.targets.nbytes) <= free


class SyntheticSequences(SequenceDataModule):
    """Splits drawn from a task.

    What a sample contains depends on (seed, split, index) alone: not on the batch size, the number of
    samples, processes or workers, or on where a run was resumed. To that end samples are drawn in
    blocks of fixed size, each from a counter-based generator of its own.

    The predict split is the test split.

    Args:
        task: where the samples come from.
        num_train: samples in the train split.
        num_val: samples in the validation split.
        num_test: samples in the test split.
        batch_size: sequences per step and process.
        seed: with split and index, all that a sample depends on; with the epoch, all that the order of
            the training samples depends on.
    """

    def __init__(
        self,
        task: SequenceTask,
        num_train: int = 1000,
        num_val: int = 1000,
        num_test: int = 1000,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        # Again, from here: a type checker's wrapper around __init__ hides our arguments from the base class.
        save_plain_hyperparameters(self)
        self.task = task
        self.num_samples = {"train": num_train, "val": num_val, "test": num_test, "predict": num_test}
        for split, num_samples in self.num_samples.items():
            check_at_least(f"num_{split}", num_samples, 1)
        self.input_size = task.input_size
        self.vocab_size = task.vocab_size
        self.target = task.target
        self.num_outputs = task.num_outputs

    def split(self, split: Split) -> Batch:
        """All samples of a split."""
        return draw(self.task, self.num_samples[split], self.seed, "test" if split == "predict" else split)


_BLOCK = 1024
_STREAMS = {"train": 0, "val": 1, "test": 2}


def draw(task: SequenceTask, num_samples: int, seed: int, split: Literal["train", "val", "test"]) -> Batch:
    """The first `num_samples` samples of the endless split that (task, seed, split) defines."""
    blocks: list[Batch] = []
    for block in range(-(-num_samples // _BLOCK)):
        key = np.random.SeedSequence((seed, _STREAMS[split], block))
        sampled = task.sample(_BLOCK, np.random.Generator(np.random.Philox(key)))
        check_batch(sampled, f"{type(task).__name__}.sample()", **_kind(task))
        if sampled.inputs.shape[:2] != (_BLOCK, blocks[0].inputs.shape[1] if blocks else sampled.inputs.shape[1]):
            raise BatchError(
                f"{type(task).__name__}.sample({_BLOCK}) must give {_BLOCK} sequences, padded to the same number of "
                f"time steps at each call; got inputs of {tuple(sampled.inputs.shape)}"
            )
        blocks.append(sampled)
    return Batch(*(torch.cat(parts)[:num_samples] for parts in zip(*blocks, strict=True)))
