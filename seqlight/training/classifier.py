"""The model that a Trainer trains."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from seqlight.cells.cell import RecurrentCell
from seqlight.cells.lstm import LSTMCell, with_forget_bias
from seqlight.cells.state import State
from seqlight.checkpoints.load import load_model
from seqlight.common.description import Describable, save_plain_hyperparameters
from seqlight.common.label_per import LabelPer
from seqlight.common.unused import warn_unused
from seqlight.common.validation import check_choice
from seqlight.recurrent.convolution import ConvolutionalBranch
from seqlight.recurrent.embedding import embed, new_embedding
from seqlight.recurrent.layer import Backend
from seqlight.recurrent.lengths import CheckedLengths, check_lengths
from seqlight.recurrent.readout import READOUTS, Readout, read_out, readout_size
from seqlight.recurrent.stack import Norm, RecurrentStack
from seqlight.tasks.task import Target
from seqlight.training.best_threshold import DEFAULT_THRESHOLD
from seqlight.training.calibration import Calibration, Threshold
from seqlight.training.evaluation import Evaluation
from seqlight.training.finite_check import OnNonFinite
from seqlight.training.metrics import check_class_weights, check_num_outputs
from seqlight.training.recovery import Recovery, loss_of_guessing
from seqlight.training.regression import REGRESSION_LOSSES, RegressionEvaluation, RegressionLoss, Units
from seqlight.training.schedule import ScheduleKind
from seqlight.training.steps import ClassifierSteps


class SequenceClassifier(ClassifierSteps, Describable):
    """A recurrent stack, a summary of its outputs, and a linear layer.

    Binary and multilabel targets are trained with binary cross-entropy of logits, multiclass targets with
    cross-entropy, numbers with the squared error, by Adam or another optimizer, with a learning rate that falls to 0
    along a cosine.

    Logged scalars: every `log_every_n_steps` steps, and at least once an epoch, `train/loss` and `train/accuracy`
    (means since the last point), `train/learning_rate` and `train/gradient_norm` (before clipping). After each split,
    loss, accuracy, AUROC and F1 as `val/...` and `test/...`, without those that are undefined: see `compute_metrics`.
    For regression, `train/mae` is in place of the accuracy, and MAE, RMSE and R2 are after each split.

    A subclass may override `features`, `classify`, `forward`, the four `..._step` methods and `configure_optimizers`,
    and may extend the hooks (`on_...`) if it calls the hook of this class.

    Args:
        cell: makes a cell from its input size: a cell's class, or `functools.partial(GRUCell, hidden_size=64)`. The
            forget bias of an LSTMCell is 1 at the start; with `partial(LSTMCell, forget_bias=None)` it is as in torch.
        input_size: the number of features F of a time step, for float inputs.
        vocab_size: the number of tokens, for token inputs; give this or `input_size`.
        target: "binary", "multiclass", "multilabel" or "regression".
        num_outputs: 1 for binary, else the number of classes, labels or numbers.
        label_per: "sequence" for one answer, from a summary of the outputs; "step" for one after each time step, from
            its output alone.
        embedding_size: the number of features of a token's embedding.
        num_layers: the number of recurrent layers.
        bidirectional: whether each layer also runs backwards.
        dropout: the probability of dropping outputs between layers.
        input_dropout: the probability of dropping a feature of a layer's inputs, at all steps of a sequence.
        recurrent_dropout: the probability of dropping a unit of the state that W_hh multiplies.
        zoneout: the probability that a unit keeps its state in a step.
        residual: whether each layer above the first adds its inputs to its outputs.
        norm: the norm of the inputs of each layer above the first: "layer", "rms" or None.
        readout: the summary of a sequence: "last", its final output in each direction; "mean" or "max" over time; or
            "last_mean_max", all three, so that the linear layer has 3 times as many weights.
        convolution: a second branch, joined to the readout: "fcn", see `ConvolutionalBranch`; or None.
        backend: the implementation of a layer; see `RecurrentLayer`.
        class_weights: factors of the loss: for multiclass (C,) and binary (2,), by the sequence's class; for multilabel
            (L,), for the terms of labels that are 1. The loss is not divided by their sum. None for 1.
        threshold: the probability above which a label is predicted, for binary and multilabel: a number, or the metric
            that it maximises on validation, for each label: "f1" or "balanced_accuracy"; see `best_thresholds`.
        temperature_scaling: whether probabilities are those of the logits divided by a temperature, which minimises
            their negative log-likelihood on validation; see `fit_temperature`. The loss stays that of the logits.
        regression_loss: "mse", the mean squared error, or "huber", which grows linearly for errors above 1; both of
            standardised numbers.
        target_mean, target_scale: for regression, the mean and the divisor by which targets were standardised, (L,);
            None for 0 and 1. Metrics and predictions are in the original units.
        optimizer: a class of `torch.optim`, or `functools.partial(torch.optim.AdamW, weight_decay=0.01)`; or a class of
            your own that is made from parameters and a learning rate. Its fused implementation is used if it has one.
            Only matrices and embeddings have weight decay, but no biases, parameters of norms or vectors of a cell.
        learning_rate: the optimizer's learning rate, after the warm-up.
        lr_schedule: "cosine" falls to 0 over the steps after the warm-up, "constant" stays.
        warmup_steps: the learning rate rises to its value in this number of steps, in equal parts.
        recover: whether training that diverges goes back to its best weights, with half the rate; see `Recovery`.
        non_finite: what to do if a loss or gradient is NaN or infinite: "stop" raises NonFiniteError before the
            optimizer's step; "skip" skips the step and counts its batches, as `train/skipped`.

    Warns:
        UnusedArgumentWarning: if an argument has no effect, as `dropout` with one layer.

    Raises:
        TypeError, ValueError: if an argument is out of its range, naming it.
    """

    described_by = "class"  # in the arguments of an ensemble

    def __init__(
        self,
        cell: Callable[[int], RecurrentCell] = LSTMCell,
        *,
        input_size: int | None = None,
        vocab_size: int | None = None,
        target: Target = "binary",
        num_outputs: int = 1,
        label_per: LabelPer = "sequence",
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
        convolution: Literal["fcn"] | None = None,
        backend: Backend = "auto",
        class_weights: Sequence[float] | None = None,
        threshold: Threshold = DEFAULT_THRESHOLD,
        temperature_scaling: bool = False,
        optimizer: Callable[[Iterable[Any], float], Optimizer] = torch.optim.Adam,
        regression_loss: RegressionLoss = "mse",
        target_mean: Sequence[float] | None = None,
        target_scale: Sequence[float] | None = None,
        learning_rate: float = 0.01,
        lr_schedule: ScheduleKind = "cosine",
        warmup_steps: int = 0,
        recover: bool = False,
        non_finite: OnNonFinite = "stop",
    ) -> None:
        check_num_outputs(num_outputs, target)
        recovery = Recovery(loss_of_guessing(target, num_outputs), is_on=recover)
        units = Units.of(target_mean, target_scale, num_outputs) if target == "regression" else None
        super().__init__(target, learning_rate, lr_schedule, warmup_steps, optimizer, non_finite, recovery, units)
        if (input_size is None) == (vocab_size is None):
            raise ValueError(f"give exactly one of input_size and vocab_size, got {input_size} and {vocab_size}")
        if vocab_size is None and embedding_size != 16:
            warn_unused("embedding_size", embedding_size, "without tokens")
        check_choice("readout", readout, READOUTS)
        if convolution is not None:
            check_choice("convolution", convolution, ("fcn",))
        check_choice("label_per", label_per, ("sequence", "step"))
        if label_per == "step" and readout != "last":
            warn_unused("readout", readout, 'with `label_per="step"`: each step is classified by its own output')
        if label_per == "step" and convolution is not None:
            raise ValueError(
                f'convolution must be None with `label_per="step"`: it summarises a sequence; got {convolution!r}'
            )
        cell = with_forget_bias(cell)
        save_plain_hyperparameters(self)
        self.target: Target = target
        self.class_weights: Tensor | None
        if units is not None and class_weights is not None:
            raise ValueError("class_weights must be None for regression, which has no classes")
        weights = None if class_weights is None else check_class_weights(class_weights, target, num_outputs)
        self.register_buffer("class_weights", weights, persistent=False)
        self.label_per: LabelPer = label_per
        self.readout: Readout = readout
        self.embedding = None if vocab_size is None else new_embedding(vocab_size, embedding_size)
        num_features = embedding_size if input_size is None else input_size
        self.recurrent = RecurrentStack(
            cell,
            num_features,
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
        self.convolution = None if convolution is None else ConvolutionalBranch(num_features)
        size = readout_size("last" if label_per == "step" else readout, self.recurrent.output_size)
        self.head = nn.Linear(size + (0 if self.convolution is None else self.convolution.output_size), num_outputs)
        self.calibration = Calibration(target, num_outputs, threshold, temperature_scaling)
        check_choice("regression_loss", regression_loss, REGRESSION_LOSSES)
        if units is None and regression_loss != "mse":
            warn_unused("regression_loss", regression_loss, 'without `target="regression"`')
        if units is not None and temperature_scaling:
            raise ValueError("temperature_scaling must be False for regression, which has no probabilities")
        self.units, self.regression_loss = units, regression_loss
        self.val_evaluation, self.test_evaluation = (
            Evaluation(target, num_outputs, self.calibration)
            if units is None
            else RegressionEvaluation(units, regression_loss)
            for _ in range(2)
        )

    def features(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time features"]:
        """Inputs of the recurrent stack (B, T, F): the features, or the embedded tokens. Padding may hold anything."""
        return self._features(inputs, check_lengths(lengths, inputs))

    def classify(
        self, features: Float[Tensor, "batch time features"], lengths: Int64[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *outputs"]:
        """Logits of features (B, T, F), in the shape that `forward` returns."""
        return self._classify(features, check_lengths(lengths, features))

    def _features(self, inputs: Tensor, checked: CheckedLengths | None) -> Tensor:
        return inputs if self.embedding is None else embed(self.embedding, inputs, checked)

    def _classify(self, features: Tensor, checked: CheckedLengths | None) -> Tensor:
        outputs, final = self.recurrent(features, checked)
        summary = outputs if self.label_per == "step" else self._summary(features, checked, outputs, final)
        logits: Tensor = self.head(summary)
        return logits.squeeze(-1) if self.target == "binary" else logits

    def _summary(
        self, features: Tensor, checked: CheckedLengths | None, outputs: Tensor, final: Sequence[State]
    ) -> Tensor:
        """One vector per sequence, from the outputs and the final states of the recurrent stack."""
        # The last outputs are in the final states: indexing `outputs` takes a tenth of a small model's backward pass.
        last = self.recurrent.last_outputs(final) if self.readout.startswith("last") else None
        summary = read_out(self.readout, outputs, checked, self.recurrent.num_directions, last=last)
        if self.convolution is not None:
            summary = torch.cat((summary, self.convolution(features, checked)), -1)
        return summary

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch *outputs"]:
        """Logits: (B,) for binary, else (B, num_outputs); if each step has a label, (B, T) or (B, T, num_outputs).

        Args:
            inputs: features (B, T, F) or tokens (B, T); padding may hold anything.
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.
        """
        checked = check_lengths(lengths, inputs)
        if self._overrides("features") or self._overrides("classify"):
            lengths = None if checked is None else checked.values
            return self.classify(self.features(inputs, lengths), lengths)
        return self._classify(self._features(inputs, checked), checked)

    def _overrides(self, name: str) -> bool:
        """Whether a subclass, or the object itself, has another method of this name."""
        return getattr(getattr(self, name), "__func__", None) is not getattr(SequenceClassifier, name)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, map_location: Any = "cpu") -> Any:  # type: ignore[override]
        """`seqlight.load`, for a model of this class.

        Raises:
            FileNotFoundError, CheckpointError: as `seqlight.load`.
            TypeError: if the model is of another class.
        """
        model = load(checkpoint_path, map_location)
        if not isinstance(model, cls):
            raise TypeError(f"{checkpoint_path} holds a {type(model).__name__}, not a {cls.__name__}")
        return model


def load(path: str | os.PathLike[str], map_location: torch.device | str = "cpu") -> SequenceClassifier:
    """The trained model of a checkpoint, in evaluation mode.

    Nothing that the checkpoint names is imported. If a cell or classifier lives outside seqlight, import its module
    first.

    Args:
        path: a file that a Trainer or `seqlight fit` saved.
        map_location: the device for the model.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is not a checkpoint of a SequenceClassifier, names a class of a module that has
            not been imported, or holds weights that are not finite.
    """
    return load_model(path, SequenceClassifier, map_location)
