"""Predictions as a file."""

import csv
import os
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from seqlight.data.task import Target


def write_predictions(path: Path, probabilities: Float[Tensor, "batch *outputs"], target: Target) -> None:
    """One row a sequence as CSV: its index, the probabilities, the predicted class or labels.

    The file is written whole or not at all: under another name first, then renamed.

    Args:
        path: the file; its folder is made where it is missing.
        probabilities: (B,) for binary, (B, L) for multilabel, (B, C) for multiclass.
        target: "binary", "multiclass" or "multilabel".

    Raises:
        OSError: if the file can't be written.
    """
    table = probabilities.cpu()
    if target == "binary":
        header = ["index", "probability", "prediction"]
        rows = [(f"{p:.6f}", int(p > 0.5)) for p in table.tolist()]
    else:
        names = [f"probability_{column}" for column in range(table.shape[1])]
        if target == "multiclass":
            header = ["index", *names, "prediction"]
            predictions = [[label] for label in table.argmax(-1).tolist()]
        else:
            header = ["index", *names, *(f"prediction_{column}" for column in range(table.shape[1]))]
            predictions = (table > 0.5).int().tolist()
        rows = [(*(f"{p:.6f}" for p in row), *labels) for row, labels in zip(table.tolist(), predictions, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows((index, *row) for index, row in enumerate(rows))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
