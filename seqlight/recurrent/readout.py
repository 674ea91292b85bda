"""Readout: one vector for a sequence of outputs."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.common.steps import step_mask
from seqlight.recurrent.lengths import CheckedLengths

Readout = Literal["last", "mean", "max", "last_mean_max"]
READOUTS: tuple[str, ...] = get_args(Readout)


def readout_size(readout: Readout, output_size: int) -> int:
    """The size of the vector that `read_out` returns, for outputs of size D*H."""
    return output_size * len(readout.split("_"))


def read_out(
    readout: Readout,
    outputs: Float[Tensor, "batch time features"],
    lengths: CheckedLengths | None,
    num_directions: int,
    *,
    last: Float[Tensor, "batch features"] | None = None,
) -> Float[Tensor, "batch summary"]:
    """Reduce outputs (B, T, D*H) to one vector per sequence: (B, D*H), or (B, 3*D*H) for "last_mean_max".

    "last" is the output of each direction's last step: the true last step forwards, the first step backwards.
    "mean" and "max" are over the true steps. "last_mean_max" joins the three, in this order.

    Args:
        readout: the kind of summary.
        outputs: (B, T, D*H), 0 past the lengths.
        lengths: true time steps of each sequence; T if None.
        num_directions: D.
        last: the summary "last" (B, D*H) if it is known already, as from `RecurrentStack.last_outputs`.
    """
    parts = []
    for part in readout.split("_"):
        if part == "last":
            parts.append(_last(outputs, lengths, num_directions) if last is None else last)
        else:
            parts.append((_mean if part == "mean" else _max)(outputs, lengths))
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _last(outputs: Tensor, lengths: CheckedLengths | None, num_directions: int) -> Tensor:
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


def _mean(outputs: Tensor, lengths: CheckedLengths | None) -> Tensor:
    if lengths is None:
        return outputs.mean(1)
    # Outputs past the lengths are 0.
    return outputs.sum(1) / lengths.values.to(outputs.device, non_blocking=True)[:, None]


def _max(outputs: Tensor, lengths: CheckedLengths | None) -> Tensor:
    if lengths is not None:
        mask = step_mask(lengths.values, outputs.shape[1], outputs.device)
        outputs = outputs.masked_fill(~mask[:, :, None], -torch.inf)
    return outputs.amax(1)
