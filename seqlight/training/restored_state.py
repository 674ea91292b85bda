"""Checks of the state of a training in a checkpoint, before it is restored.

Wrong types would otherwise fail steps later, or far from their cause.
"""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from seqlight.checkpoints.entries import Each, check_entry
from seqlight.common.errors import CheckpointError

_KNOWN = ("lightning.", "seqlight.", "torch.")  # classes whose states keep their types
_SKELETON: dict[str, Any] = {
    "epoch": 0,
    "global_step": 0,
    "callbacks": {},
    "loops": {},
    "seqlight": {},
}


def check_callbacks_and_loops(trainer: pl.Trainer, checkpoint: dict[str, Any], steps: dict[str, Any]) -> None:
    """Check what is restored before optimizers are made.

    Args:
        trainer: the Trainer that restores the checkpoint.
        checkpoint: its contents.
        steps: the state of the training curves that would be saved now.

    Raises:
        CheckpointError: naming an entry of another type.
    """
    for name, part in _SKELETON.items():
        if name not in checkpoint:
            raise CheckpointError(f"training can't continue from the checkpoint: its entry {name!r} is missing")
        check_entry(checkpoint[name], part, name)
    for name, part in (("optimizer_states", {"param_groups": Each([{}])}), ("lr_schedulers", {})):
        states = checkpoint.get(name, [])
        check_entry(states, [part] * len(states) if isinstance(states, list) else [], name)
    for callback in trainer.callbacks:  # type: ignore[attr-defined] # set by its callback connector
        if _is_known(callback) and callback.state_key in checkpoint["callbacks"]:
            found = checkpoint["callbacks"][callback.state_key]
            check_entry(found, callback.state_dict(), "callbacks", callback.state_key)
    for name in ("fit_loop", "validate_loop", "test_loop", "predict_loop"):
        check_entry(checkpoint["loops"].get(name, {}), getattr(trainer, name).state_dict(), "loops", name)
    check_entry(checkpoint["seqlight"].get("steps", {}), steps, "seqlight", "steps")
    precision = trainer.precision_plugin
    check_entry(checkpoint.get(type(precision).__qualname__, {}), precision.state_dict(), type(precision).__qualname__)


def check_optimizers_and_schedules(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Check what is restored once optimizers and their schedulers are made. The arguments are those above."""
    schedulers: list[Any] = [config.scheduler for config in trainer.lr_scheduler_configs]
    parts: dict[str, list[Any]] = {"optimizer_states": trainer.optimizers, "lr_schedulers": schedulers}
    for name, objects in parts.items():
        states = checkpoint.get(name, [])
        if name == "optimizer_states" and len(states) != len(objects):
            raise CheckpointError(
                f"training can't continue from the checkpoint: its entry {name!r} has {len(states)} states, "
                f"expected {len(objects)}"
            )
        # A run can continue without a scheduler, or with another one.
        for place, (state, owner) in enumerate(zip(states, objects, strict=False)):
            if not _is_known(owner):
                continue
            now = owner.state_dict()
            check_entry(state, now, name, place)
            if isinstance(owner, Optimizer):
                _check_moments(owner, state, place)
            if any(not isinstance(each, dict | None) for each in state.get("lr_lambdas", ())):
                raise CheckpointError(
                    f"training can't continue from the checkpoint: {name}[{place}]['lr_lambdas'] has other values than "
                    "None and dicts"
                )
            methods = [key for key in state if key not in now and hasattr(type(owner), str(key))]
            if methods:  # a scheduler's attributes are updated by all of its state
                raise CheckpointError(
                    f"training can't continue from the checkpoint: {name}[{place}] replaces {methods[0]!r}"
                )


def _check_moments(optimizer: Optimizer, state: dict[str, Any], place: int) -> None:
    """Check the optimizer's state of each parameter: an optimizer has none before its first step."""
    for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=False):  # torch checks the lengths
        for parameter, key in zip(group["params"], saved.get("params", ()), strict=False):
            example = _state_after_a_step(optimizer, saved, parameter.ndim)
            found, places = state["state"].get(key, {}), ("optimizer_states", place, "state", key)
            if missing := [name for name in example if found and name not in found]:
                raise CheckpointError(f"training can't continue from the checkpoint: {places} has no {missing[0]!r}")
            check_entry(found, {name: _resized(value, parameter) for name, value in example.items()}, *places)


def _resized(value: Any, parameter: Tensor) -> Any:
    """The state of a parameter of size 2 in all dimensions, for one of another size."""
    if not isinstance(value, Tensor) or value.ndim != parameter.ndim:
        return value
    size = [all_of if part == 2 else part for part, all_of in zip(value.shape, parameter.shape, strict=True)]
    return torch.empty(size, dtype=value.dtype, device="meta")


def _state_after_a_step(optimizer: Optimizer, group: dict[str, Any], ndim: int) -> dict[str, Any]:
    """The state of a parameter of size 2 after a step; empty if such an optimizer can't be made or stepped."""
    parameter = torch.nn.Parameter(torch.zeros((2,) * ndim))
    parameter.grad = torch.zeros_like(parameter)
    try:
        scratch = type(optimizer)([parameter], **{name: group[name] for name in optimizer.defaults})
        scratch.step()
    except Exception:  # it needs a closure or a GPU, for example
        return {}
    return dict(scratch.state[parameter])


def _is_known(value: Any) -> bool:
    return type(value).__module__.startswith(_KNOWN)
