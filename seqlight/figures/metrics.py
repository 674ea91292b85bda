"""Figures for TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.plot import plot_confusion_matrix

from seqlight.training.length_accuracy import LengthBucket

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple["Figure", list[Any]]:
    # Not pyplot, which keeps figures and may open a display. Imported here: it takes half a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=80, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def confusion_figure(
    confusion: Int64[Tensor, "*labels true predicted"], class_names: Sequence[str] | None = None
) -> "Figure":
    """Counts of true against predicted class: (C, C), or (L, 2, 2) for L labels, of which the first 8 are drawn.

    Args:
        confusion: counts.
        class_names: of the classes, or of the labels; numbers if None.
    """
    multilabel = confusion.ndim == 3
    matrices = confusion[:8] if multilabel else confusion[None]
    num_classes = confusion.shape[-1]
    names = [_short(name) for name in class_names or map(str, range(len(confusion)))]
    rows, columns = -(-len(matrices) // 4), min(len(matrices), 4)
    with_counts = num_classes <= 12
    side = max(4.0, 0.5 * num_classes + 1.5) if with_counts else min(0.28 * num_classes + 2, 16.0)
    figure, axes = _new_figure(side * columns, side * rows, rows, columns)
    every = -(-num_classes // 50)  # not more names than there is room for
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
        # Counts are to stay within their cells, of side - 1.5 inches together.
        most_digits = len(str(int(matrix.max())))
        for count in axis.texts:
            count.set_fontsize(min(12, 72 * (side - 1.5) / num_classes / (0.65 * most_digits + 0.5)))
    for axis in axes[len(matrices) :]:
        axis.set_axis_off()
    return figure


def _short(name: str) -> str:
    """A class's name with room for it on an axis."""
    name = " ".join(name.split())
    # Long names often begin alike.
    return name if len(name) <= 16 else f"{name[:9]}\N{HORIZONTAL ELLIPSIS}{name[-6:]}"


def roc_figure(roc: Metric, class_names: Sequence[str] = ()) -> "Figure":
    """The ROC curves of a torchmetrics metric, with the areas under them; those of classes or labels by name."""
    figure, [axis] = _new_figure(4, 4)
    roc.plot(ax=axis, score=True)
    entries = axis.get_legend().get_texts()
    if len(entries) == len(class_names):  # binary is one curve, of two classes
        # Not by the curves' labels: matplotlib hides those that begin with an underscore.
        for entry, name in zip(entries, class_names, strict=True):
            _, _, area = entry.get_text().partition(" ")
            entry.set(text=f"{_short(name)} {area}", parse_math=False, fontsize=8)
    axis.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle="--")
    axis.set_aspect("equal")
    return figure


def memory_figure(curves: Mapping[str, Float[Tensor, " time"]]) -> "Figure":
    """Curves of `memory_curve` by name, on a logarithmic scale."""
    figure, [axis] = _new_figure(5, 4)
    for name, curve in curves.items():
        # What underflows to 0 has no place on a logarithmic axis: a gap, not a crash.
        axis.semilogy(curve.float().masked_fill(curve == 0, torch.nan).cpu(), label=name, marker=".", linewidth=1)
    # Not less than two decades: a close look at a flat curve shows waves that mean nothing.
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, high / 100), high)
    axis.set_xlabel("time steps before the end")
    axis.set_ylabel("norm of d loss / d input")
    axis.invert_xaxis()
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def length_figure(buckets: Sequence[LengthBucket]) -> "Figure":
    """Accuracy against length, a bar for each bucket with the number of its sequences."""
    figure, [axis] = _new_figure(5, 4)
    for shortest, longest, num_sequences, accuracy in buckets:
        width = longest - shortest + 1
        axis.bar(shortest - 0.5, accuracy, width, align="edge", color="tab:blue", edgecolor="white", alpha=0.6)
        axis.text(shortest - 0.5 + width / 2, 0.02, f"{num_sequences}", rotation=90, ha="center")
    axis.set_ylim(0, 1)
    axis.set_xlabel("length, in time steps (on the bars: number of sequences)")
    axis.set_ylabel("accuracy")
    axis.grid(axis="y", alpha=0.3)
    return figure
