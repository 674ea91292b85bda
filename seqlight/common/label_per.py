"""What a label belongs to."""

from typing import Literal

LabelPer = Literal["sequence", "step"]
