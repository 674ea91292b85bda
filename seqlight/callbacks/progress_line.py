"""One line of progress: epoch, bar, time and metrics."""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from seqlight.common.text import one_line

_SHORTEST_BAR = 4
# What stands between the name of the epoch and the metrics, by falling width.
_LAYOUTS = (
    "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}] ",
    "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}] ",
    "{percentage:3.0f}%|{bar}| {remaining} ",
    "{percentage:3.0f}%|{bar}| ",
    "{percentage:3.0f}% ",
    "",
)


class ProgressLine(Tqdm):
    """A line on a terminal, drawn ten times a second. It leaves out what there is no room for.

    Attributes:
        metrics: texts, the most important first.
        num_kept: the number of those that take precedence over the bar.
        is_drawn: whether the line is on the terminal.
    """

    metrics: Sequence[str] = ()
    num_kept = 0
    is_drawn = False
    interval = 0.1
    _has_begun = False  # tqdm draws a line as soon as it exists

    def __init__(self, **options: Any) -> None:
        super().__init__(ncols=80, nrows=24, smoothing=0, **options)  # `format_dict` finds the width

    _last_drawn: ClassVar[float] = 0.0  # of all lines: validation takes the place of training

    @property
    def is_due(self) -> bool:
        """Whether it is time to draw."""
        return self._has_begun and time.monotonic() - ProgressLine._last_drawn >= self.interval

    def begin(self, description: str, total: float, done: int = 0) -> None:
        """Begin to count to a total, which can be infinite; a part can be done already."""
        self.set_description_str(description, refresh=False)
        self.total, self.initial = None if math.isinf(total) else total, done
        self.reset()
        self.n = done
        self._has_begun = not self.disable
        self.refresh()

    def show_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Show these metrics when the line is drawn next."""
        self.metrics, self.num_kept = metric_texts(metrics)

    def refresh(self, *args: Any, **kwargs: Any) -> None:
        """Draw, if it is time."""
        if self.is_due:
            self.draw()

    def draw(self) -> None:
        """Draw now."""
        if not self.disable:
            ProgressLine._last_drawn = time.monotonic()
            self.is_drawn = True
            super().refresh()

    @property
    def format_dict(self) -> Mapping[str, Any]:
        """The values of the line, and the layout that fits the terminal."""
        # tqdm's own `dynamic_ncols` fails on a terminal that does not know its size.
        self.ncols = shutil.get_terminal_size().columns - 1  # some terminals begin a new line after the last column
        values = dict(super().format_dict)
        description = str(values["prefix"] or "")
        for prefix, number, layout in self._choices(description):
            values.update(prefix=prefix, metrics=", ".join(self.metrics[:number]))
            values["bar_format"] = f"{{desc}} {layout.replace('{bar}', '#' * _SHORTEST_BAR)}{{metrics}}"
            if len(self.format_meter(**{**values, "ncols": None})) <= self.ncols:
                break
        values["bar_format"] = f"{{desc}} {layout}{{metrics}}"
        return values

    def _choices(self, description: str) -> list[tuple[str, int, str]]:
        """Descriptions, numbers of metrics and layouts, by falling width and importance."""
        others = range(len(self.metrics), self.num_kept, -1)
        choices = [(description, number, layout) for number in others for layout in _LAYOUTS[:4]]
        choices += [(description, self.num_kept, layout) for layout in _LAYOUTS]
        return [*choices, (description.rpartition(" ")[2], self.num_kept, "")]


def metric_texts(metrics: Mapping[str, Any]) -> tuple[list[str], int]:
    """Short texts of metrics, the most important first, and the number of those that are always shown.

    They are loss and accuracy of training and of validation, as "loss 0.0553 acc 0.983" and
    "val loss 0.0730 acc 0.969"; then the others, each with its name.
    """
    texts, others = [], dict(metrics)
    for split, prefix in (("train", ""), ("val", "val ")):
        words: list[str] = []
        for name, short in (("loss", "loss"), ("accuracy", "acc"), ("mae", "mae"), ("rmse", "rmse")):
            if (value := others.pop(f"{split}/{name}", None)) is not None:
                words.append(f"{'' if words else prefix}{short} {number_text(value, is_fraction=name == 'accuracy')}")
        texts += [" ".join(words)] if words else []
    return [*texts, *(f"{one_line(name)} {number_text(value)}" for name, value in others.items())], len(texts)


def number_text(value: Any, *, is_fraction: bool = False) -> str:
    """A number in few characters: of a fraction three decimals, else about five digits."""
    if not isinstance(value, float):
        return one_line(value)
    if is_fraction:
        return f"{value:.3f}"
    size = abs(value)
    if size == 0 or 1e-4 <= size < 10:
        return f"{value:.4f}"
    return f"{value:.5g}" if 10 <= size < 1e5 or not math.isfinite(value) else f"{value:.1e}"
