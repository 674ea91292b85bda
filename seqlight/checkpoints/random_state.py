"""The state of the random number generators of a run."""

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The state of Python's, numpy's and torch's generators, as plain data."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    version, values, gauss = random.getstate()
    return {
        "python": (
            version,
            torch.tensor(values),
            gauss,
        ),  # a list of 625 numbers takes a millisecond to read
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore a state from `random_state`.

    Raises:
        LookupError, TypeError, ValueError: if the state has another form.
    """
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values.tolist()), gauss))
    kind, keys, position, *others = state["numpy"]
    if keys.shape != (624,) or not 0 <= position <= 624:
        raise ValueError(f"expected 624 keys and a position from 0 to 624, got {tuple(keys.shape)} and {position}")
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, *others))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
