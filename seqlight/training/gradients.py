"""The norm of gradients, and clipping by it.

`StepMonitor.check_and_clip` calls these functions in each step.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqlight.common.private_api import are_all_finite


def gradient_norm(parameters: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The norm of all gradients together."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if norm.device.type == "cpu" and not math.isfinite(norm.item()):
        # The squares of large float32 gradients overflow.
        norm = nn.utils.get_total_norm([gradient.double() for gradient in gradients])
    return norm


def gradient_total(parameters: Sequence[Tensor]) -> float | Float[Tensor, ""]:
    """A number that is finite only if all gradients are; faster than their norm."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients or gradients[0].device.type != "cpu":
        return nn.utils.get_total_norm(gradients)  # few kernels for many gradients
    return 0.0 if are_all_finite(gradients) else math.inf


def clip_by_norm(parameters: Sequence[Tensor], largest: float, norm: Float[Tensor, ""]) -> None:
    """Scale the gradients down to a norm of `largest`, if their norm is greater."""
    # On the CPU the comparison is free, and most steps need no clipping.
    if norm.device.type != "cpu" or not norm <= largest:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The optimizer's parameters. `module.parameters()` is slower: it visits all submodules, metrics too."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
