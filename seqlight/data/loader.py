"""Batches from tensors in memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from seqlight.checkpoints.entries import check_entry
from seqlight.common.batch import Batch
from seqlight.common.errors import CheckpointError, ShownError
from seqlight.common.private_lightning import EpochFromTrainer
from seqlight.common.validation import check_at_least
from seqlight.data.sequences import Sequences
from seqlight.data.streams import STREAMS, Purpose, generator


class ResumeError(ShownError, ValueError):
    """A saved position within an epoch that does not fit the loader."""


# Full steps within which sequences are sorted by length. A larger window means less padding and less randomness.
_WINDOW = 64


class SequenceLoader(EpochFromTrainer):
    """Batches sliced from tensors in memory: every sample exactly once per epoch, over all ranks.

    It replaces a `DataLoader`, whose fetching and collating of single samples takes longer than a training step of a
    small model. The order of an epoch depends on (seed, epoch), and with `bucketing` on the number of samples per
    step, but not on the number of ranks that share a step. Each step takes the next `world_size * batch_size` samples
    of that order and divides them among the ranks, so all ranks make the same number of steps; the last step takes the
    remaining samples. A batch is trimmed to its longest sequence.

    With `bucketing`, the samples of a step have similar lengths, which saves padding: shuffled samples are sorted by
    length within windows of 64 steps, and the steps are shuffled again. The samples of an incomplete last step have
    any length. Without `shuffle` there is no bucketing.

    The loader is resumable: after a `state_dict` from the middle of an epoch is loaded into another loader, its next
    iteration starts with the following batch.

    Args:
        data: all samples of the split, on the device of the batches.
        batch_size: sequences per step and rank.
        shuffle: whether the order changes from epoch to epoch; if not, it is the order of `data`.
        bucketing: whether shuffled batches hold sequences of similar length.
        seed: the order depends on seed and epoch.
        rank: this process's rank.
        world_size: the number of processes that share the split.
        streams: the version of the random streams; 1 continues a run that an earlier version of seqlight began.

    Raises:
        ValueError: if the split has fewer samples than `world_size`.
    """

    def __init__(
        self,
        data: Batch | Sequences,
        batch_size: int,
        *,
        shuffle: bool = False,
        bucketing: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        streams: int = STREAMS,
    ) -> None:
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        check_at_least("number of samples", len(data.lengths), world_size, "number of processes")
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.bucketing = bucketing and shuffle and bool((data.lengths != data.lengths[0]).any())
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.streams = streams
        self.fixed_order = False  # whether all epochs have the order of `data`, for `overfit_batches`
        self.epoch = 0
        self._resume: dict[str, int] | None = None
        self._position = {"epoch": 0, "next_batch": 0}

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """The indices of all samples, for all ranks, in the order of this epoch."""
        num_samples = len(self.data.lengths)
        if self.fixed_order or not self.shuffle:
            return np.arange(num_samples)
        rng = generator(Purpose.ORDER, self.seed, self.epoch, self.streams)
        order = rng.permutation(num_samples)
        if self.bucketing:
            self._sort_into_buckets(order, rng)
        return order

    def _sort_into_buckets(self, order: np.ndarray, rng: np.random.Generator) -> None:
        per_step = self.batch_size * self.world_size
        full_steps = order[: len(order) // per_step * per_step]
        lengths = self.data.lengths.numpy()
        for start in range(0, len(full_steps), _WINDOW * per_step):
            window = full_steps[start : start + _WINDOW * per_step]
            window[:] = window[np.argsort(lengths[window], kind="stable")]
        rng.shuffle(full_steps.reshape(-1, per_step))

    def __len__(self) -> int:
        """Batches per epoch and rank."""
        return num_batches(len(self.data.lengths), self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[Batch]:
        first_batch, order = self._take_first_batch(), self.order()
        host_order = torch.from_numpy(order)
        device_order = host_order.to(self.data.targets.device)
        for step in range(first_batch, len(self)):
            share = self._share(step)
            self._position = {"epoch": self.epoch, "next_batch": step + 1}
            yield self.data.take(host_order[share], device_order[share])

    def rows(self, batch: int) -> np.ndarray:
        """The indices of the samples in a batch of this epoch and process; batches are counted from 0."""
        check_at_least("batch", batch, 0)
        if batch >= len(self):
            raise ValueError(f"batch must be less than the number of batches ({len(self)}), got {batch}")
        return self.order()[self._share(batch)]

    def _share(self, step: int) -> slice:
        """The positions in the order that are this process's share of a step."""
        per_step = self.batch_size * self.world_size
        start = step * per_step
        stop = start + per_step if step < len(self) - 1 else len(self.data.lengths)
        # Shares are contiguous, and their sizes differ by at most one.
        size = stop - start
        return slice(start + size * self.rank // self.world_size, start + size * (self.rank + 1) // self.world_size)

    def state_dict(self) -> dict[str, Any]:
        """The position of the current iteration: its epoch and its next batch."""
        return {**self._position, **self._division()}

    def _division(self) -> dict[str, int]:
        """The settings that determine which samples a position stands for."""
        return {
            "batch_size": self.batch_size,
            "number of processes": self.world_size,
            "number of samples": len(self.data.lengths),
            "seed": self.seed,
            "bucketing": self.bucketing,
            "streams": self.streams,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration start at the position in `state`, if it is in the same epoch.

        Raises:
            CheckpointError: if `state` is invalid.
            ResumeError: if it is within an epoch, and settings differ.
        """
        state = {"streams": 1, **state} if isinstance(state, dict) else state  # an earlier version saved none
        check_entry(state, self.state_dict(), "loops", "fit_loop", "state_dict", "combined_loader")
        position = {name: state.get(name) for name in ("epoch", "next_batch")}
        if not all(type(value) is int and value >= 0 for value in position.values()):
            raise CheckpointError(f"expected an epoch and the number of its next batch, got {position!r:.200}")
        changed = [name for name, value in self._division().items() if state.get(name) != value]
        if changed and 0 < state["next_batch"] < _num_batches_of(state):
            name, value = changed[0], self._division()[changed[0]]
            raise ResumeError(f"{name} must be {state.get(name)} to resume within an epoch, got {value}")
        self._resume = dict(state)

    def _take_first_batch(self) -> int:
        """The first batch of the iteration. A loaded position is used once, and only in its own epoch."""
        resume, self._resume = self._resume, None
        if resume is None or resume["epoch"] != self.epoch or resume["next_batch"] >= len(self):
            return 0
        return resume["next_batch"]


def num_batches(num_samples: int, batch_size: int, world_size: int = 1) -> int:
    """Batches per epoch and process of a `SequenceLoader`."""
    full_steps, rest = divmod(num_samples, batch_size * world_size)
    # A rest with fewer samples than ranks joins the previous step.
    return full_steps + (rest >= world_size)


def _num_batches_of(state: dict[str, Any]) -> float:
    """The number of batches in the epoch of a position; infinite if the position does not tell."""
    division = [state.get(name) for name in ("number of samples", "batch_size", "number of processes")]
    known = all(type(value) is int and value > 0 for value in division)
    return num_batches(*division) if known else float("inf")  # type: ignore[arg-type]
