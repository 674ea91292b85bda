"""Splits and their loaders, for a `Trainer` or for use by hand."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import lightning.pytorch as pl
import torch

from seqlight.common.batch import Batch, check_batch, require_batch
from seqlight.common.description import save_plain_hyperparameters
from seqlight.common.validation import check_at_least
from seqlight.data.load import kind_of, load_data_module
from seqlight.data.loader import SequenceLoader
from seqlight.data.sequences import Sequences
from seqlight.tasks.task import Target

Split = Literal["train", "val", "test", "predict"]


class SequenceDataModule(pl.LightningDataModule, ABC):
    """Labelled sequences in splits.

    A subclass says what its sequences are by the four attributes, and gives each split's samples.

    Attributes:
        input_size: the number of features F of a time step, for float inputs; else None.
        vocab_size: the number of tokens, for token inputs; else None.
        target: "binary", "multiclass" or "multilabel".
        num_outputs: 1 for binary, else the number of classes or labels.
        class_names: of the two classes for binary, else of the classes or labels; None if they are numbers.
        class_weights: what the loss of each class, or of each label where it is 1, is multiplied with; None for 1.

    Args:
        batch_size: sequences per step and process.
        seed: with the epoch, what the order of the training samples depends on.
        bucketing: whether training batches hold sequences of similar length, which saves padding.
    """

    input_size: int | None
    vocab_size: int | None
    target: Target
    num_outputs: int
    class_names: tuple[str, ...] | None = None
    class_weights: tuple[float, ...] | None = None

    def __init__(self, batch_size: int, seed: int, bucketing: bool = True) -> None:
        super().__init__()
        save_plain_hyperparameters(self)
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        self.batch_size = batch_size
        self.seed = seed
        self.bucketing = bucketing

    @abstractmethod
    def split(self, split: Split) -> Batch | Sequences:
        """All samples of a split, in the order of their indices, in the host's memory."""

    def sample_ids(self, split: Split) -> Sequence[int | str] | None:
        """What a split's samples are called in predictions; None, as by default, for their indices."""
        return None

    def report(self, splits: Sequence[Split]) -> str:
        """What there is to say of these splits before they are used; nothing by default."""
        return ""

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, **changes: Any) -> Any:  # type: ignore[override]
        """`seqlight.load_data`, for a data module of this class.

        Raises:
            FileNotFoundError, CheckpointError: as `seqlight.load_data`.
            TypeError: if it is of another class.
        """
        data = load_data(checkpoint_path, **changes)
        if not isinstance(data, cls):
            raise TypeError(f"{checkpoint_path} holds a {type(data).__name__}, not a {cls.__name__}")
        return data

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
        require_batch(batch)
        return batch if batch.inputs.device == device else batch.to(device)

    def _loader(self, split: Split, shuffle: bool = False) -> SequenceLoader:
        data = self.split(split)
        if not isinstance(data, Sequences):
            check_batch(
                data,
                f"{type(self).__name__}.split({split!r})",
                predict=split == "predict",
                **kind_of(self),
            )
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            if _fits(data, self.trainer.strategy.root_device):
                data = data.to(self.trainer.strategy.root_device)
        return SequenceLoader(
            data,
            self.batch_size,
            shuffle=shuffle,
            bucketing=self.bucketing,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )


def load_data(path: str | os.PathLike[str], **changes: Any) -> SequenceDataModule:
    """The data module that a model was trained with.

    As `load_data(path, predict="new.csv")`: classes, vocabulary and scale are those that the model knows.

    Args:
        path: a checkpoint, as for `load`.
        changes: arguments that replace those of the data module.

    Raises:
        FileNotFoundError, CheckpointError: as `load`.
        ValueError: if an argument is out of its range.
    """
    return load_data_module(path, SequenceDataModule, changes)  # type: ignore[type-abstract]


def _fits(data: Batch | Sequences, device: torch.device) -> bool:
    """Whether the split may live on `device`: it takes a quarter of the free memory at most."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return 4 * data.nbytes <= free
