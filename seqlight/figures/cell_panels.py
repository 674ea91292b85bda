"""The rows of panels of a cell's figure."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from seqlight.figures.canvas import integer_ticks, new_figure
from seqlight.tasks.task import Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_COLOURS = 8


def grid(num_heat_maps: int, num_columns: int) -> tuple["Figure", list[list[Any]]]:
    """A figure, and the axes of its rows: input, heat maps, probability."""
    heights = (0.8, *[1.0] * num_heat_maps, 0.9)
    width, height = 1.6 + 2.6 * num_columns, 0.8 + sum(heights)
    figure, axes = new_figure(
        width, height, len(heights), num_columns, sharex=True, sharey="row", height_ratios=heights
    )
    for axis in axes[-1]:
        axis.set_xlabel("time step", fontsize=9)
        integer_ticks(axis.xaxis)
    return figure, axes


def draw_inputs(
    row: list[Any],
    inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"],
    lengths: Int64[Tensor, " batch"],
) -> None:
    """Draw tokens as steps, and features as lines or, if there are more than 8, as heat maps."""
    if inputs.ndim == 3 and inputs.shape[-1] > _MOST_COLOURS:
        draw_units(row, "input\nfeatures", inputs, signed=True)
        return
    for axis, sequence, length in zip(row, inputs.cpu(), lengths.tolist(), strict=True):
        steps, values = range(1, length + 1), sequence[:length]
        if inputs.ndim == 2:
            axis.plot(steps, values, drawstyle="steps-mid", **_line(length))
            integer_ticks(axis.yaxis)
        else:
            axis.axhline(0, color="0.8", linewidth=0.8)
            for feature, curve in enumerate(values.float().T):
                axis.plot(steps, curve, label=str(feature), **_line(length))
    row[0].set_ylabel("token" if inputs.ndim == 2 else "input", fontsize=8)
    if inputs.ndim == 3 and inputs.shape[-1] > 1:
        _legend(row, "feature")


def draw_units(row: list[Any], caption: str, values: Float[Tensor, "batch time units"], *, signed: bool) -> None:
    """Draw heat maps with one common scale, at least 0 to 1 or -1 to 1; grey past the end of a sequence."""
    values = values.float().cpu()
    largest = max(1.0, float(values.nan_to_num(0, 0, 0).abs().max()))
    # Values are not blended if there are enough pixels.
    interpolation = "nearest" if values.shape[1] <= 200 and values.shape[2] <= 64 else "auto"
    for axis, sequence in zip(row, values, strict=True):
        axis.set_facecolor("0.85")
        image = axis.imshow(
            sequence.T,
            aspect="auto",
            interpolation=interpolation,
            cmap="RdBu_r" if signed else "viridis",
            vmin=-largest if signed else 0,
            vmax=largest,
            extent=(0.5, values.shape[1] + 0.5, values.shape[2] - 0.5, -0.5),
        )
        axis.set_yticks([])
    row[0].set_ylabel(caption, fontsize=8)
    bar = row[0].figure.colorbar(image, ax=row, aspect=8, pad=0.01)
    bar.ax.tick_params(labelsize=8)


def draw_probabilities(
    row: list[Any],
    probabilities: Float[Tensor, "batch time *outputs"],
    targets: Shaped[Tensor, "batch *labels"],
    lengths: Int64[Tensor, " batch"],
    target: Target,
) -> None:
    """Draw a curve for each output: solid for the labels of the sequence, dotted for the others."""
    curves = probabilities.float().cpu()
    if target == "regression":
        for axis, sequence, length in zip(row, curves, lengths.tolist(), strict=True):
            for output in range(curves.shape[-1]):
                axis.plot(range(1, length + 1), sequence[:length, output], label=str(output), **_line(length))
        row[0].set_ylabel("prediction", fontsize=8)
        return
    if target == "binary":
        curves = curves[..., None]
    num_curves = curves.shape[-1]
    for axis, sequence, answer, length in zip(row, curves, targets, lengths.tolist(), strict=True):
        true = torch.arange(num_curves) == answer if target == "multiclass" else answer.expand(num_curves) > 0
        axis.axhline(0.5, color="0.8", linewidth=0.8)
        for output in range(num_curves):
            axis.plot(
                range(1, length + 1),
                sequence[:length, output],
                color=f"C{output}" if num_curves <= _MOST_COLOURS else "C0" if true[output] else "0.7",
                linestyle="-" if true[output] or target == "binary" else ":",
                label=str(output),
                **_line(length),
                zorder=3 if true[output] else 2,
            )
        axis.set_ylim(-0.05, 1.05)
    row[0].set_ylabel("probability", fontsize=8)
    if 1 < num_curves <= _MOST_COLOURS:
        _legend(row, "class" if target == "multiclass" else "label")


def _line(num_steps: int) -> dict[str, Any]:
    """The style of a thin line, with a marker at each step if there is room."""
    return {"linewidth": 1, "marker": "." if num_steps <= 50 else None, "markersize": 4}


def _legend(row: list[Any], title: str) -> None:
    """Draw the names of the curves in their colours, right of the row, where other rows have colour bars."""
    legend = row[-1].legend(
        title=title,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        fontsize=7,
        title_fontsize=7,
        labelcolor="linecolor",
        handlelength=0,
        markerscale=0,
        labelspacing=0.1,
        frameon=False,
    )
    legend.set_in_layout(False)
