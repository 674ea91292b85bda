"""Empty figures with their axes."""

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Margins(NamedTuple):
    """The space around and between axes, in inches."""

    left: float = 0.7
    right: float = 0.2
    bottom: float = 0.55
    top: float = 0.3
    between: float = 0.0


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, *, margins: Margins | None = None, **options: Any
) -> tuple["Figure", list[list[Any]]]:
    """A figure of this size in inches, and its axes by row.

    Args:
        width: in inches.
        height: in inches.
        rows: the number of rows of axes.
        columns: the number of columns of axes.
        margins: the space around the axes. If None, matplotlib finds it each time the figure is drawn, which takes
            longer than to draw.
        options: further arguments of `Figure.subplots`.
    """
    # Not pyplot: it keeps figures in memory and may open a display. Imported here because it takes half a second.
    import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=80, layout=None if margins else "constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    if margins:
        left, right, bottom, top, between = margins
        figure.subplots_adjust(
            left=left / width,
            right=1 - right / width,
            bottom=bottom / height,
            top=1 - top / height,
            # matplotlib's unit is the size of an axis.
            wspace=between * columns / (width - left - right - between * (columns - 1)),
            hspace=between * rows / (height - bottom - top - between * (rows - 1)),
        )
    return figure, [list(row) for row in axes]


def to_png(figure: "Figure", scale: float = 2) -> bytes:
    """The figure as a PNG file. By default with twice its pixels, so that it is sharp on a screen of high density."""
    # Level 1 takes a third of the time of the default, and makes files a quarter larger.
    figure.savefig(file := io.BytesIO(), format="png", dpi=scale * figure.dpi, pil_kwargs={"compress_level": 1})
    return file.getvalue()


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
