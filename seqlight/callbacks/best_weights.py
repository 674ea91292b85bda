"""The weights with the lowest validation loss, in memory."""

import lightning.pytorch as pl
from torch import Tensor


class BestWeights(pl.Callback):
    """Record the validation losses, and with a patience stop training and keep the weights of the lowest loss.

    Args:
        patience: the number of validations without a lower loss before training stops; None for no limit.

    Attributes:
        losses: the validation losses so far.
        weights: the `state_dict` at the lowest of them, on the CPU; empty without a patience or validation.
    """

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self.losses: list[float] = []
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the loss with earlier ones."""
        self.losses.append(float(trainer.callback_metrics["val/loss"]))
        if self._patience is None:
            return
        best = self.losses.index(min(self.losses))
        if best == len(self.losses) - 1:
            self.weights = {name: value.detach().cpu().clone() for name, value in pl_module.state_dict().items()}
        trainer.should_stop |= len(self.losses) - 1 - best >= self._patience
