"""Figures of metrics: confusion matrix, ROC curve, memory, accuracy by length."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.plot import plot_confusion_matrix

from seqlight.common.text import one_line
from seqlight.figures.canvas import Margins, integer_ticks, new_figure
from seqlight.training.length_accuracy import LengthBucket

_FORGOTTEN = 0.01  # a relative influence below which a step counts as forgotten

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(
    confusion: Int64[Tensor, "*labels true predicted"], class_names: Sequence[str] | None = None
) -> "Figure":
    """A confusion matrix, or one for each of the first 8 labels.

    Args:
        confusion: counts, (C, C) for C classes or (L, 2, 2) for L labels; rows are true, columns predicted.
        class_names: the names of the classes or labels; numbers if None.
    """
    multilabel = confusion.ndim == 3
    matrices = confusion[:8] if multilabel else confusion[None]
    num_classes = confusion.shape[-1]
    names = [_short(name) for name in class_names or map(str, range(len(confusion)))]
    rows, columns = -(-len(matrices) // 4), min(len(matrices), 4)
    with_counts = num_classes <= 12
    side = max(4.0, 0.5 * num_classes + 1.5) if with_counts else min(0.28 * num_classes + 2, 16.0)
    margins = Margins(1.3, 0.2, 1.3, 0.3, between=1.0)
    cells = side - 1.5
    width, height = (count * (cells + 1) + 0.5 for count in (columns, rows))
    figure, grid = new_figure(width, height + 0.1, rows, columns, margins=margins)
    axes = [axis for row in grid for axis in row]
    every = -(-num_classes // 50)  # there is room for 50 names
    for axis, matrix, name in zip(axes, matrices, names if multilabel else [""], strict=False):
        plot_confusion_matrix(matrix, ax=axis, add_text=with_counts, cmap="Blues")
        ticks = range(0, num_classes, every)
        labels = ["0", "1"] if multilabel else names[::every]
        text = {"fontsize": 8, "parse_math": False}
        axis.set_xticks(ticks, labels, rotation=90 if max(map(len, labels)) > 3 else 0, **text)
        axis.set_yticks(ticks, labels, rotation=0, **text)
        axis.set_title(name, fontsize=10, parse_math=False)
        axis.set_xlabel("predicted", fontsize=10)
        axis.set_ylabel("true", fontsize=10)
        # Each count must fit into its cell; all cells together are side - 1.5 inches wide.
        most_digits = len(str(int(matrix.max())))
        for count in axis.texts:
            count.set_fontsize(min(12, 72 * (side - 1.5) / num_classes / (0.65 * most_digits + 0.5)))
    for axis in axes[len(matrices) :]:
        axis.set_axis_off()
    return figure


def _short(name: str) -> str:
    """Shorten a class name so that it fits on an axis."""
    name = one_line(" ".join(name.split()))
    # Keep the end too: long names often begin with the same words.
    return name if len(name) <= 16 else f"{name[:9]}\N{HORIZONTAL ELLIPSIS}{name[-6:]}"


def roc_figure(roc: Metric, class_names: Sequence[str] = ()) -> "Figure":
    """ROC curves with the area under each.

    Args:
        roc: torchmetrics' ROC, updated.
        class_names: the names of the classes or labels; unused for binary, which is one curve.
    """
    figure, [[axis]] = new_figure(4, 4, margins=Margins())
    roc.plot(ax=axis, score=True)
    entries = axis.get_legend().get_texts()
    if len(entries) == len(class_names):
        # Not with the labels of the curves: matplotlib hides labels that begin with an underscore.
        for entry, name in zip(entries, class_names, strict=True):
            _, _, area = entry.get_text().partition(" ")
            entry.set(text=f"{_short(name)} {area}", parse_math=False, fontsize=8)
    axis.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle="--")
    axis.set_aspect("equal")
    return figure


def memory_figure(
    curves: Mapping[str, Float[Tensor, " time"] | Float[Tensor, "3 time"]], where: str = "", sequences: str = ""
) -> "Figure":
    """Curves of `memory_curve` (T,), or of `memory_quartiles` (3, T) with a band, on a logarithmic scale.

    Args:
        curves: by name.
        where: a further line of the title, as the run and the epoch.
        sequences: the sequences on which they were measured, for the caption.
    """
    quartiles = {name: (curve if curve.ndim == 2 else curve[None]).double().cpu() for name, curve in curves.items()}
    medians = {name: lines[len(lines) // 2] for name, lines in quartiles.items()}
    reach = "; ".join(f"{name} {_reach(median)}" for name, median in medians.items())
    has_bands = any(len(lines) == 3 for lines in quartiles.values())
    figure, [[axis]] = new_figure(
        5,
        3.4,
        margins=Margins(),
        title=f"Memory: {reach}\n{where}",
        caption="How much a change of the input at a time step changes the logit of the answer, relative to the last "
        f"step (1). Flat: the model remembers; a straight fall: it forgets. Median{' and quartiles' * has_bands}"
        f"{' of ' * bool(sequences)}{sequences}.",
    )
    axis.set_yscale("log")
    # At least two decades: on a narrower axis a flat curve shows meaningless waves. At most eight.
    drawn = torch.cat([torch.ones(1), *(lines.flatten() for lines in quartiles.values())])
    drawn = drawn[drawn.isfinite() & (drawn > 0)]
    low, high = float(drawn.min()) / 2, float(drawn.max()) * 2
    axis.set_ylim(max(min(low, high / 100), high / 1e8), high)
    for name, lines in quartiles.items():
        # A value that underflows to 0 can't be drawn on a logarithmic axis: leave a gap.
        lines = lines.masked_fill(lines == 0, torch.nan)
        steps = range(lines.shape[1])
        marker = "." if len(steps) <= 50 else ""
        [line] = axis.plot(steps, lines[len(lines) // 2], label=name, marker=marker, linewidth=1)
        if len(lines) == 3:
            axis.fill_between(steps, lines[0], lines[2], color=line.get_color(), alpha=0.2, linewidth=0)
    axis.axhline(_FORGOTTEN, color="grey", linewidth=0.8, linestyle="--", label="1 %")
    axis.yaxis.set_major_formatter("{x:g}")  # matplotlib's powers take a third of the time of the figure
    axis.yaxis.get_minor_locator().set_params(numticks=1)
    axis.set_xlabel("time steps before the end")
    axis.set_ylabel("relative influence")
    integer_ticks(axis.xaxis)
    axis.invert_xaxis()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def _reach(curve: Float[Tensor, " time"]) -> str:
    """How far back a curve stays above 1 %."""
    below = (curve < _FORGOTTEN).nonzero().flatten().tolist()
    if below:
        return f"above 1 % for {below[0] - 1} steps back"
    return f"above 1 % for all {len(curve) - 1} steps back" if curve.isfinite().any() else "not measurable"


def length_figure(buckets: Sequence[LengthBucket]) -> "Figure":
    """Accuracy by length: one bar per bucket, labelled with its number of sequences."""
    figure, [[axis]] = new_figure(5, 4, margins=Margins())
    for shortest, longest, num_sequences, accuracy in buckets:
        width = longest - shortest + 1
        axis.bar(shortest - 0.5, accuracy, width, align="edge", color="tab:blue", edgecolor="white", alpha=0.6)
        axis.text(shortest - 0.5 + width / 2, 0.02, f"{num_sequences}", rotation=90, ha="center")
    axis.set_ylim(0, 1)
    axis.set_xlabel("length, in time steps (on the bars: number of sequences)")
    axis.set_ylabel("accuracy")
    axis.grid(axis="y", alpha=0.3)
    return figure
