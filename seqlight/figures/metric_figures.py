"""Figures of metrics: confusion matrix, ROC curve, memory, accuracy by length."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.plot import plot_confusion_matrix

from seqlight.common.text import one_line
from seqlight.figures.canvas import Margins, new_figure
from seqlight.training.length_accuracy import LengthBucket

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


def memory_figure(curves: Mapping[str, Float[Tensor, " time"]]) -> "Figure":
    """Curves of `memory_curve`, (T,) each, by name, on a logarithmic scale."""
    figure, [[axis]] = new_figure(5, 4, margins=Margins())
    for name, curve in curves.items():
        # A value that underflows to 0 can't be drawn on a logarithmic axis: leave a gap.
        axis.semilogy(curve.float().masked_fill(curve == 0, torch.nan).cpu(), label=name, marker=".", linewidth=1)
    # At least two decades: on a narrower axis a flat curve shows meaningless waves.
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, high / 100), high)
    axis.set_xlabel("time steps before the end")
    axis.set_ylabel("norm of d loss / d input")
    axis.invert_xaxis()
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


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
