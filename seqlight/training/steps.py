"""The training, validation, test and prediction steps."""

import torch
from jaxtyping import Float, Int64, Shaped
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from seqlight.common.batch import Batch, require_batch
from seqlight.common.label_per import LabelPer
from seqlight.common.processes import weigh_by_share
from seqlight.common.steps import true_steps
from seqlight.tasks.task import Target
from seqlight.training.calibration import Calibration
from seqlight.training.evaluation import Evaluation, log_evaluation
from seqlight.training.evaluation_mode import evaluating
from seqlight.training.finite_results import check_probabilities
from seqlight.training.lightning_hooks import TrainingHooks
from seqlight.training.metrics import classification_loss
from seqlight.training.non_finite import check_metrics
from seqlight.training.regression import RegressionEvaluation, RegressionLoss, Units, regression_loss


class ClassifierSteps(TrainingHooks):
    """Base of `SequenceClassifier`: what is done with the logits of a batch.

    Attributes:
        target: "binary", "multiclass", "multilabel" or "regression".
        units: of the numbers, for regression; else None.
        regression_loss: as for `SequenceClassifier`.
        head: the linear layer that gives the logits.
        label_per: whether a sequence has a label, or each of its time steps. Loss and metrics are then those of all
            true steps, as if each were a sequence.
        class_weights: factors of the loss, as for `SequenceClassifier`.
        calibration: temperature and thresholds.
        val_evaluation, test_evaluation: loss and metrics of the split.
    """

    target: Target
    label_per: LabelPer
    head: nn.Linear
    units: Units | None
    regression_loss: RegressionLoss
    class_weights: Tensor | None
    calibration: Calibration
    val_evaluation: Evaluation | RegressionEvaluation
    test_evaluation: Evaluation | RegressionEvaluation

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of the batch, scaled so that the mean over processes is the mean over all sequences or steps.

        `TrainingHooks` says what happens next.
        """
        logits, targets = self._answers(batch)
        if self.units is not None:
            loss = regression_loss(logits, targets, self.regression_loss)
        else:
            loss = classification_loss(logits, targets, self.target, class_weights=self.class_weights)
        self._monitor.add(loss, logits, targets)
        return weigh_by_share(loss, len(targets))

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Update the metrics; returns probabilities and targets for callbacks."""
        return self.val_evaluation.add(*self._answers(batch), self.class_weights)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Update the metrics; returns probabilities and targets for callbacks."""
        return self.test_evaluation.add(*self._answers(batch), self.class_weights)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities, in the shape that `probabilities` returns; for regression, predictions in original units."""
        require_batch(batch)
        return self.results_of(self(batch.inputs, batch.lengths))

    def results_of(self, logits: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Probabilities; for regression, the numbers in their original units."""
        return self.calibration.probabilities(logits) if self.units is None else self.units.restore(logits)

    def on_fit_start(self) -> None:
        """Check that there are validation sequences if something is learned from them. Raises ValueError."""
        super().on_fit_start()
        if self.calibration.learns and not self.trainer.enable_validation:
            metric = self.calibration.metric
            learned = "`temperature_scaling=True`" if metric is None else f'`threshold="{metric}"`'
            raise ValueError(f"{learned} needs validation sequences, but this training has none")

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and targets: of the sequences, (B, ...), or of their true steps, (S, ...)."""
        require_batch(batch)
        logits = self(batch.inputs, batch.lengths)
        if self.label_per == "sequence":
            return logits, batch.targets
        return true_steps(logits, batch.lengths), true_steps(batch.targets, batch.lengths)

    @torch.no_grad()
    def probabilities(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch *outputs"]:
        """Probabilities for new sequences, in evaluation mode and without gradients.

        The model's own mode does not change, so several threads can call this, in training too.

        Returns the probability of label 1, (B,), for binary; of each label, (B, L), for multilabel; of each class,
        (B, C), for multiclass. If each step has a label, (B, T, ...); those of padding mean nothing.

        Args:
            inputs: features (B, T, F) or tokens (B, T); they are moved to the model's device and precision.
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.

        Raises:
            NonFiniteError: if a probability is NaN; it names the sequences by their index.
            TypeError: for regression; see `predictions`.
        """
        if self.units is not None:
            raise TypeError("a model of numbers has no probabilities; `predictions(inputs, lengths)` gives the numbers")
        probabilities = self._predicted(inputs, lengths)
        check_probabilities(probabilities)
        return probabilities

    @torch.no_grad()
    def predictions(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | None = None,
    ) -> Shaped[Tensor, "batch *outputs"]:
        """Predictions for new sequences; arguments, mode and gradients are as for `probabilities`.

        Returns the numbers in their original units, float64 (B, L), for regression; the class (B,) for binary and
        multiclass, and 0 or 1 for each label (B, L) for multilabel. If each step has a label, (B, T, ...).

        Raises:
            NonFiniteError: if a prediction is NaN; it names the sequences by their index.
        """
        predicted = self._predicted(inputs, lengths)
        check_probabilities(predicted)
        return predicted if self.units is not None else self.calibration.classes(predicted)

    def _predicted(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        """Probabilities, or numbers in original units, in evaluation mode."""
        weight = self.head.weight
        inputs = inputs.to(weight.device, weight.dtype if inputs.is_floating_point() else None)
        with evaluating(self) as model:
            return self.results_of(model(inputs, lengths))

    def on_validation_epoch_start(self) -> None:
        """Begin the metrics. In training, temperature and thresholds are learned, and where there are none yet."""
        is_first = self.trainer.state.fn != TrainerFn.FITTING and not self.calibration.is_learned
        is_trained = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        self.val_evaluation.begin(learns=is_first or is_trained)

    def on_test_epoch_start(self) -> None:
        """Begin the metrics."""
        self.test_evaluation.begin()

    def on_validation_epoch_end(self) -> None:
        """Log `val/...`, and stop the training if the loss is not finite."""
        self._monitor.settle(self)
        log_evaluation(self, "val", self.val_evaluation.take())
        check_metrics(self.trainer, ("val/loss",))

    def on_test_epoch_end(self) -> None:
        """Log `test/...`."""
        log_evaluation(self, "test", self.test_evaluation.take())
