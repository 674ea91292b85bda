"""Splits and their loaders, for a `Trainer` or for direct use."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import torch

from seqlight.common.batch import Batch, check_batch, require_batch
from seqlight.common.description import save_plain_hyperparameters
from seqlight.common.label_per import LabelPer
from seqlight.common.validation import check_at_least
from seqlight.data.from_checkpoint import load_data_module, shared_arguments
from seqlight.data.loader import SequenceLoader
from seqlight.data.sequences import Sequences, sequences_of
from seqlight.data.streams import STREAMS
from seqlight.data.true_labels import LabelColumns
from seqlight.tasks.task import Target

Split = Literal["train", "val", "test", "predict"]


class SequenceDataModule(pl.LightningDataModule, ABC):
    """Labelled sequences in splits.

    A subclass sets the first four attributes and implements `split`.

    Attributes:
        input_size: the number of features F of a time step, for float inputs; else None.
        vocab_size: the number of tokens, for token inputs; else None.
        target: "binary", "multiclass", "multilabel" or "regression".
        num_outputs: 1 for binary, else the number of classes, labels or numbers.
        label_per: "sequence" if a sequence has a label, "step" if each of its time steps has one.
        class_names: the names of the two classes for binary, else of the classes or labels; None if they are numbers.
        target_mean: for regression, the mean that was subtracted from each number; None if targets are as they are.
        target_scale: the divisor of each number after that; None for 1.
        class_weights: the factor of the loss for each class, or for each label that is 1; None for no weights.
        streams: the version of the random streams: that of the checkpoint from which the data come or a run continues.
        in_memory: the names of arguments that are the data themselves, which a checkpoint does not hold.

    Args:
        batch_size: sequences per step and process.
        seed: the order of the training samples depends on seed and epoch.
        bucketing: whether training batches hold sequences of similar length, which saves padding.
    """

    input_size: int | None
    vocab_size: int | None
    target: Target
    num_outputs: int
    label_per: LabelPer = "sequence"
    class_names: tuple[str, ...] | None = None
    target_mean: tuple[float, ...] | None = None
    target_scale: tuple[float, ...] | None = None
    class_weights: tuple[float, ...] | None = None
    streams: int = STREAMS
    in_memory: ClassVar[tuple[str, ...]] = ()

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
        """All samples of a split, in index order, in host memory."""

    def has(self, split: Split) -> bool:
        """Whether there is such a split; True by default."""
        return True

    def sample_ids(self, split: Split) -> Sequence[int | str] | None:
        """The ids of a split's samples in predictions; None, the default, for their indices."""
        return None

    def sample_steps(self, split: Split) -> Sequence[str] | None:
        """The names of all time steps of a split in predictions, one sequence after the other, if each has a label.

        None, the default, for their indices in the sequence.
        """
        return None

    def true_labels(self, split: Split) -> LabelColumns | None:
        """True labels of a split's samples or steps, as columns of predictions; None, the default, for the targets."""
        return None

    def longest_trained(self) -> int | None:
        """The number of time steps of the longest training sequence; None, the default, if it is unknown."""
        return None

    def report(self, splits: Sequence[Split]) -> str:
        """A report on these splits, which is shown before they are used; empty by default."""
        return ""

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, **changes: Any) -> Any:  # type: ignore[override]
        """`seqlight.load_data`, for a data module of this class.

        Raises:
            FileNotFoundError, CheckpointError: as `seqlight.load_data`.
            TypeError: if the checkpoint holds another class.
        """
        data = load_data(checkpoint_path, **changes)
        if not isinstance(data, cls):
            raise TypeError(f"{checkpoint_path} holds a {type(data).__name__}, not a {cls.__name__}")
        return data

    def train_dataloader(self) -> SequenceLoader:
        """Training batches, shuffled again in each epoch; a Trainer with `overfit_batches` turns that off."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> SequenceLoader:
        """Validation batches, in the order of the samples."""
        return self._loader("val")

    def test_dataloader(self) -> SequenceLoader:
        """Test batches, in the order of the samples."""
        return self._loader("test")

    def predict_dataloader(self) -> SequenceLoader:
        """Batches for predictions, in the order of the samples."""
        return self._loader("predict")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move inputs and targets if they are not on the device; the lengths stay on the host."""
        require_batch(batch)
        return batch if batch.inputs.device == device else batch.to(device)

    def _loader(self, split: Split, shuffle: bool = False) -> SequenceLoader:
        data = self.split(split)
        if not isinstance(data, Sequences):
            check_batch(
                data,
                f"{type(self).__name__}.split({split!r})",
                predict=split == "predict",
                **shared_arguments(self),
            )
            if self.label_per == "step":
                data = sequences_of(data, "step")
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            # A classifier of seqlight fixes the order of other loaders too (`fix_order`); other models do not.
            shuffle = shuffle and not self.trainer.overfit_batches  # type: ignore[attr-defined]
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
            streams=self.streams,
        )


def load_data(path: str | os.PathLike[str], **changes: Any) -> SequenceDataModule:
    """The data module that a model was trained with.

    For example `load_data(path, predict="new.csv")`. Classes, vocabulary and scale come from the checkpoint.

    Args:
        path: a checkpoint, as for `load`.
        changes: arguments that replace the data module's own.

    Raises:
        FileNotFoundError, CheckpointError: as `load`.
        ValueError: if an argument is out of its range.
    """
    return load_data_module(path, SequenceDataModule, changes)  # type: ignore[type-abstract]


def _fits(data: Batch | Sequences, device: torch.device) -> bool:
    """Whether the split takes at most a quarter of the free memory of a CUDA `device`."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return 4 * data.nbytes <= free
