"""The true time steps of padded sequences."""

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor


def step_mask(
    lengths: Int64[Tensor, " batch"], num_steps: int, device: torch.device
) -> Bool[Tensor, "batch {num_steps}"]:
    """Mask (B, T): True for the steps within each sequence's length."""
    return torch.arange(num_steps, device=device) < lengths.to(device, non_blocking=True)[:, None]


def true_steps(
    values: Shaped[Tensor, "batch time *rest"], lengths: Int64[Tensor, " batch"]
) -> Shaped[Tensor, "steps *rest"]:
    """The values (B, T, ...) of all true steps, sequence by sequence: (S, ...), without padding.

    Args:
        values: on any device.
        lengths: true time steps of each sequence, on the CPU.
    """
    flat = values.flatten(0, 1)
    if int(lengths.sum()) == len(flat):
        return flat
    # The indices are found on the CPU: a mask on a device would wait for it.
    places = step_mask(lengths, values.shape[1], torch.device("cpu")).flatten().nonzero().squeeze(1)
    return flat.index_select(0, places.to(flat.device, non_blocking=True))


def positions(lengths: Int64[Tensor, " batch"]) -> Int64[Tensor, " steps"]:
    """The position of each true step in its sequence, from 1, in the order of `true_steps`."""
    return torch.cat([torch.arange(1, length + 1) for length in lengths.tolist()])
