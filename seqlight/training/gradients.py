"""The norm of gradients, and clipping by it.

`StepMonitor.check_and_clip` calls these functions in each step.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqlight.common.private_torch import are_all_finite, norms_of


def gradient_norm(parameters: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The norm of all gradients together. It is finite if they are, unless float64 can't hold it."""
    gradients = _gradients(parameters)
    if gradients and gradients[0].device.type != "cpu":
        return total_norm(device_norms(parameters))
    if not gradients:
        return torch.zeros(())
    # As `nn.utils.get_total_norm`, which takes twice as long: it looks for devices and dtypes.
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms_of(gradients, gradients[0].dtype)))
    if not math.isfinite(norm.item()):
        # The squares of large float32 gradients overflow.
        largest = torch.stack([gradient.abs().max().double() for gradient in gradients]).max()
        if 0 < largest < math.inf:
            norm = largest * nn.utils.get_total_norm([gradient.double() / largest for gradient in gradients])
    return norm


def device_norms(parameters: Sequence[Tensor]) -> Float[Tensor, " gradients"]:
    """The norm of each gradient, in float64 if the device has it, without waiting for the device."""
    gradients = _gradients(parameters)
    if not gradients:
        return torch.zeros(1, device=parameters[0].device)
    if gradients[0].device.type != "mps":
        return torch.stack(norms_of(gradients, torch.float64))
    largest = torch.stack([gradient.float().abs().max() for gradient in gradients]).max().clamp(min=1e-30)
    norms = torch.stack(norms_of([gradient / largest for gradient in gradients], torch.float32))
    return _bounded(norms.mul_(largest))


def total_norm(norms: Float[Tensor, " gradients"]) -> Float[Tensor, ""]:
    """The norm of all gradients together, from the norm of each; without waiting for the device."""
    largest = norms.max().clamp(min=1e-30)  # the squares of large norms overflow
    return _bounded((norms / largest).square().sum().sqrt() * largest)


def _bounded(norms: Tensor) -> Tensor:
    """Norms of finite gradients can be too large for float32: they become its largest number. NaN stays."""
    return norms if norms.dtype == torch.float64 else norms.clamp(max=torch.finfo(norms.dtype).max)


def gradient_total(parameters: Sequence[Tensor]) -> float | Float[Tensor, ""]:
    """A number that is finite only if all gradients are; on the CPU faster than their norm."""
    gradients = _gradients(parameters)
    if gradients and gradients[0].device.type != "cpu":
        return gradient_norm(parameters)
    return 0.0 if not gradients or are_all_finite(gradients) else math.inf


def clip_by_norm(parameters: Sequence[Tensor], largest: float, norm: Float[Tensor, ""]) -> None:
    """Scale the gradients down to a norm of `largest`, if their norm is greater."""
    waits = norm.device.type == "cpu"
    # On the CPU the comparison is free, and most steps need no clipping.
    if waits and norm <= largest:
        return
    # A factor below the smallest number of float32 would be 0, so clip in two parts.
    limit = 1e30 * largest
    if not waits or norm > limit:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        norm = norm.clamp(max=limit)
    nn.utils.clip_grads_with_norm_(parameters, largest, norm)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The optimizer's parameters. `module.parameters()` is slower: it visits all submodules, metrics too."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
