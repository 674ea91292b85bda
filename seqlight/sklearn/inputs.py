"""The forms of X."""

from typing import Any

import numpy as np
import torch

from seqlight.data.reading.columns import id_of
from seqlight.data.reading.raw import DataError


def check_rows(X: Any) -> None:  # noqa: N803
    """Raise DataError for a frame with several rows for a sequence."""
    names = [str(name) for name in getattr(X, "columns", ())]
    if (column := id_of(names)) and len(set(np.asarray(X[column]).tolist())) < len(X):
        raise DataError(
            f"X: expected a frame with a row for each sequence, got several rows with the same {column!r}.",
            "For a row per time step, make arrays: "
            f"`[rows[names].to_numpy() for _, rows in X.groupby({column!r}, sort=False)]`",
        )


def is_table(X: Any) -> bool:  # noqa: N803
    """Whether scikit-learn can check X: a 2-D array of numbers, or what is no list of sequences."""
    if isinstance(X, list | tuple):
        sizes = {len(each) if np.ndim(each) == 1 else -1 for each in X if hasattr(each, "__len__")}
        if len(sizes) != 1 or sizes == {-1} or isinstance(X[0], str):
            return False
        return not is_text(X[0])
    if isinstance(X, np.ndarray) and X.ndim > 0 and len(X):
        return X.ndim < 3 and X.dtype.kind not in "US" and not (X.dtype.kind == "O" and _is_list_of(X))
    return True


def _is_list_of(array: np.ndarray) -> bool:
    """Whether an array of Python objects holds sequences or text."""
    return isinstance(array.flat[0], list | tuple | np.ndarray | str | torch.Tensor)


def is_text(sequence: Any) -> bool:
    """Whether a sequence holds tokens as text."""
    return np.ndim(sequence) == 1 and len(sequence) > 0 and isinstance(sequence[0], str)
