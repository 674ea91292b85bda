"""What a synthetic task must say about itself."""

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np

from seqlight.data.batch import Batch

Target = Literal["binary", "multiclass", "multilabel"]


class SequenceTask(ABC):
    """A distribution of labelled sequences.

    A subclass is a frozen dataclass whose fields are the task's arguments. (Any class does that keeps
    each argument of its `__init__` under the same name, so that a checkpoint can write it down.)

    Attributes:
        input_size: the number of features F of a time step, for float inputs; else None.
        vocab_size: the number of tokens, for token inputs; else None.
        target: "binary", "multiclass" or "multilabel".
        num_outputs: 1 for binary, else the number of classes or labels.
        class_names: of the two classes for binary, else of the classes or labels; None if they are numbers.
    """

    input_size: int | None = None
    vocab_size: int | None = None
    target: Target = "binary"
    num_outputs: int = 1
    class_names: tuple[str, ...] | None = None

    @abstractmethod
    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Draw `num_samples` labelled sequences; all randomness comes from `rng`."""
