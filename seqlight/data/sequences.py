"""Sequences stored one after the other, as in files."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from seqlight.common.batch import Batch
from seqlight.common.label_per import LabelPer
from seqlight.common.steps import true_steps


class Sequences(NamedTuple):
    """Sequences of unequal length, one after the other, without padding.

    A `Batch` of all samples would be padded to the longest sequence. Subsets share the values.

    Attributes:
        values: features, float of shape (S, F), or tokens, integers of shape (S,), of all S time steps.
        starts: the position in the values where each sequence begins, int64 (N,), on their device.
        lengths: the number of time steps of each sequence, int64 (N,), on the host.
        targets: the same as a batch's; if each step has a label, (S, ...), those of all time steps.
        digests: equal for sequences that were equal when they were read, int64 (N, 2); None if this is unknown.
        label_per: whether a sequence has a target, or each of its steps.
    """

    values: Float[Tensor, "steps features"] | Int[Tensor, " steps"]
    starts: Int64[Tensor, " sequences"]
    lengths: Int64[Tensor, " sequences"]
    targets: Float[Tensor, "targets *labels"] | Int64[Tensor, " targets"]
    digests: Int64[Tensor, "sequences 2"] | None = None
    label_per: LabelPer = "sequence"

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Sequences":
        """The sequences on `device`, except for the lengths. Values of other sequences are left out."""
        own = self.compact()
        return own._replace(
            values=own.values.to(device, non_blocking=non_blocking),
            starts=own.starts.to(device, non_blocking=non_blocking),
            targets=own.targets.to(device, non_blocking=non_blocking),
        )

    @property
    def nbytes(self) -> int:
        """The size of these sequences' own values and targets in bytes."""
        per_step, others = self.values[:1].nbytes, self.targets.nbytes
        if self.label_per == "step":
            per_step, others = per_step + self.targets[:1].nbytes, 0
        return per_step * int(self.lengths.sum()) + others

    def compact(self) -> "Sequences":
        """The same sequences, without the values of others that share the tensor."""
        if int(self.lengths.sum()) == len(self.values):
            return self
        places = self.places()
        targets = self.targets[places] if self.label_per == "step" else self.targets
        return self._replace(values=self.values[places], starts=self.lengths.cumsum(0) - self.lengths, targets=targets)

    def own_targets(self) -> Tensor:
        """The targets of these sequences alone, in their order: (N, ...), or those of their steps, (S, ...)."""
        return self.targets[self.places().to(self.targets.device)] if self.label_per == "step" else self.targets

    def places(self) -> Int64[Tensor, " steps"]:
        """The positions of these sequences' steps, on the host."""
        shift = self.starts.cpu() - (self.lengths.cumsum(0) - self.lengths)
        return torch.arange(int(self.lengths.sum())) + shift.repeat_interleave(self.lengths)

    def subset(self, rows: Int64[Tensor, " rows"]) -> "Sequences":
        """The sequences of these rows, with shared values."""
        digests = None if self.digests is None else self.digests[rows]
        targets = self.targets if self.label_per == "step" else self.targets[rows]
        return Sequences(self.values, self.starts[rows], self.lengths[rows], targets, digests, self.label_per)

    def take(self, rows: Int64[Tensor, " rows"], device_rows: Int64[Tensor, " rows"]) -> Batch:
        """The sequences of these rows, padded with 0 to the longest.

        Args:
            rows: (B,), on the host.
            device_rows: (B,), the same on the device of the values.
        """
        lengths = self.lengths.index_select(0, rows)
        longest = int(lengths.max())
        device = self.values.device
        steps = torch.arange(longest, device=device)
        places = self.starts.index_select(0, device_rows)[:, None] + steps
        padding = None
        if int(lengths.min()) < longest:
            padding = steps >= lengths.to(device)[:, None]
            places.masked_fill_(padding, 0)
        inputs = self.values[places]
        if padding is not None:
            inputs.masked_fill_(padding if inputs.ndim == 2 else padding[..., None], 0)
        if not inputs.is_floating_point():
            inputs = inputs.long()
        if self.label_per == "sequence":
            return Batch(inputs, self.targets.index_select(0, device_rows), lengths)
        targets = self.targets[places]
        if padding is not None:
            targets.masked_fill_(padding if targets.ndim == 2 else padding[..., None], 0)
        return Batch(inputs, targets, lengths)


def sequences_of(batch: Batch, label_per: LabelPer) -> Sequences:
    """The sequences of a padded batch on the host, one after the other."""
    starts = batch.lengths.cumsum(0) - batch.lengths
    targets = true_steps(batch.targets, batch.lengths) if label_per == "step" else batch.targets
    return Sequences(true_steps(batch.inputs, batch.lengths), starts, batch.lengths, targets, label_per=label_per)
