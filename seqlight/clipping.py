"""Gradient clipping that gives the norm before it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def gradient_norm(parameters: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The norm of all gradients together."""
    return nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


def clip_by_norm(parameters: Sequence[Tensor], largest: float, norm: Float[Tensor, ""]) -> None:
    """Scale the gradients, whose norm is `norm`, down to `largest`, where it is above."""
    # On the host it costs nothing to look whether there is anything to clip.
    if norm.device.type != "cpu" or not norm <= largest:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """What the optimiser steps; unlike `module.parameters()`, without a look through all modules, metrics too."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
