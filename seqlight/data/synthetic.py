"""Sequences drawn from a task."""

import re
from typing import Literal

from seqlight.common.batch import Batch, BatchError, check_batch
from seqlight.common.description import save_plain_hyperparameters
from seqlight.common.validation import check_at_least
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.data.from_checkpoint import shared_arguments
from seqlight.data.streams import STREAMS, Purpose, generator
from seqlight.tasks.task import SequenceTask


class SyntheticSequences(SequenceDataModule):
    """Splits drawn from a task.

    The contents of a sample depend only on (seed, split, index): not on the batch size, on the number of samples,
    processes or workers, or on the step at which a run was resumed. Samples are therefore drawn in blocks of fixed
    size, each from a counter-based generator of its own.

    The predict split is the test split.

    Args:
        task: the source of the samples.
        num_train: samples in the train split.
        num_val: samples in the validation split.
        num_test: samples in the test split.
        batch_size: sequences per step and process.
        seed: a sample depends only on seed, split and index; the order of the training samples on seed and epoch.
        bucketing: whether training batches hold sequences of similar length, which saves padding.
        test_lengths: the shortest and longest length in the test split, such as "41:200"; or one length for all, such
            as "100"; None for the task's own lengths.
    """

    def __init__(
        self,
        task: SequenceTask,
        num_train: int = 1000,
        num_val: int = 1000,
        num_test: int = 1000,
        batch_size: int = 32,
        seed: int = 0,
        bucketing: bool = True,
        test_lengths: str | None = None,
    ) -> None:
        super().__init__(batch_size, seed, bucketing)
        # Again, from here: a type checker's wrapper around __init__ hides our arguments from the base class.
        save_plain_hyperparameters(self)
        self.task = task
        self.name = type(task).__name__
        self.test_task = task if test_lengths is None else _with_lengths(task, test_lengths)
        self.num_samples = {"train": num_train, "val": num_val, "test": num_test, "predict": num_test}
        for split, num_samples in self.num_samples.items():
            check_at_least(f"num_{split}", num_samples, 1)
        self.input_size = task.input_size
        self.vocab_size = task.vocab_size
        self.target = task.target
        self.num_outputs = task.num_outputs
        self.label_per = task.label_per
        self.class_names = task.class_names

    def split(self, split: Split) -> Batch:
        """All samples of a split."""
        drawn = "test" if split == "predict" else split
        task = self.test_task if drawn == "test" else self.task
        return draw(task, self.num_samples[split], self.seed, drawn, self.streams)

    def longest_trained(self) -> int:
        """The number of time steps of the longest training sequence."""
        return int(self.split("train").lengths.max())


def _with_lengths(task: SequenceTask, lengths: str) -> SequenceTask:
    parts = re.fullmatch(r"(\d+)(?::(\d+))?", lengths, re.ASCII)
    if parts is None:
        raise ValueError(f"test_lengths must be a length, or shortest and longest, such as 41:200; got {lengths!r}")
    try:
        return task.with_lengths(int(parts[1]), int(parts[2] or parts[1]))
    except ValueError as error:
        raise ValueError(f"test_lengths {lengths!r}: {error}") from error


_BLOCK = 1024


def draw(
    task: SequenceTask, num_samples: int, seed: int, split: Literal["train", "val", "test"], streams: int = STREAMS
) -> Batch:
    """The first `num_samples` samples of the infinite split that (task, seed, split) defines."""
    whole: Batch | None = None
    for start in range(0, num_samples, _BLOCK):
        block = task.sample(_BLOCK, generator(Purpose[split.upper()], seed, start // _BLOCK, streams))
        check_batch(block, f"{type(task).__name__}.sample()", **shared_arguments(task))
        if whole is None:  # allocated once, since joining blocks would take twice the memory
            whole = Batch(*(part.new_empty((num_samples, *part.shape[1:])) for part in block))
        if block.inputs.shape[:2] != (_BLOCK, whole.inputs.shape[1]):
            raise BatchError(
                f"{type(task).__name__}.sample({_BLOCK}) must give {_BLOCK} sequences, padded to the same number of "
                f"time steps at each call; got inputs of {tuple(block.inputs.shape)}"
            )
        for part, drawn in zip(whole, block, strict=True):
            part[start : start + _BLOCK] = drawn[: num_samples - start]
    assert whole is not None
    return whole
