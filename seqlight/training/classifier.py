"""The model that a Trainer trains."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.cells.cell import RecurrentCell
from seqlight.cells.lstm import LSTMCell
from seqlight.checkpoints.load import load_model
from seqlight.common.batch import Batch, require_batch
from seqlight.common.description import save_plain_hyperparameters
from seqlight.common.private_api import FastHookName
from seqlight.common.processes import weigh_by_share
from seqlight.common.validation import check_choice
from seqlight.recurrent.embedding import embed, new_embedding
from seqlight.recurrent.layer import Backend
from seqlight.recurrent.lengths import CheckedLengths, check_lengths
from seqlight.recurrent.readout import Readout, read_out
from seqlight.recurrent.stack import Norm, RecurrentStack
from seqlight.tasks.task import Target
from seqlight.training.evaluation import Evaluation, log_evaluation
from seqlight.training.metrics import check_class_weights, check_num_outputs, classification_loss, to_probabilities
from seqlight.training.non_finite import OnNonFinite, check_metrics, check_weights
from seqlight.training.schedule import Kind, Schedule, check_settings, keep_patience
from seqlight.training.steps import TrainingSteps
from seqlight.training.trainer_data import describe_with_data


class SequenceClassifier(FastHookName, pl.LightningModule):
    """A recurrent stack, a summary of its outputs, and a linear layer.

    Binary and multilabel targets are trained with binary cross-entropy of logits, multiclass with
    cross-entropy, by Adam, with a learning rate that falls to 0 along a cosine.

    Scalars logged: every `log_every_n_steps` steps, at least once an epoch, `train/loss` and
    `train/accuracy` as means over the steps since the last point, `train/learning_rate` and
    `train/gradient_norm` (before clipping) as they are; and loss, accuracy, AUROC and F1 as `val/...`
    and `test/...`.

    Args:
        cell: makes a cell from its input size: a cell's class, or `functools.partial(GRUCell, hidden_size=64)`.
        input_size: the number of features F of a time step, for float inputs.
        vocab_size: the number of tokens, for token inputs; give this or `input_size`.
        target: "binary", "multiclass" or "multilabel".
        num_outputs: 1 for binary, else the number of classes or labels.
        embedding_size: the number of features that a token is embedded in.
        num_layers: recurrent layers.
        bidirectional: whether each layer also runs backwards.
        dropout: the chance to drop an output between layers.
        input_dropout, recurrent_dropout, zoneout, residual, norm: as for `RecurrentStack`.
        readout: the summary of a sequence: "last", its final output in each direction; "mean" or "max" over time.
        backend: as for `RecurrentLayer`.
        class_weights: what the loss of a sequence is multiplied with, by its class: (C,) for multiclass, (2,) for
            binary; for multilabel, what that of each label is multiplied with where it is 1, (L,). Every loss is
            the mean over sequences of weight times loss. None for 1.
        learning_rate: of Adam, at the start.
        lr_schedule: "cosine" falls to 0 over the run, "constant" stays.
        non_finite: what a loss or gradient that is NaN or infinite does: "stop" raises NonFiniteError before the
            optimiser's step; "skip" leaves the step out and counts its batches, as `train/skipped`.

    Raises:
        TypeError, ValueError: if an argument is out of its range, naming it.
    """

    def __init__(
        self,
        cell: Callable[[int], RecurrentCell] = LSTMCell,
        *,
        input_size: int | None = None,
        vocab_size: int | None = None,
        target: Target = "binary",
        num_outputs: int = 1,
        embedding_size: int = 16,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        residual: bool = False,
        norm: Norm | None = None,
        readout: Readout = "last",
        backend: Backend = "auto",
        class_weights: Sequence[float] | None = None,
        learning_rate: float = 0.01,
        lr_schedule: Kind = "cosine",
        non_finite: OnNonFinite = "stop",
    ) -> None:
        super().__init__()
        if (input_size is None) == (vocab_size is None):
            raise ValueError(f"give either input_size or vocab_size, got {input_size} and {vocab_size}")
        check_num_outputs(num_outputs, target)
        check_choice("readout", readout, ("last", "mean", "max"))
        Schedule(learning_rate, lr_schedule)  # which checks them
        check_choice("non_finite", non_finite, ("stop", "skip"))
        save_plain_hyperparameters(self)
        self.target: Target = target
        self.class_weights: Tensor | None
        weights = None if class_weights is None else check_class_weights(class_weights, target, num_outputs)
        self.register_buffer("class_weights", weights, persistent=False)
        self.readout: Readout = readout
        self.learning_rate = learning_rate
        self.lr_schedule: Kind = lr_schedule
        self.embedding = None if vocab_size is None else new_embedding(vocab_size, embedding_size)
        self.recurrent = RecurrentStack(
            cell,
            embedding_size if input_size is None else input_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            input_dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            residual=residual,
            norm=norm,
            backend=backend,
        )
        self.head = nn.Linear(self.recurrent.output_size, num_outputs)
        self.val_evaluation = Evaluation(target, num_outputs)
        self.test_evaluation = Evaluation(target, num_outputs)
        self._steps = TrainingSteps(target, non_finite)

    def features(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | CheckedLengths | None = None,
    ) -> Float[Tensor, "batch time features"]:
        """What the recurrent stack reads: the inputs (B, T, F), or the embedded tokens; padding may hold anything."""
        return inputs if self.embedding is None else embed(self.embedding, inputs, check_lengths(lengths, inputs))

    def classify(
        self,
        features: Float[Tensor, "batch time features"],
        lengths: Int64[Tensor, " batch"] | CheckedLengths | None = None,
    ) -> Float[Tensor, "batch *outputs"]:
        """Logits of features (B, T, F); shaped as `forward`'s."""
        checked = check_lengths(lengths, features)
        outputs, final = self.recurrent(features, checked)
        # The last outputs are there already; to pick them out of all costs a small model's backward pass a tenth.
        summary = self.recurrent.last_outputs(final) if self.readout == "last" else None
        if summary is None:
            summary = read_out(self.readout, outputs, checked, self.recurrent.num_directions)
        logits: Tensor = self.head(summary)
        return logits.squeeze(-1) if self.target == "binary" else logits

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | CheckedLengths | None = None,
    ) -> Float[Tensor, "batch *outputs"]:
        """Logits: (B,) for binary, (B, num_outputs) else.

        Args:
            inputs: features (B, T, F) or tokens (B, T); padding may hold anything.
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.
        """
        checked = check_lengths(lengths, inputs)
        return self.classify(self.features(inputs, checked), checked)

    @torch.no_grad()
    def probabilities(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch *outputs"]:
        """Probabilities for new sequences, in evaluation mode and without gradients.

        Of label 1, (B,), for binary; of each label (B, L) for multilabel; of each class (B, C) for multiclass.

        Args:
            inputs: features (B, T, F) or tokens (B, T); they take on the model's device and precision.
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.
        """
        was_training = self.training
        self.eval()
        try:
            weight = self.head.weight
            inputs = inputs.to(weight.device, weight.dtype if inputs.is_floating_point() else None)
            return to_probabilities(self(inputs, lengths), self.target)
        finally:
            self.train(was_training)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of the batch, times its share of the step where several processes make one."""
        require_batch(batch)
        logits = self(batch.inputs, batch.lengths)
        loss = classification_loss(logits, batch.targets, self.target, class_weights=self.class_weights)
        self._steps.add(loss, logits, batch.targets)
        return weigh_by_share(loss, len(batch.lengths))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """As Lightning's; the loss is looked at before the next step."""
        super().backward(self._steps.watch(loss), *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Look at loss and gradients; where a subclass steps by itself, Lightning asks for no clipping."""
        if not self.automatic_optimization:
            self.configure_gradient_clipping(optimizer)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Take no step that is not finite; clip as the Trainer says, and keep the norm before it for the curves."""
        self._steps.before_step(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_start(self) -> None:
        """Begin the curves, and let the learning rate be that of this step of this run, resumed or not."""
        self._steps.begin(self.trainer)
        if not self._own_schedule and self.automatic_optimization:
            self._schedule.begin(self.trainer)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's totals."""
        self._steps.begin_epoch(self.trainer)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """A point of the training curves, when one is due."""
        self._steps.write_due_point(self)

    def on_train_epoch_end(self) -> None:
        """The epoch's means, for the progress bar, callbacks and the table at the end of a run."""
        metrics = self._steps.take_epoch(self.trainer)
        if metrics:  # else a subclass's training_step keeps its own
            self.log_dict(metrics, prog_bar=True, logger=False, sync_dist=True)
        check_metrics(self.trainer)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Update the metrics; gives probabilities and targets to callbacks."""
        require_batch(batch)
        return self.val_evaluation.add(self(batch.inputs, batch.lengths), batch.targets, self.class_weights)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Update the metrics; gives probabilities and targets to callbacks."""
        require_batch(batch)
        return self.test_evaluation.add(self(batch.inputs, batch.lengths), batch.targets, self.class_weights)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities, as `probabilities` gives them."""
        require_batch(batch)
        return to_probabilities(self(batch.inputs, batch.lengths), self.target)

    def on_validation_epoch_end(self) -> None:
        """Log `val/...`; training stops at a loss that is not finite."""
        log_evaluation(self, "val", self.val_evaluation.take())
        check_metrics(self.trainer, ("val/loss",))

    def on_test_epoch_end(self) -> None:
        """Log `test/...`."""
        log_evaluation(self, "test", self.test_evaluation.take())

    def configure_optimizers(self) -> Any:
        """Adam, with the learning rate falling to 0 along a cosine unless it is to stay constant."""
        return self._schedule.configure(self)

    @property
    def _schedule(self) -> Schedule:
        return Schedule(self.learning_rate, self.lr_schedule)

    @property
    def _own_schedule(self) -> bool:
        """Whether a subclass has an optimiser of its own."""
        return type(self).configure_optimizers is not SequenceClassifier.configure_optimizers

    def describe(self) -> dict[str, Any]:
        """What `seqlight.load` and the command line rebuild model and data from, as plain data.

        Raises:
            TypeError: if a hyperparameter of a subclass has no plain form.
        """
        return describe_with_data(self)

    def on_fit_start(self) -> None:
        """Find out before the first step whether a checkpoint can be written and where the cosine ends."""
        self.describe()
        check_settings(self.trainer)
        self._schedule.check(self.trainer)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, map_location: Any = "cpu") -> Any:  # type: ignore[override]
        """`seqlight.load`, for a model of this class.

        Raises:
            FileNotFoundError, CheckpointError: as `seqlight.load`.
            TypeError: if it is of another class.
        """
        model = load(checkpoint_path, map_location)
        if not isinstance(model, cls):
            raise TypeError(f"{checkpoint_path} holds a {type(model).__name__}, not a {cls.__name__}")
        return model

    @property
    def skipped_batches(self) -> int:
        """How many batches training has left out, with `non_finite="skip"`."""
        return self._steps.skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a rate, schedule or patience that is given anew win over the one in the checkpoint; keep the curves."""
        self._steps.load_state_dict(checkpoint["seqlight"].get("steps", {}))
        if self._trainer is not None and self.trainer.precision == "64-true":
            self.double()  # as the Trainer will: weights would be rounded when they are loaded before
        if not self._own_schedule:
            self._schedule.replace_in(checkpoint)
        if self._trainer is not None:
            keep_patience(self.trainer, checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description, and where the curves are; no weight that is not finite is saved."""
        check_weights(self)
        own = {"schedule": asdict(self._schedule), "steps": self._steps.state_dict(self.trainer)}
        checkpoint["seqlight"] = {**self.describe(), **own}
        checkpoint["hyper_parameters"] = checkpoint["seqlight"]["model"]["init_args"]


def load(path: str | os.PathLike[str], map_location: torch.device | str = "cpu") -> SequenceClassifier:
    """The trained model of a checkpoint, in evaluation mode.

    Nothing that the checkpoint names is imported: where a cell or classifier lives outside seqlight,
    import its module before.

    Args:
        path: a file that a Trainer, or `seqlight fit`, has saved.
        map_location: the device for the model.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is no checkpoint of a SequenceClassifier, or names a class of a
            module that has not been imported.
    """
    return load_model(path, SequenceClassifier, map_location)
