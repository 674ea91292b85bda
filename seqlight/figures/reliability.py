"""The reliability figure: the fraction of true answers against their mean probability."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from seqlight.figures.canvas import Margins, integer_ticks, new_figure, short_name
from seqlight.tasks.task import Target
from seqlight.training.calibration_error import calibration_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OF = {"binary": "class 1", "multiclass": "the predicted class", "multilabel": "a label"}


def reliability_figure(
    sums: Float[Tensor, "3 bins"], target: Target, positive_class: str = "", where: str = ""
) -> "Figure":
    """The fraction of true answers against the mean probability, for each bin, and the number of probabilities in it.

    Args:
        sums: from `CalibrationBins`.
        target: "binary", "multiclass" or "multilabel".
        positive_class: for binary, the name of class 1.
        where: a further line of the title, as the run and the epoch.
    """
    count, probability, is_true = sums.double().cpu().numpy()
    used = count > 0
    mean, fraction = probability[used] / count[used], is_true[used] / count[used]
    error = np.sqrt(fraction * (1 - fraction) / count[used])
    of = f"class {short_name(positive_class)}" if positive_class else _OF[target]
    figure, grid = new_figure(
        3.5,
        4.2,
        2,
        1,
        margins=Margins(between=0.12),
        title=f"Reliability: expected calibration error {float(calibration_error(sums)):.4f}\n{where}",
        caption=f"Fraction of true answers against the mean probability of {of}, in {len(count)} bins, with standard "
        "errors; dashed: calibrated. Where it is above, answers are true more often than the probability says.",
        sharex=True,
        height_ratios=[3, 1],
    )
    upper, lower = grid[0][0], grid[1][0]
    upper.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle="--")
    upper.errorbar(mean, fraction, error, marker="o", markersize=4, linewidth=1.2, elinewidth=0.8)
    width = 1 / len(count)
    lower.bar(np.arange(len(count)) * width, count, width, align="edge", edgecolor="white", alpha=0.6)
    upper.set(ylabel="fraction of true answers", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    lower.set(xlabel="probability", ylabel="number")
    integer_ticks(lower.yaxis)
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
    return figure
