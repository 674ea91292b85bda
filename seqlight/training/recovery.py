"""Recovery from a learning rate that is too high."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.checkpoints.entries import check_entry
from seqlight.common.errors import state_of_checkpoint

WINDOW = 20  # steps whose mean loss counts
FACTOR = 1.2  # times the loss of guessing
MOST = 5  # times


def loss_of_guessing(target: str, num_outputs: int) -> float:
    """The loss of equal probabilities; for regression, of the mean of standardised targets."""
    if target == "multiclass":
        return math.log(num_outputs)
    return 1.0 if target == "regression" else math.log(2)


class Recovery:
    """Go back to the best weights and halve the learning rate when training diverges.

    Training has diverged if the mean loss of 20 steps is more than 1.2 times that of guessing, or if a loss or gradient
    is not finite. The weights and the optimizer's state are then those after the 20 steps with the lowest mean loss, or
    the initial ones, and all later rates are half as high. The number of steps of the run stays. After 5 times,
    training goes on, or stops, as it does without recovery.

    All of it follows from the losses, and is part of a checkpoint, so a resumed run does the same.

    Args:
        guess: the loss of guessing. With class weights it is that of the first batch, if that is more.
        is_on: whether it does anything.

    Attributes:
        is_on: the argument.
        is_active: whether it does anything in this training. In manual optimization and in Lightning's search for a
            learning rate it does not.
        steps: the steps after which training went back.
    """

    def __init__(self, guess: float, *, is_on: bool) -> None:
        self._guess = guess
        self.is_on = is_on
        self.is_active = False
        self._restored: dict[str, Any] = {}
        self._reset()

    def _reset(self) -> None:
        self.steps: list[int] = []
        self._losses: list[float | Tensor] = []  # since the last comparison
        self._last = 0  # the step of the last comparison
        self._weighted_guess = 0.0  # known after the first comparison
        self._lowest = math.inf
        self._best: dict[str, Any] = {}

    @property
    def factor(self) -> float:
        """The factor of all learning rates."""
        return float(0.5 ** len(self.steps))

    def begin(self, module: pl.LightningModule, *, can_act: bool) -> None:
        """Begin a training, or continue from the state given to `load_state_dict`."""
        restored, self._restored = self._restored, {}
        self._reset()
        self.is_active = self.is_on and can_act
        if not self.is_active:
            return
        self._last = module.global_step
        self._keep(module)
        if restored:
            with state_of_checkpoint():
                check_entry(restored, self.state_dict(), "seqlight", "steps", "recovery")
                self.steps, self._losses, self._last = restored["after"], restored["losses"], restored["last"]
                self._weighted_guess, self._lowest = restored["guess"], restored["lowest"]
                self._best = {name: restored[name] for name in self._best}
                self.end_batch(module)  # a checkpoint within an epoch is saved before

    def add(self, loss: Float[Tensor, ""]) -> None:
        """Record a batch's mean loss."""
        if self.is_active:
            self._losses.append(loss.detach())

    def end_batch(self, module: pl.LightningModule) -> None:
        """Compare the losses of the last steps with that of guessing, if that is due."""
        if not self.is_active or module.global_step < self._last + WINDOW:
            return
        self._last = module.global_step
        losses, self._losses = [value for value in map(float, self._losses) if math.isfinite(value)], []
        if not losses:  # all steps were skipped
            return
        values = torch.tensor([losses[0], math.fsum(losses) / len(losses)], device=module.device)
        first, mean = module.trainer.strategy.reduce(values, reduce_op="mean").tolist()
        self._weighted_guess = self._weighted_guess or max(first, self._guess)
        if mean > FACTOR * self._weighted_guess:
            self.go_back(module)
        elif mean < self._lowest:
            self._lowest = mean
            self._keep(module)

    def go_back(self, module: pl.LightningModule) -> bool:
        """Go back to the best weights at half the rate; returns whether that was possible."""
        if not self.is_active or len(self.steps) == MOST:
            return False
        optimizer: Any = module.optimizers(use_pl_optimizer=False)
        module.load_state_dict(self._best["weights"])
        state = optimizer.state_dict()
        optimizer.load_state_dict({**state, "state": self._best["state"]})  # which copies them
        for group in optimizer.param_groups:
            group["lr"] /= 2
        self.steps.append(module.global_step)
        self._losses, self._last = [], module.global_step
        return True

    def _keep(self, module: pl.LightningModule) -> None:
        optimizer: Any = module.optimizers(use_pl_optimizer=False)
        self._best = {"weights": _copied(module.state_dict()), "state": _copied(optimizer.state_dict()["state"])}

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data; empty if it does nothing."""
        if not self.is_active:
            return {}
        losses, numbers = list(map(float, self._losses)), {"guess": self._weighted_guess, "lowest": self._lowest}
        return {"after": [*self.steps], "losses": losses, "last": self._last, **numbers, **self._best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Store a state, which `begin` restores."""
        self._restored = state


def _copied(value: Any) -> Any:
    """Nested dicts with copies of their tensors."""
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return value.detach().clone() if isinstance(value, Tensor) else value
