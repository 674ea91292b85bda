"""A figure of predicted against true numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.common.text import one_line
from seqlight.figures.canvas import Margins, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POINTS = 2000
_MOST_PANELS = 4


def prediction_figure(
    predicted: Float[Tensor, "samples numbers"],
    true: Float[Tensor, "samples numbers"],
    names: Sequence[str] = (),
    where: str = "",
) -> "Figure":
    """Predicted against true numbers: a panel for each of the first 4 numbers, with a point for each sample.

    Args:
        predicted: (N, L), in original units.
        true: (N, L).
        names: the names of the numbers; positions if there are none.
        where: a further line of the title, as the run and the epoch.
    """
    predicted, true = (each.cpu().double() for each in (predicted, true))
    shown = torch.linspace(0, len(true) - 1, min(len(true), _MOST_POINTS)).round().long()
    count = min(true.shape[1], _MOST_PANELS)
    size = 2.8
    margins = Margins(left=0.75, between=0.9 if count > 1 else 0, top=0.3)
    figure, [axes] = new_figure(
        count * size + (count - 1) * margins.between + margins.left + margins.right,
        size + margins.top + margins.bottom,
        1,
        count,
        margins=margins,
        title=f"Predicted against true: {len(true)} samples"
        f"{f', first {count} of {true.shape[1]} numbers' if true.shape[1] > count else ''}\n{where}",
        caption="A point for each sample"
        f"{f', for {len(shown)} of them' if len(shown) < len(true) else ''}; on the line, the prediction is right.",
    )
    for place, axis in enumerate(axes):
        rmse = (predicted[:, place] - true[:, place]).square().mean().sqrt()
        name = one_line(names[place]) if place < len(names) else str(place)
        axis.plot(true[shown, place], predicted[shown, place], ".", markersize=3, alpha=0.5)
        ends = [float(true[:, place].min()), float(true[:, place].max())]
        axis.plot(ends, ends, color="grey", linewidth=0.8, linestyle="--")
        axis.set_title(f"{name[:30]}: RMSE {rmse:.4g}", fontsize=9, parse_math=False)
        axis.set(xlabel="true", ylabel="predicted")
        axis.grid(alpha=0.3)
    return figure
