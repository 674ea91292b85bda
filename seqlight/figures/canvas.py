"""Empty figures with their axes and titles, and their pictures."""

import contextlib
import io
import os
import sys
import textwrap
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from seqlight.common.text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLE_SIZE, _CAPTION_SIZE = 9, 8  # points
_LINE = 1.25 / 72  # inches between two lines, for each point of size


class Margins(NamedTuple):
    """The space around and between axes, in inches, besides that for title and caption."""

    left: float = 0.75
    right: float = 0.2
    bottom: float = 0.55
    top: float = 0.15
    between: float = 0.0


def new_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    *,
    margins: Margins | None = None,
    title: str = "",
    caption: str = "",
    **options: Any,
) -> tuple["Figure", list[list[Any]]]:
    """A figure, and its axes by row.

    Args:
        width: in inches.
        height: in inches; lines of title and caption are added to it.
        rows: the number of rows of axes.
        columns: the number of columns of axes.
        margins: the space around the axes. If None, matplotlib finds it each time the figure is drawn, which takes
            longer than to draw; then there is neither title nor caption.
        title: the lines above the axes; long ones are broken.
        caption: the same below the axes.
        options: further arguments of `Figure.subplots`.
    """
    # Not pyplot: it keeps figures in memory and may open a display. Imported here because it takes half a second.
    import_matplotlib()
    from matplotlib.figure import Figure

    if margins is None:
        figure = Figure(figsize=(width, height), dpi=80, layout="constrained")
    else:
        room = 0.96 * width - 0.2  # letters are up to 4 % wider where they are moved to whole pixels
        above, below = wrap(title, room, _TITLE_SIZE), wrap(caption, room, _CAPTION_SIZE)
        left, right, bottom, top, between = margins
        top += _TITLE_SIZE * _LINE * len(above)
        bottom += _CAPTION_SIZE * _LINE * len(below)
        height += top - margins.top + bottom - margins.bottom
        figure = Figure(figsize=(width, height), dpi=80)
        figure.subplots_adjust(
            left=left / width,
            right=1 - right / width,
            bottom=bottom / height,
            top=1 - top / height,
            # matplotlib's unit is the size of an axis.
            wspace=between * columns / (width - left - right - between * (columns - 1)),
            hspace=between * rows / (height - bottom - top - between * (rows - 1)),
        )
        place: dict[str, Any] = {"ha": "left", "parse_math": False, "linespacing": 1.25}
        x = 0.1 / width
        if above:
            figure.suptitle("\n".join(above), x=x, y=1 - 0.08 / height, va="top", fontsize=_TITLE_SIZE, **place)
        if below:
            figure.text(x, 0.06 / height, "\n".join(below), va="bottom", fontsize=_CAPTION_SIZE, color="0.3", **place)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_fontsize(9)
        axis.yaxis.label.set_fontsize(9)
    return figure, [list(row) for row in axes]


def integer_ticks(axis: Any) -> None:
    """Place the ticks of an x or y axis at integers only."""
    # matplotlib's option `integer` allows fractions where less than `min_n_ticks` integers are in view, and needs steps
    # that are integers.
    axis.get_major_locator().set_params(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])


def text_width(text: str, size: float) -> float:
    """The width of a line of text in inches, at a font size in points."""
    import_matplotlib()
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with _any_script():
        width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) / 72


@contextlib.contextmanager
def _any_script() -> Iterator[None]:
    """Ignore characters that the font lacks: names can be in any script. They are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def short_name(name: str) -> str:
    """Shorten a class name so that it fits on an axis."""
    name = one_line(" ".join(name.split()))
    # Keep the end too: long names often begin with the same words.
    return name if len(name) <= 16 else f"{name[:9]}\N{HORIZONTAL ELLIPSIS}{name[-6:]}"


def wrap(text: str, width: float, size: float) -> list[str]:
    """The lines of a text, broken so that each is at most `width` inches wide at this font size."""
    lines = []
    for line in text.splitlines():
        most = min(len(line), int(len(line) * width / max(text_width(line, size), 0.01)) + 2) if line else 1
        while most > 1 and any(text_width(part, size) > width for part in textwrap.wrap(line, most)):
            most -= 1 + most // 20
        lines += textwrap.wrap(line, most)
    return lines


def to_file(figure: "Figure", suffix: str) -> bytes:
    """The figure as a file that ends in `suffix`: png, svg or pdf."""
    if suffix == "png":
        return to_png(figure)
    with _any_script():
        figure.savefig(file := io.BytesIO(), format=suffix)
    return file.getvalue()


def to_png(figure: "Figure", scale: float = 2) -> bytes:
    """The figure as a PNG file. By default with twice its pixels, so that it is sharp on a screen of high density."""
    # Level 1 takes a third of the time of the default, and makes files a quarter larger.
    with _any_script():
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
