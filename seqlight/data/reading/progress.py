"""The progress bar of reading."""

from pathlib import Path

from tqdm import tqdm

from seqlight.common.text import one_line

_DELAY = 2.0  # seconds


def progress(path: Path, total: int, unit: str = "B") -> "tqdm[None]":
    """A progress bar. It appears on a terminal only, after 2 s."""
    return tqdm(
        total=total,
        desc=f"reading {one_line(path.name)}",
        unit=unit,
        unit_scale=True,
        delay=_DELAY,
        disable=None,
        leave=False,
    )
