"""Sequences stored one after the other, as in files."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from seqlight.common.batch import Batch


class Sequences(NamedTuple):
    """Sequences of unequal length, one after the other, without padding.

    A `Batch` of all samples would be padded to the longest sequence. Subsets share the values.

    Attributes:
        values: features, float of shape (S, F), or tokens, integers of shape (S,), of all S time steps.
        starts: the position in the values where each sequence begins, int64 (N,), on their device.
        lengths: the number of time steps of each sequence, int64 (N,), on the host.
        targets: the same as a batch's.
        digests: equal for sequences that were equal when they were read, int64 (N, 2); None if this is unknown.
    """

    values: Float[Tensor, "steps features"] | Int[Tensor, " steps"]
    starts: Int64[Tensor, " sequences"]
    lengths: Int64[Tensor, " sequences"]
    targets: Float[Tensor, "sequences *labels"] | Int64[Tensor, " sequences"]
    digests: Int64[Tensor, "sequences 2"] | None = None

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
        return self.values[:1].nbytes * int(self.lengths.sum()) + self.targets.nbytes

    def compact(self) -> "Sequences":
        """The same sequences, without the values of others that share the tensor."""
        if int(self.lengths.sum()) == len(self.values):
            return self
        starts = self.lengths.cumsum(0) - self.lengths
        places = torch.arange(int(self.lengths.sum())) + (self.starts - starts).repeat_interleave(self.lengths)
        return self._replace(values=self.values[places], starts=starts)

    def subset(self, rows: Int64[Tensor, " rows"]) -> "Sequences":
        """The sequences of these rows, with shared values."""
        digests = None if self.digests is None else self.digests[rows]
        return Sequences(self.values, self.starts[rows], self.lengths[rows], self.targets[rows], digests)

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
        return Batch(inputs, self.targets.index_select(0, device_rows), lengths)
