"""Checks of optimizer state that comes from a checkpoint."""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from seqlight.common.errors import CheckpointError


def check_optimizers(optimizers: list[Optimizer]) -> None:
    """Check that optimizer state matches the parameters: fused optimizers write to memory without a check.

    Raises:
        CheckpointError: if it does not.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for name, default in optimizer.defaults.items():
                _check(_is_like(group.get(name), default), f"{name} is {group.get(name)!r}")
        for parameter, state in optimizer.state.items():
            if isinstance(optimizer, torch.optim.Adam):
                _check({"step", "exp_avg", "exp_avg_sq"} <= set(state), "a mean of the gradients is missing")
            for name, value in state.items():
                if isinstance(value, Tensor):
                    fits = value.stride() == parameter.stride() and value.shape == parameter.shape
                    is_count = name == "step" and value.shape == ()
                    _check(
                        (fits or is_count) and value.is_floating_point(), f"{name} does not match its parameter's shape"
                    )


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, tuple) and len(value) == len(default) and all(map(_is_like, value, default))
    if isinstance(default, Real) and not isinstance(default, bool):
        return isinstance(value, Real) and math.isfinite(value)
    return value is None or default is None or isinstance(value, type(default))


def _check(holds: bool, reason: str) -> None:
    if not holds:
        raise CheckpointError(f"training can't continue from the checkpoint: optimizer state: {reason}")
