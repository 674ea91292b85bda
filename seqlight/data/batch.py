"""The one form in which sequences travel."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Batch(NamedTuple):
    """Sequences of unequal length, padded at the end to a common number of time steps.

    Attributes:
        inputs: features, float of shape (B, T, F), or tokens, int64 of shape (B, T).
        targets: float (B,) for binary, float (B, L) for multilabel, int64 (B,) for multiclass.
        lengths: the number of true time steps of each sequence, int64 of shape (B,). They stay on the
            host when the batch moves to an accelerator, where reading them would stall the device.
    """

    inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"]
    targets: Float[Tensor, "batch *labels"] | Int64[Tensor, " batch"]
    lengths: Int64[Tensor, " batch"]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch with inputs and targets on `device`."""
        return self._replace(
            inputs=self.inputs.to(device, non_blocking=non_blocking),
            targets=self.targets.to(device, non_blocking=non_blocking),
        )
