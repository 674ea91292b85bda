"""Empty figures with their axes."""

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple["Figure", list[list[Any]]]:
    """A figure of this size in inches, and its axes by row.

    Args:
        width: in inches.
        height: in inches.
        rows: the number of rows of axes.
        columns: the number of columns of axes.
        options: further arguments of `Figure.subplots`.
    """
    # Not pyplot: it keeps figures in memory and may open a display. Imported here because it takes half a second.
    import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=80, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [list(row) for row in axes]


def import_matplotlib() -> None:
    """Import matplotlib, even if `MPLBACKEND` names a backend that does not exist: these figures need none.

    A valid `MPLBACKEND` is the backend of the user's own figures, as always.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
