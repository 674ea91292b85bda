"""Batches from memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from seqlight.common.batch import Batch
from seqlight.common.validation import check_at_least
from seqlight.data.sequences import Sequences


class ResumeError(ValueError):
    """A position within an epoch that does not fit the loader."""


# Full steps among which sequences are sorted by length: with more, batches are padded less and are less random.
_WINDOW = 64


class SequenceLoader:
    """Batches sliced from tensors in memory: every sample exactly once per epoch, over all ranks.

    In place of a `DataLoader`, whose per-sample fetching and collating cost more than a training step
    of a small model. The order of an epoch depends on (seed, epoch), and with `bucketing` on the number of
    samples of a step: not on how many ranks share it. Each step takes the next
    `world_size * batch_size` samples of that order and deals them out to the ranks, so all ranks make
    the same number of steps; the last step shares what is left. A batch is trimmed to its longest
    sequence.

    With `bucketing`, the samples of a step are of similar length, which saves padding: shuffled samples are
    sorted by length within windows of 64 steps, and the steps are shuffled again. What is left for the last step is
    drawn from all lengths. Without `shuffle` there is no bucketing.

    The loader is resumable: `state_dict` in the middle of an epoch, loaded into another loader, makes
    its next iteration go on with the following batch.

    Args:
        data: all samples of the split, on the device where the batches are wanted.
        batch_size: sequences per step and rank.
        shuffle: whether the order changes from epoch to epoch; else it is the order of `data`.
        bucketing: whether shuffled batches hold sequences of similar length.
        seed: with the epoch, what the order depends on.
        rank: this process among `world_size`.
        world_size: the number of processes that share the split.

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
    ) -> None:
        check_at_least("batch_size", batch_size, 1)
        check_at_least("number of samples", len(data.lengths), world_size, "number of processes")
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.bucketing = bucketing and shuffle and bool((data.lengths != data.lengths[0]).any())
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._resume: dict[str, int] | None = None
        self._position = {"epoch": 0, "next_batch": 0}

    batch_sampler = None  # a Trainer looks for it wherever there is a sampler

    @property
    def sampler(self) -> "SequenceLoader":
        """What a Trainer calls `set_epoch` on at the start of an epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """The indices of all samples, of all ranks, in the order of this epoch."""
        num_samples = len(self.data.lengths)
        if not self.shuffle:
            return np.arange(num_samples)
        # Philox keyed by a SeedSequence: neighbouring seeds and epochs give unrelated orders.
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, self.epoch))))
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
        per_step = self.batch_size * self.world_size
        full_steps, rest = divmod(len(self.data.lengths), per_step)
        # A rest too small to give each rank a sample joins the step before.
        return full_steps + (rest >= self.world_size)

    def __iter__(self) -> Iterator[Batch]:
        first_batch, order = self._take_first_batch(), self.order()
        host_order = torch.from_numpy(order)
        device_order = host_order.to(self.data.targets.device)
        for step in range(first_batch, len(self)):
            share = self._share(step)
            self._position = {"epoch": self.epoch, "next_batch": step + 1}
            yield self.data.take(host_order[share], device_order[share])

    def rows(self, batch: int) -> np.ndarray:
        """The indices of the samples of a batch, counted from 0, of this epoch and process."""
        check_at_least("batch", batch, 0)
        if batch >= len(self):
            raise ValueError(f"batch must be less than the number of batches ({len(self)}), got {batch}")
        return self.order()[self._share(batch)]

    def _share(self, step: int) -> slice:
        """Where this process's samples of a step stand in the order."""
        per_step = self.batch_size * self.world_size
        start = step * per_step
        stop = start + per_step if step < len(self) - 1 else len(self.data.lengths)
        # Ranks take contiguous shares of the step, equal up to one sample.
        size = stop - start
        return slice(start + size * self.rank // self.world_size, start + size * (self.rank + 1) // self.world_size)

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration under way is: its epoch, and the batch that comes next."""
        return {**self._position, **self._division()}

    def _division(self) -> dict[str, int]:
        """What the meaning of a position depends on."""
        return {
            "batch_size": self.batch_size,
            "number of processes": self.world_size,
            "number of samples": len(self.data.lengths),
            "seed": self.seed,
            "bucketing": self.bucketing,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next iteration start where `state` was taken, if it is of the same epoch.

        Raises:
            ResumeError: if `state` is within an epoch that was divided otherwise.
        """
        position = {name: state.get(name) for name in ("epoch", "next_batch")}
        if not all(type(value) is int and value >= 0 for value in position.values()):
            raise ResumeError(f"expected an epoch and the number of its next batch, got {position}")
        if state["next_batch"] > 0:
            for name, value in self._division().items():
                if state.get(name) != value:
                    raise ResumeError(f"{name} must be {state.get(name)} to go on within an epoch, got {value}")
        self._resume = dict(state)

    def _take_first_batch(self) -> int:
        """The batch that the iteration starts with; a position is used once, and only in its own epoch."""
        resume, self._resume = self._resume, None
        if resume is None or resume["epoch"] != self.epoch or resume["next_batch"] >= len(self):
            return 0
        return resume["next_batch"]
