"""Options for reading a file of any format."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from seqlight.common.label_per import LabelPer
from seqlight.data.reading.inputs import Inputs
from seqlight.data.reading.names import to_label, to_number

Missing = Literal["refuse", "mask"]
Empty = Literal["refuse", "skip"]
Layout = Literal["long", "wide", "channels_first"]


@dataclass(frozen=True)
class Options:
    """How a file is read, whatever its format.

    Attributes:
        inputs: "features" expects numbers, "tokens" text or integers.
        labelled: whether each sequence must have a label.
        empty: "skip" leaves out sequences without time steps, "refuse" counts them and raises a DataError.
        layout: "long" has a row of a table per time step and arrays (N, T, F); "wide" a row of a table per sequence;
            "channels_first" arrays (N, F, T). Formats to which it does not apply are read as always.
        labels_file: the table with the labels of a folder's files; None takes `labels.csv` in the folder.
        group: the key of .jsonl, or the array of .npz, with the group of each sequence; None if there is none.
        label_per: "sequence" for one label per sequence, "step" for one per time step.
        numbers: whether labels are numbers to predict, which are kept as text.
        label_vectors: whether lists of labels are vectors of 0 and 1, as in `RawSequences`; None decides by the lists.
        missing: "mask" reads missing values of features as NaN, "refuse" raises a DataError.
        elapsed: whether to return the times of steps.
        in_memory: whether time steps are in memory, or in a temporary file.
    """

    inputs: Inputs = "auto"
    labelled: bool = True
    empty: Empty = "refuse"
    layout: Layout = "long"
    label_vectors: int | None = None
    labels_file: str | None = None
    missing: Missing = "refuse"
    group: str | None = None
    elapsed: bool = False
    label_per: LabelPer = "sequence"
    in_memory: bool = True
    numbers: bool = False

    @property
    def read_label(self) -> Callable[[object, bool, Callable[[str, object], Exception]], str | None]:
        """The function that makes a label from a value."""
        return to_number if self.numbers else to_label
