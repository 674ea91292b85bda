"""The training, validation, test and prediction steps."""

from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from seqlight.common.batch import Batch, require_batch
from seqlight.common.processes import weigh_by_share
from seqlight.common.steps import true_steps
from seqlight.tasks.task import LabelPer, Target
from seqlight.training.calibration import Calibration
from seqlight.training.evaluation import Evaluation, log_evaluation
from seqlight.training.lightning_hooks import TrainingHooks
from seqlight.training.metrics import classification_loss
from seqlight.training.non_finite import check_metrics


class ClassifierSteps(TrainingHooks):
    """Base of `SequenceClassifier`: what is done with the logits of a batch.

    Attributes:
        target: "binary", "multiclass" or "multilabel".
        label_per: whether a sequence has a label, or each of its time steps. Loss and metrics are then those of all
            true steps, as if each were a sequence.
        class_weights: factors of the loss, as for `SequenceClassifier`.
        calibration: temperature and thresholds.
        val_evaluation, test_evaluation: loss and metrics of the split.
    """

    target: Target
    label_per: LabelPer
    class_weights: Tensor | None
    calibration: Calibration
    val_evaluation: Evaluation
    test_evaluation: Evaluation

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of the batch, scaled so that the mean over processes is the mean over all sequences or steps.

        `TrainingHooks` says what happens next.
        """
        logits, targets = self._answers(batch)
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
        """Probabilities, in the shape that `probabilities` returns."""
        require_batch(batch)
        return self.calibration.probabilities(self(batch.inputs, batch.lengths))

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
