"""Whether there is a label for each sequence or for each time step."""

from typing import Literal

LabelPer = Literal["sequence", "step"]
