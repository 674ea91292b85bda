"""The base class of synthetic tasks."""

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from seqlight.common.batch import Batch
from seqlight.common.description import Describable
from seqlight.common.label_per import LabelPer

Target = Literal["binary", "multiclass", "multilabel", "regression"]
TARGETS: tuple[str, ...] = get_args(Target)


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Accuracies of simple models, which a network must exceed to have learnt the task.

    Attributes:
        majority: accuracy of the most frequent class.
        last_symbol: accuracy of a linear model (logistic regression) of the last time step; for tokens, that is the
            most frequent class after each token.
        bag_of_symbols: accuracy of a linear model of the length and the counts of all tokens; for features, of the
            length, and their sums and means over time.
    """

    majority: float
    last_symbol: float
    bag_of_symbols: float


@dataclass(frozen=True, kw_only=True)
class TaskExample:
    """A training that learns a task on one core in less than two minutes; everything else has its default.

    Attributes:
        task: arguments of the task, by name.
        data: arguments of `SyntheticSequences`, by name.
        cell: the name of the cell.
        max_epochs: the number of epochs.
    """

    task: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    cell: str = "LSTMCell"
    max_epochs: int = 10


class SequenceTask(Describable, ABC):
    """A distribution of labelled sequences.

    A subclass is a frozen dataclass whose fields are the task's arguments. (Any class works that stores
    each argument of its `__init__` as an attribute of the same name, so that a checkpoint can contain it.)

    Attributes:
        input_size: the number of features F of a time step, for float inputs; else None.
        vocab_size: the number of tokens, for token inputs; else None.
        target: "binary", "multiclass", "multilabel" or "regression".
        num_outputs: 1 for binary, else the number of classes, labels or numbers.
        label_per: "sequence" if a sequence has a label, "step" if each of its time steps has one.
        class_names: the names of the classes (two for binary) or labels; None if they are numbers.
        solved_by_bag: whether adding up the steps solves the task, so that no network can beat the bag of symbols.
        measured: pairs of arguments by name and the baselines measured with them; arguments not given have their
            defaults. `seqlight tasks` lists these.
        example: a training that learns the task, which `seqlight tasks` shows as a command; None if none is known.
    """

    described_by = "instance"

    input_size: int | None = None
    vocab_size: int | None = None
    target: Target = "binary"
    num_outputs: int = 1
    label_per: LabelPer = "sequence"
    class_names: tuple[str, ...] | None = None
    solved_by_bag: bool = False
    measured: tuple[tuple[dict[str, Any], Baselines], ...] = ()
    example: TaskExample | None = None

    @property
    def baselines(self) -> Baselines | None:
        """The measured accuracies of simple models; None if they were not measured with these arguments."""
        defaults = {name: given.default for name, given in inspect.signature(type(self)).parameters.items()}
        for arguments, known in self.measured:
            if all(getattr(self, name) == value for name, value in {**defaults, **arguments}.items()):
                return known
        return None

    @abstractmethod
    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Draw `num_samples` labelled sequences; all randomness comes from `rng`."""

    def with_lengths(self, min_length: int, max_length: int) -> "SequenceTask":
        """A copy of the task with other lengths.

        Raises:
            ValueError: if the task is not a dataclass with the fields `min_length` and `max_length`.
        """
        task: Any = self
        fields = {field.name for field in dataclasses.fields(task)} if dataclasses.is_dataclass(task) else set()
        if not {"min_length", "max_length"} <= fields:
            raise ValueError(
                f"the lengths of {type(self).__name__} can't be chosen: expected a dataclass with the fields "
                "min_length and max_length"
            )
        changed: SequenceTask = dataclasses.replace(task, min_length=min_length, max_length=max_length)
        return changed
