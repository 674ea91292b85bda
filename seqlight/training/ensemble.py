"""Several trained classifiers whose probabilities are averaged."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from seqlight.checkpoints.contents import read
from seqlight.checkpoints.files import SealedCheckpointIO
from seqlight.common.batch import Batch
from seqlight.common.description import class_path, describe, from_plain, save_plain_hyperparameters
from seqlight.common.errors import CheckpointError
from seqlight.common.label_per import LabelPer
from seqlight.common.validation import check_at_least
from seqlight.recurrent.readout import Readout
from seqlight.recurrent.stack import RecurrentStack
from seqlight.tasks.task import Target
from seqlight.training.best_threshold import DEFAULT_THRESHOLD
from seqlight.training.calibration import Calibration, Threshold
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.evaluation import Evaluation
from seqlight.training.metrics import check_class_weights
from seqlight.training.recovery import Recovery
from seqlight.training.regression import RegressionEvaluation, Units
from seqlight.training.steps import ClassifierSteps

_SHARED = ("input_size", "vocab_size", "target", "num_outputs", "label_per")  # arguments that follow from the data
_OF_MEMBER = ("class_weights", "threshold", "temperature_scaling", "target_mean", "target_scale")


class SequenceEnsemble(SequenceClassifier):
    """Several trained classifiers of the same kind whose probabilities are averaged.

    It is used like one classifier: its logits are those of the mean probabilities. `SequenceEnsemble.of(models)` joins
    trained models; a Trainer evaluates an ensemble, but trains its members one by one, before they are joined.

    Figures of a cell show that of the first member.

    Args:
        member: makes a member, without arguments: `functools.partial(SequenceClassifier, input_size=3)`.
        size: the number of members K.
        input_size: the number of features F of a time step, as that of the members.
        vocab_size: the number of tokens, likewise.
        target: "binary", "multiclass" or "multilabel", likewise.
        num_outputs: 1 for binary, else the number of classes or labels, likewise.
        label_per: "sequence" or "step", likewise.
        class_weights: factors of the loss, as for `SequenceClassifier`.
        threshold: as for `SequenceClassifier`, but for the mean probabilities.
        temperature_scaling: likewise; the temperatures of the members do not count.
        target_mean, target_scale: as for `SequenceClassifier`. The numbers of a regression are averaged.

    Attributes:
        members: the K classifiers.
        member_evaluations: loss and metrics of each member alone, in a validation or test.

    Raises:
        TypeError, ValueError: if an argument is out of its range, or differs from that of the members.
    """

    named_by_flags = False  # the command line makes it of trained members

    def __init__(
        self,
        member: Callable[[], SequenceClassifier],
        size: int,
        *,
        input_size: int | None = None,
        vocab_size: int | None = None,
        target: Target = "binary",
        num_outputs: int = 1,
        label_per: LabelPer = "sequence",
        class_weights: Sequence[float] | None = None,
        threshold: Threshold = DEFAULT_THRESHOLD,
        temperature_scaling: bool = False,
        target_mean: Sequence[float] | None = None,
        target_scale: Sequence[float] | None = None,
    ) -> None:
        check_at_least("size", size, 1)
        members = [member() for _ in range(size)]
        first = members[0]
        if not isinstance(first, SequenceClassifier) or isinstance(first, SequenceEnsemble):
            raise TypeError(f"member: expected what makes a SequenceClassifier, got a {type(first).__name__}")
        # Not that of SequenceClassifier, which would build a recurrent stack.
        recovery = Recovery(0.0, is_on=False)
        ClassifierSteps.__init__(self, target, first.learning_rate, "constant", 0, torch.optim.Adam, "stop", recovery)
        save_plain_hyperparameters(self)
        for name in _SHARED:
            value = self.hparams[name]
            if (own := first.hparams.get(name, value)) != value:
                raise ValueError(f"{name} must be that of the members, {own!r}, got {value!r}")
        self.target: Target = target
        self.label_per: LabelPer = label_per
        weights = None if class_weights is None else check_class_weights(class_weights, target, num_outputs)
        self.register_buffer("class_weights", weights, persistent=False)
        self.members = nn.ModuleList(members)
        self.calibration = Calibration(target, num_outputs, threshold, temperature_scaling)
        self.units = Units.of(target_mean, target_scale, num_outputs) if target == "regression" else None
        self.regression_loss = first.regression_loss

        def evaluation(calibration: Calibration) -> Evaluation | RegressionEvaluation:
            if self.units is not None:
                return RegressionEvaluation(self.units, self.regression_loss)
            return Evaluation(target, num_outputs, calibration)

        self.val_evaluation, self.test_evaluation = evaluation(self.calibration), evaluation(self.calibration)
        self.member_evaluations = nn.ModuleList(evaluation(each.calibration) for each in members)

    @classmethod
    def of(cls, models: Sequence[SequenceClassifier]) -> "SequenceEnsemble":
        """The ensemble of trained classifiers, in evaluation mode; it has copies of their weights.

        Raises:
            ValueError: if there is none, or they were made with different arguments.
        """
        descriptions = [describe(model) for model in models]
        if not descriptions or any(_kind(each) != _kind(descriptions[0]) for each in descriptions):
            raise ValueError("models: expected classifiers of one class that were made with the same arguments")
        ensemble = cls(**from_plain(_arguments(descriptions[0], len(models))))
        for member, model in zip(ensemble.members, models, strict=True):
            member.load_state_dict(model.state_dict())
        return ensemble.eval()

    @property
    def recurrent(self) -> RecurrentStack:  # type: ignore[override]
        """The recurrent stack of the first member, for figures and the number of threads."""
        return self._first.recurrent

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        """The linear layer of the first member."""
        return self._first.head

    @property
    def readout(self) -> Readout:  # type: ignore[override]
        """The readout of the members."""
        return self._first.readout

    @property
    def _first(self) -> SequenceClassifier:
        first: Any = self.members[0]
        return first  # type: ignore[no-any-return]

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch *outputs"]:
        """Logits of the mean probabilities: (B,) for binary, else (B, num_outputs).

        Args:
            inputs: features (B, T, F) or tokens (B, T); padding may hold anything.
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.
        """
        return average_logits([member(inputs, lengths) for member in self.members], self.target)

    def features(
        self,
        inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
        lengths: Int64[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time all_features"]:
        """Inputs of the members' recurrent stacks (B, T, K * F), one beside the other."""
        members: Any = self.members
        return torch.cat([member.features(inputs, lengths) for member in members], -1)

    def classify(
        self, features: Float[Tensor, "batch time all_features"], lengths: Int64[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *outputs"]:
        """Logits of features (B, T, K * F), in the shape that `forward` returns."""
        members: Any = self.members
        parts = zip(members, features.chunk(len(members), -1), strict=True)
        return average_logits([member.classify(part, lengths) for member, part in parts], self.target)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Update the metrics of the ensemble and of each member; returns probabilities and targets for callbacks."""
        return self._evaluate(batch, self.val_evaluation)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Update the metrics of the ensemble and of each member; returns probabilities and targets for callbacks."""
        return self._evaluate(batch, self.test_evaluation)

    def _evaluate(self, batch: Batch, evaluation: Evaluation | RegressionEvaluation) -> dict[str, Tensor]:
        members: Any = self.members
        answers: list[tuple[Tensor, Tensor]] = [member._answers(batch) for member in members]
        for (logits, targets), own in zip(answers, self._evaluations, strict=True):
            own.add(logits, targets, self.class_weights)
        mean = average_logits([logits for logits, _ in answers], self.target)
        return evaluation.add(mean, answers[0][1], self.class_weights)

    def on_validation_epoch_start(self) -> None:
        """Begin the metrics."""
        super().on_validation_epoch_start()
        self._begin_members()

    def on_test_epoch_start(self) -> None:
        """Begin the metrics."""
        super().on_test_epoch_start()
        self._begin_members()

    def _begin_members(self) -> None:
        for evaluation in self._evaluations:
            evaluation.begin()

    def take_members(self) -> list[dict[str, float]]:
        """Loss and metrics of each member alone, after a validation or test, by name; they can be taken once."""
        results = [evaluation.take() for evaluation in self._evaluations]
        return [{name: float(value) for name, value in each.items() if value is not None} for each in results]

    @property
    def _evaluations(self) -> list[Evaluation]:
        evaluations: Any = self.member_evaluations
        return [*evaluations]

    def setup(self, stage: str) -> None:
        """Refuse to train. Raises MisconfigurationException."""
        if stage == "fit":
            raise MisconfigurationException(
                "the members of an ensemble are trained one by one: train them, and join them by "
                "`SequenceEnsemble.of(models)`"
            )
        super().setup(stage)


def average_logits(
    logits: Sequence[Float[Tensor, "batch *outputs"]], target: Target
) -> Float[Tensor, "batch *outputs"]:
    """The logits of the mean of the probabilities that the given logits have, without computing these.

    Args:
        logits: those of each member, (B,) for binary, else (B, outputs).
        target: "binary", "multiclass" or "multilabel"; for "regression" they are numbers, and their mean is returned.
    """
    stacked = torch.stack([each.float() if each.itemsize < 4 else each for each in logits])
    if target == "regression":
        return stacked.mean(0)
    if target == "multiclass":
        return stacked.log_softmax(-1).logsumexp(0) - math.log(len(logits))
    return logsigmoid(stacked).logsumexp(0) - logsigmoid(-stacked).logsumexp(0)


def join_checkpoints(
    paths: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    calibration: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the checkpoint of an ensemble, for evaluation and predictions, from those of its members.

    Everything but weights and the model's description is that of the first member.

    Args:
        paths: the members' checkpoints.
        path: the file to write.
        calibration: the state of the ensemble's calibration, if it has been learned.

    Raises:
        CheckpointError: if a checkpoint can't be read, or the members are of different kinds.
        WriteError: if the file can't be written.
    """
    members = [read(each) for each in paths]
    first, of_member = members[0], members[0]["seqlight"]["model"]
    for each, contents in zip(paths, members, strict=True):
        if _kind(contents["seqlight"]["model"]) != _kind(of_member):
            raise CheckpointError(f"{each} and {paths[0]} hold different models, which can't be joined")
    model = {"class_path": class_path(SequenceEnsemble), "init_args": _arguments(of_member, len(paths))}
    left_out = ("optimizer_states", "lr_schedulers", "callbacks", "state_dict", "hyper_parameters")
    kept = ("version", "data", "streams")
    joined = {
        **{name: value for name, value in first.items() if name not in left_out},
        "callbacks": {},
        "state_dict": {
            f"members.{number}.{name}": value
            for number, contents in enumerate(members)
            for name, value in contents["state_dict"].items()
        }
        | {f"calibration.{name}": value for name, value in (calibration or {}).items()},
        "hyper_parameters": model["init_args"],
        "seqlight": {**{name: first["seqlight"][name] for name in kept if name in first["seqlight"]}, "model": model},
    }
    SealedCheckpointIO().save_checkpoint(joined, path)


def _kind(member: dict[str, Any]) -> dict[str, Any]:
    """The description of a member without arguments about its training, which can differ: a callback can find them."""
    training = ("learning_rate", "lr_schedule", "warmup_steps", "optimizer", "non_finite", "recover")
    arguments = {name: value for name, value in member["init_args"].items() if name not in training}
    return {**member, "init_args": arguments}


def _arguments(member: dict[str, Any], size: int) -> dict[str, Any]:
    """The arguments of an ensemble, as plain data, from the description of a member."""
    of_member = {name: value for name, value in member["init_args"].items() if name in (*_SHARED, *_OF_MEMBER)}
    return {"member": member, "size": size, **of_member}
