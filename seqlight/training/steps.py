"""The training, validation, test and prediction steps."""

from torch import Tensor

from seqlight.common.batch import Batch, require_batch
from seqlight.common.processes import weigh_by_share
from seqlight.common.steps import true_steps
from seqlight.tasks.task import LabelPer, Target
from seqlight.training.evaluation import Evaluation, log_evaluation
from seqlight.training.lightning_hooks import TrainingHooks
from seqlight.training.metrics import classification_loss, to_probabilities
from seqlight.training.non_finite import check_metrics


class ClassifierSteps(TrainingHooks):
    """Base of `SequenceClassifier`: what is done with the logits of a batch.

    Attributes:
        target: "binary", "multiclass" or "multilabel".
        label_per: whether a sequence has a label, or each of its time steps. Loss and metrics are then those of all
            true steps, as if each were a sequence.
        class_weights: factors of the loss, as for `SequenceClassifier`.
        val_evaluation, test_evaluation: loss and metrics of the split.
    """

    target: Target
    label_per: LabelPer
    class_weights: Tensor | None
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
        return to_probabilities(self(batch.inputs, batch.lengths), self.target)

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and targets: of the sequences, (B, ...), or of their true steps, (S, ...)."""
        require_batch(batch)
        logits = self(batch.inputs, batch.lengths)
        if self.label_per == "sequence":
            return logits, batch.targets
        return true_steps(logits, batch.lengths), true_steps(batch.targets, batch.lengths)

    def on_validation_epoch_start(self) -> None:
        """Begin the metrics."""
        self.val_evaluation.begin()

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
