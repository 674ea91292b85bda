"""Figures of metrics: confusion matrix, ROC curve, memory, accuracy by length."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seqlight.common.label_per import LabelPer
from seqlight.figures.canvas import Margins, integer_ticks, new_figure, short_name, text_width
from seqlight.training.length_accuracy import LengthBucket

_FORGOTTEN = 0.01  # a relative influence below which a step counts as forgotten

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(
    confusion: Int64[Tensor, "*labels true predicted"],
    class_names: Sequence[str] | None = None,
    where: str = "",
    label_per: LabelPer = "sequence",
) -> "Figure":
    """A confusion matrix, or one for each of the first 8 labels. Colours are shares of the true class.

    Args:
        confusion: counts, (C, C) for C classes or (L, 2, 2) for L labels; rows are true, columns predicted.
        class_names: the names of the classes or labels; numbers if None.
        where: a further line of the title, as the run and the epoch.
        label_per: what the counts are of: sequences or time steps.
    """
    confusion = confusion.cpu()
    multilabel = confusion.ndim == 3
    matrices = confusion[:8] if multilabel else confusion[None]
    num_classes = confusion.shape[-1]
    names = [short_name(name) for name in class_names or map(str, range(len(confusion)))]
    rows, columns = -(-len(matrices) // 4), min(len(matrices), 4)
    every = -(-num_classes // 50)  # there is room for 50 names
    labels = ["0", "1"] if multilabel else names[::every]
    longest = max(text_width(label, 8) for label in labels)
    with_counts = num_classes <= 12
    cells = 1.5 if multilabel else max(1.8, 0.5 * num_classes) if with_counts else min(0.28 * num_classes + 0.5, 14.5)
    turned = longest > 0.9 * every * cells / num_classes  # else they stand side by side
    margins = Margins(
        left=0.5 + longest,
        bottom=0.5 + (longest if turned else 0.12),
        top=0.35 if multilabel else 0.15,
        between=0.95 if multilabel else 0,
    )
    width, height = (count * cells + (count - 1) * margins.between for count in (columns, rows))
    correct, total = int(confusion.diagonal(dim1=-2, dim2=-1).sum()), int(confusion.sum())
    shares = matrices / matrices.sum(-1, keepdim=True)  # NaN for a class that does not occur
    figure, grid = new_figure(
        width + margins.left + margins.right,
        height + margins.top + margins.bottom,
        rows,
        columns,
        margins=margins,
        title=f"Confusion matri{'ces' if multilabel else 'x'}: accuracy {correct / max(total, 1):.4f} "
        f"of {total} {'labels' if multilabel else f'{label_per}s'}"
        f"{f', first 8 of {len(confusion)} labels' if len(confusion) > len(matrices) > 1 else ''}\n{where}",
        caption=f"Colour: share of the row's {label_per}s."
        f"{' Grey: a class that does not occur.' if shares.isnan().any() else ''}",
    )
    axes = [axis for row in grid for axis in row]
    for axis, matrix, share, name in zip(axes, matrices, shares, names if multilabel else [""], strict=False):
        axis.set_facecolor("0.85")
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        ticks, text = range(0, num_classes, every), {"fontsize": 8, "parse_math": False}
        axis.set_xticks(ticks, labels, rotation=90 if turned else 0, **text)
        axis.set_yticks(ticks, labels, rotation=0, **text)
        axis.set_title(name, fontsize=9, parse_math=False)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        if with_counts:
            # Each count must fit into its cell.
            most_digits = len(str(int(matrix.max())))
            size = min(12, 72 * cells / num_classes / (0.65 * most_digits + 0.5))
            for (row, column), count in zip(product(range(num_classes), repeat=2), matrix.flatten(), strict=True):
                colour = "white" if share[row, column] > 0.6 else "black"
                axis.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size)
    for axis in axes[len(matrices) :]:
        axis.set_axis_off()
    return figure


def roc_figure(roc: Sequence[Any], class_names: Sequence[str] = (), where: str = "") -> "Figure":
    """ROC curves with the area under each.

    Args:
        roc: the results of torchmetrics' ROC: false and true positive rates, as tensors or lists of tensors by class.
        class_names: the names of the classes or labels; unused for binary, which is one curve.
        where: a further line of the title, as the run and the epoch.
    """
    rates = [part if isinstance(part, list) else [part] for part in roc[:2]]
    curves = [(false.double().cpu(), true.double().cpu()) for false, true in zip(*rates, strict=True)]
    # torchmetrics gives zeros where there are no sequences with, or none without, the class.
    areas = [
        float(torch.trapezoid(true, false)) if min(true.max(), false.max()) > 0 else None for false, true in curves
    ]
    defined = [area for area in areas if area is not None]
    mean = f"{sum(defined) / len(defined):.4f}" if defined else "undefined, as all sequences are of one class"
    number = f"area {mean}" if len(curves) == 1 else f"mean area {mean}"
    if 0 < len(defined) < len(curves):
        number += f" of {len(defined)}, the others are undefined"
    many = len(curves) > 3  # then the legend is beside the axes
    names = [f"{short_name(name)}: " for name in class_names] if len(curves) > 1 else [""]
    entries = [
        f"{name}{'undefined' if area is None else f'area {area:.4f}'}" for name, area in zip(names, areas, strict=True)
    ]
    beside = max(text_width(entry, 8) for entry in entries) + 0.7 if many else 0
    figure, [[axis]] = new_figure(
        3.5 + beside,
        max(3.2, 0.17 * len(entries) + 0.9),
        margins=Margins(right=0.25 + beside),
        title=f"Receiver operating characteristic (ROC): {number}\n{where}",
    )
    lines = []
    for index, (false, true) in enumerate(curves):
        drawn = torch.linspace(0, len(false) - 1, min(len(false), 1000)).round().long()
        if areas[index] is None:
            drawn = drawn[:0]
        style = {"color": f"C{index % 10}", "linestyle": "-" if index < 10 else ":"}
        lines += axis.plot(false[drawn], true[drawn], linewidth=1.2, **style)
    lines += axis.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle="--")
    place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if many else {"loc": "lower right"}
    legend = axis.legend(lines, ["curve"] * len(lines), fontsize=8, **place)
    for entry, text in zip(legend.get_texts(), [*entries, "chance: area 0.5"], strict=True):
        # Not as labels: matplotlib hides those that begin with an underscore.
        entry.set(text=text, parse_math=False)
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.grid(alpha=0.3)
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
        2.7,
        margins=Margins(),
        title=f"Memory: {reach}\n{where}",
        caption="How much a change of the input at a time step changes the logit, relative to the last step. Flat: the "
        f"model remembers; a straight fall: it forgets. Median{' and quartiles' * has_bands}"
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
    """A text on the number of steps back to which a curve stays above 1 %."""
    below = (curve < _FORGOTTEN).nonzero().flatten().tolist()
    if below:
        return f"above 1 % for {below[0] - 1} steps back"
    return f"above 1 % for all {len(curve) - 1} steps back" if curve.isfinite().any() else "not measurable"


def length_figure(
    buckets: Sequence[LengthBucket], chance: float | None = None, where: str = "", label_per: LabelPer = "sequence"
) -> "Figure":
    """Accuracy by length: one bar per bucket, labelled with its number of sequences. If steps have labels, by position.

    Args:
        buckets: the ranges of lengths, at least one.
        chance: the accuracy of an answer that is always the same.
        where: a further line of the title, as the run and the epoch.
        label_per: "step" if the buckets are of time steps by their position, from 1.
    """
    by, unit = ("position", "step, from 1") if label_per == "step" else ("length", "in time steps")
    total = sum(bucket.num_sequences for bucket in buckets)
    accuracy = sum(bucket.num_sequences * bucket.accuracy for bucket in buckets) / total
    note = "" if chance is None else f"Dashed: chance, {chance:.4f}, for always the most frequent answer. "
    figure, [[axis]] = new_figure(
        5,
        2.7,
        margins=Margins(),
        title=f"Accuracy by {by}: {accuracy:.4f} of {total} {label_per}s\n{where}",
        caption=f"{note}On the bars: number of {label_per}s.",
    )
    for bucket in buckets:
        start, width = bucket.shortest - 0.5, bucket.longest - bucket.shortest + 1
        axis.bar(start, bucket.accuracy, width, align="edge", color="tab:blue", edgecolor="white", alpha=0.6)
        axis.text(start + width / 2, 0.02, f"{bucket.num_sequences}", rotation=90, ha="center", fontsize=8)
    if chance is not None:
        axis.axhline(chance, color="grey", linewidth=0.8, linestyle="--")
    start, end = buckets[0].shortest - 0.5, buckets[-1].longest + 0.5
    edge = 0.04 * (end - start)
    axis.set(xlabel=f"{by}, {unit}", ylabel="accuracy", xlim=(start - edge, end + edge), ylim=(0, 1.05))
    integer_ticks(axis.xaxis)
    axis.grid(axis="y", alpha=0.3)
    return figure
