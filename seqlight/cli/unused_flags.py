"""Flags that a command does not use."""

from collections.abc import Iterable

# Flags, or the beginnings of their names, and the commands that use them.
_USERS = {
    "checkpoint": ("fit",),
    "data.bucketing": ("fit",),
    "ensemble": ("fit",),
    "figures": ("fit", "validate", "test"),
    "folds": ("fit",),
    "fresh": ("fit",),
    "model.learning_rate": ("fit",),
    "model.lr_schedule": ("fit",),
    "model.non_finite": ("fit",),
    "model.optimizer": ("fit",),
    "model.warmup_steps": ("fit",),
    "name": ("fit", "validate", "test"),
    "output": ("predict",),
    "resume": ("fit",),
    "trainer.max_epochs": ("fit",),
    "trainer.max_steps": ("fit",),
    "trainer.min_epochs": ("fit",),
    "trainer.min_steps": ("fit",),
}


def unused_flags(command: str, names: Iterable[str]) -> list[str]:
    """A line for each flag that has no effect on a command.

    Args:
        command: "fit", "validate", "test" or "predict".
        names: the names of the flags of the command line, without dashes, as `model.optimizer.eps`.
    """
    return [
        f"--{name} has no effect on {command}, only on {' and '.join(_users(name))}"
        for name in dict.fromkeys(names)
        if not is_used(name, command)
    ]


def is_used(name: str, command: str) -> bool:
    """Whether a flag has an effect on a command."""
    return command in (_users(name) or (command,))


def _users(name: str) -> tuple[str, ...]:
    """The commands on which a flag has an effect; none for all."""
    return next((users for each, users in _USERS.items() if f"{name}.".startswith(f"{each}.")), ())
