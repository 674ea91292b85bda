"""A figure of a cell's activity."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seqlight.common.batch import Batch
from seqlight.common.validation import check_at_least
from seqlight.figures import cell_panels
from seqlight.figures.cell_activity import cell_activity
from seqlight.tasks.task import Target
from seqlight.training.classifier import SequenceClassifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cell_figure(
    model: SequenceClassifier, batch: Batch, num_sequences: int = 3, layer: int = 0, max_steps: int = 200
) -> "Figure":
    """A figure of the states and gates of a layer's cell over time, with one column per sequence.

    From top to bottom: the input; each state and each gate, units by steps; the probability after each step.
    The order of the units is the same in all rows: that of `unit_order`.

    Args:
        model: the model; neither it nor the random state changes.
        batch: sequences and targets, on any device. The first sequence of each label is drawn, then the second ...
        num_sequences: the maximum number of columns.
        layer: as in `cell_activity`.
        max_steps: longer sequences are cut before the model reads them.

    Raises:
        ValueError: if an argument is out of range, or as in `cell_activity`.
    """
    check_at_least("num_sequences", num_sequences, 1)
    check_at_least("max_steps", max_steps, 1)
    per_step = model.label_per == "step"
    shown = batch.targets[torch.arange(len(batch.targets)), batch.lengths - 1] if per_step else batch.targets
    chosen = _first_of_each_label(shown)[:num_sequences]
    inputs, targets, lengths = batch.inputs[chosen], shown[chosen].cpu(), batch.lengths[chosen]
    num_steps = min(max_steps, int(lengths.max()))
    activity = cell_activity(model, Batch(inputs[:, :num_steps], targets, lengths.clamp(max=num_steps)), layer)

    figure, rows = cell_panels.grid(len(activity.states) + len(activity.gates), len(chosen))
    figure.suptitle(_title(model, layer), fontsize=10)
    for axis, index, target, length in zip(rows[0], chosen, targets, lengths.tolist(), strict=True):
        cut = f"\nfirst {num_steps} of {length} steps" if length > num_steps else ""
        last = "at the end " if per_step else ""
        axis.set_title(f"sequence {index}: {last}{_label(target, model.target)}{cut}", fontsize=9)
    cell_panels.draw_inputs(rows[0], activity.inputs, activity.lengths)
    order = unit_order(next(iter(activity.states.values())))
    heat_maps = [(_caption(name, "state"), values, True) for name, values in activity.states.items()]
    kind = "pre-activation" if activity.pre_activations else "gate"
    for name, values in activity.gates.items():
        signed = bool((values < 0).any())
        heat_maps.append((_caption(name, kind), values, signed))
    for row, (caption, values, signed) in zip(rows[1:-1], heat_maps, strict=True):
        cell_panels.draw_units(row, caption, values[..., order], signed=signed)
    cell_panels.draw_probabilities(rows[-1], activity.probabilities, targets, activity.lengths, model.target)
    return figure


def unit_order(outputs: Float[Tensor, "batch time hidden"]) -> Int64[Tensor, " hidden"]:
    """Indices (H,) that place similar units side by side: sorted by their weight in the first principal component.

    Args:
        outputs: (B, T, H), NaN past the end of each sequence.
    """
    courses = outputs.flatten(0, 1)
    courses = courses[~courses.isnan().all(1)].cpu().double()  # not every device has float64
    courses = courses.nan_to_num(0, 0, 0)  # a diverged cell needs an order too
    component = torch.linalg.svd(courses - courses.mean(0), full_matrices=False).Vh[:1].sum(0)
    # The sign of a component is arbitrary: fix it, so that the next figure has the same order.
    sign = component[component.abs().argmax()].sign()
    return torch.argsort(component * sign, descending=True, stable=True)


def _first_of_each_label(targets: Tensor) -> list[int]:
    """Indices of sequences: the first of each label, then the second of each, and so on."""
    seen: dict[str, int] = {}
    turns = []
    for index, target in enumerate(targets.tolist()):
        turns.append((seen.setdefault(str(target), 0), index))
        seen[str(target)] += 1
    return [index for _, index in sorted(turns)]


def _title(model: SequenceClassifier, layer: int) -> str:
    num_directions = model.recurrent.num_directions
    title = model.recurrent.cell_name
    if len(model.recurrent.layers) > num_directions:
        title += f", layer {layer // num_directions + 1} of {len(model.recurrent.layers) // num_directions}"
    if num_directions > 1:
        title += ", backwards" if model.recurrent.layers[layer].reverse else ", forwards"
    return title


def _caption(name: str, kind: str) -> str:
    return name if name.startswith(kind) else f"{name}\n{kind}"


def _label(target: Tensor, kind: Target) -> str:
    if kind == "regression":
        return "target " + ", ".join(f"{number:.4g}" for number in target.tolist()) + " (standardised)"
    if kind == "multilabel":
        return "labels " + (", ".join(str(label) for label in target.nonzero().flatten().tolist()) or "none")
    return f"label {int(target)}"
