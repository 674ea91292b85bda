"""Numbers to predict: their units, loss and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from seqlight.common.validation import check_finite
from seqlight.training.metrics import to_float64

RegressionLoss = Literal["mse", "huber"]
REGRESSION_LOSSES: tuple[str, ...] = get_args(RegressionLoss)


@dataclass(frozen=True)
class Units:
    """The units of numbers that a model predicts standardised.

    Attributes:
        mean: the mean that was subtracted from each number.
        scale: the divisor of each number after that.

    Raises:
        ValueError: if they are not finite, or a scale is not greater than 0.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in (("target_mean", self.mean), ("target_scale", self.scale)):
            for value in values:
                check_finite(name, value)
        if not min(self.scale) > 0:
            raise ValueError(f"target_scale must be greater than 0, got {min(self.scale)}")

    @classmethod
    def of(cls, mean: Sequence[float] | None, scale: Sequence[float] | None, num_outputs: int) -> "Units":
        """The units of a classifier's arguments; None stands for mean 0 and scale 1.

        Raises:
            ValueError: as above, or if there are more or fewer than outputs.
        """
        given = {"target_mean": mean or (0.0,) * num_outputs, "target_scale": scale or (1.0,) * num_outputs}
        for name, values in given.items():
            if len(values) != num_outputs:
                raise ValueError(f"{name} must be {num_outputs} numbers, one for each output, got {len(values)}")
        return cls(*(tuple(map(float, values)) for values in given.values()))

    def restore(self, numbers: Float[Tensor, "*batch numbers"]) -> Float[Tensor, "*batch numbers"]:
        """Standardised numbers (..., L) in their original units, in float64."""
        values = to_float64(numbers)
        return values * values.new_tensor(self.scale) + values.new_tensor(self.mean)

    def total_error(self, outputs: Float[Tensor, "batch numbers"], targets: Float[Tensor, "batch numbers"]) -> Tensor:
        """The sum over sequences of the mean absolute error of a sequence's numbers, in original units."""
        errors = to_float64(outputs - targets).abs()
        return (errors * errors.new_tensor(self.scale)).mean(-1).sum()


def regression_loss(
    outputs: Float[Tensor, "batch numbers"], targets: Float[Tensor, "batch numbers"], kind: RegressionLoss
) -> Float[Tensor, ""]:
    """The mean over sequences and numbers, all standardised.

    Args:
        outputs: predictions (B, L).
        targets: (B, L).
        kind: "mse", the squared error; or "huber", half of it up to an error of 1, and then linear.
    """
    return (functional.mse_loss if kind == "mse" else functional.huber_loss)(outputs, targets)


class RegressionEvaluation(nn.Module):
    """Mean loss, MAE, RMSE and R2 of a split, over all batches and ranks.

    The counterpart of `Evaluation`. MAE and RMSE are in original units. With several numbers, each metric is the mean
    over numbers, as by default in scikit-learn.
    """

    def __init__(self, units: Units, kind: RegressionLoss) -> None:
        super().__init__()
        self._units, self._kind = units, kind
        self.sums = _Sums()

    def begin(self, *, learns: bool = False) -> None:
        """Forget the batches of an evaluation that did not end. Nothing is learned."""
        with torch.inference_mode(False):  # else a later training could not add to the sums
            self.sums.reset()

    def add(
        self,
        outputs: Float[Tensor, "batch numbers"],
        targets: Float[Tensor, "batch numbers"],
        class_weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Add a batch; returns its predictions, as `probabilities`, and targets in original units, for callbacks."""
        self.sums.update(outputs, targets, regression_loss(outputs, targets, self._kind))
        return {"probabilities": self._units.restore(outputs), "targets": self._units.restore(targets)}

    def take(self) -> dict[str, Tensor | None]:
        """Loss and metrics since `begin`, which is called again. R2 is None if the targets do not differ.

        Empty if no batch was added, as by a subclass of the classifier.
        """
        if not self.sums.update_called:
            return {}
        loss, absolute, squared, variance = self.sums.compute()
        scale = absolute.new_tensor(self._units.scale)
        r2 = 1 - squared / variance
        values = {
            "loss": loss,
            "mae": (absolute * scale).mean(),
            "rmse": (squared.sqrt() * scale).mean(),
            "r2": r2.mean() if bool((variance > 0).all()) else None,
        }
        device = self.sums.count.device
        self.begin()
        return {name: None if value is None else value.float().to(device) for name, value in values.items()}


class _Sums(Metric):
    """Sums of errors and targets, exact over all ranks: of each batch in float32, of batches in float64."""

    full_state_update = False
    sums: Any
    losses: Any
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", [], dist_reduce_fx="cat")
        self.add_state("losses", [], dist_reduce_fx="cat")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch (B, L) and its mean loss."""
        outputs, targets = outputs.detach().float(), targets.float()
        errors = outputs - targets
        parts = (errors.abs(), errors.square(), targets, targets.square())
        self.sums.append(torch.stack([part.sum(0) for part in parts])[None])
        self.losses.append(loss.detach().float().reshape(1) * len(targets))
        self.count += len(targets)

    def compute(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The mean loss; and for each number the means of absolute and squared errors, and the targets' variance."""
        means = to_float64(dim_zero_cat(self.sums)).sum(0) / int(self.count)
        absolute, squared, mean, mean_of_squares = means
        variance = mean_of_squares - mean.square()
        # What rounding leaves of equal targets.
        variance = variance.where(variance > 1e-6 * mean_of_squares, 0)
        return to_float64(dim_zero_cat(self.losses)).sum() / int(self.count), absolute, squared, variance
