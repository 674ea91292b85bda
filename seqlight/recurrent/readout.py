"""Readout: one vector for a sequence of outputs."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.recurrent.lengths import CheckedLengths, step_mask

Readout = Literal["last", "mean", "max"]


def read_out(
    readout: Readout,
    outputs: Float[Tensor, "batch time features"],
    lengths: CheckedLengths | None,
    num_directions: int,
) -> Float[Tensor, "batch features"]:
    """Reduce outputs (B, T, D*H) to one vector per sequence (B, D*H).

    "last" is the output of each direction's last step: the true last step forwards, the first step backwards.
    "mean" and "max" are over the true steps.
    """
    if readout == "last":
        if lengths is None:
            last = outputs[:, -1]
        else:
            rows = torch.arange(len(outputs), device=outputs.device)
            last = outputs[rows, lengths.values.to(outputs.device, non_blocking=True) - 1]
        if num_directions == 1:
            return last
        forward, _ = last.chunk(2, -1)
        _, backward = outputs[:, 0].chunk(2, -1)
        return torch.cat((forward, backward), -1)
    if readout == "mean":
        if lengths is None:
            return outputs.mean(1)
        # Outputs past the lengths are 0.
        return outputs.sum(1) / lengths.values.to(outputs.device, non_blocking=True)[:, None]
    if lengths is not None:
        mask = step_mask(lengths.values, outputs.shape[1], outputs.device)
        outputs = outputs.masked_fill(~mask[:, :, None], -torch.inf)
    return outputs.amax(1)
