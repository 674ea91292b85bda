"""How far reading is."""

from pathlib import Path

from tqdm import tqdm

_DELAY = 2.0  # seconds


def progress(path: Path, total: int, unit: str = "B") -> "tqdm[None]":
    """A bar, shown on a terminal only, and only when reading takes more than 2 s."""
    return tqdm(
        total=total, desc=f"reading {path.name}", unit=unit, unit_scale=True, delay=_DELAY, disable=None, leave=False
    )
