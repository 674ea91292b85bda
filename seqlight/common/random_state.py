"""The state of all random number generators that a run can draw from."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The state of Python's, numpy's and torch's generators, as plain data."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    version, values, gauss = random.getstate()
    return {
        "python": (version, torch.tensor(values), gauss),  # a tensor: 625 numbers take a millisecond to read
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore a state that `random_state` returned.

    Raises:
        LookupError, TypeError, ValueError: if it is not such a state.
    """
    version, values, gauss = state["python"]
    if not isinstance(gauss, float | None):  # Python takes anything
        raise TypeError(f"the state 'python' of the random numbers ends with {gauss!r:.100}, expected None or a number")
    random.setstate((version, tuple(values.tolist()), gauss))
    kind, keys, position, *others = state["numpy"]
    if keys.shape != (624,) or not 0 <= position <= 624:
        raise ValueError(
            f"numpy's state must have 624 keys and a position among them, got {tuple(keys.shape)} and {position}"
        )
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, *others))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
    mps = state.get("mps")  # an earlier version did not save it
    if mps is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(mps.cpu())


@contextlib.contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Restore the state of torch's generators on the CPU and on a device at the end."""
    if device.type in ("cpu", "cuda"):
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
        return
    generators = torch.get_device_module(device)
    state = generators.get_rng_state()
    try:
        with torch.random.fork_rng([]):
            yield
    finally:
        generators.set_rng_state(state)
