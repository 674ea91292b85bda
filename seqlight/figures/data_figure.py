"""A figure of data before training: some sequences of each class, lengths, and classes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqlight.common.batch import Batch
from seqlight.common.text import encodable
from seqlight.data.sequences import Sequences
from seqlight.figures.canvas import Margins, integer_ticks, new_figure, short_name, text_width
from seqlight.figures.data_names import DataNames, chosen_rows, counts_of, numbers_of, targets_of
from seqlight.figures.sequence_bands import (
    MOST_LINES,
    Bands,
    Entry,
    bands_of,
    draw_heat_maps,
    draw_labels,
    draw_lines,
    draw_tokens,
    label_colour,
    legend_lines,
    scaled,
    step_mask_of,
    token_colours,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BARS = 30
_COLOURS = {"train": "C0", "val": "C1", "test": "C2", "predict": "0.6"}
_WIDTH, _RIGHT = 5.2, 2.0  # inches of the axes


def data_figure(splits: Mapping[str, Batch | Sequences], names: DataNames, where: str = "") -> "Figure":
    """Some sequences of each class in the first split, and the lengths and classes of all.

    Args:
        splits: the sequences of each split, on any device.
        names: the kind of targets, and names.
        where: a further line of the title, as the run.
    """
    first, data = next(iter(splits.items()))
    counts = {split: counts_of(targets_of(each, names), names) for split, each in splits.items()}
    groups = chosen_rows(data, names)
    rows = torch.tensor([row for _, rows in groups for row in rows])
    batch = data.take(rows, rows.to(data.targets.device))
    bands = bands_of([len(rows) for _, rows in groups])
    labels = [short_name(label) for label, _ in groups]
    num_bars = min(len(names.classes), _MOST_BARS)
    sequences = max(0.38 * bands.height, 1.2)
    height = max(sequences, 1.9 + max(0.14 * num_bars, 1.0 if names.has_numbers else 0.4))
    left = 0.25 + max(text_width(label, 8) for label in labels)
    right = 0.2 + max(text_width(short_name(name), 7) for name in names.classes[:_MOST_BARS])
    entries, draw = _contents(batch, bands, names)
    lines = legend_lines(entries, _WIDTH)
    top = 0.1 + 0.16 * len(lines)
    margins = Margins(left=left, right=0.35 + right + _RIGHT, bottom=0.5, top=top)
    figure, [[axis]] = new_figure(
        left + _WIDTH + margins.right,
        top + height + margins.bottom,
        margins=margins,
        title=_title(first, data, groups, names, where),
        caption=_caption(batch, names),
    )
    draw(axis)
    if names.label_per == "step" and names.target != "multilabel":
        draw_labels(axis, batch, bands, len(names.classes))
    _finish(axis, batch, bands, labels, lines, height)
    width, whole = figure.get_size_inches()
    box = axis.get_position()
    x, bottom = box.x1 + (0.25 + right) / width, box.y0

    def below(inches: float, tall: float) -> Any:
        """An axis at the right, this many inches below the top."""
        new = figure.add_axes((x, box.y1 - (inches + tall) / whole, _RIGHT / width, tall / whole))
        new.tick_params(labelsize=7)
        return new

    lengths = below(0.05, 1.1)
    _draw_lengths(lengths, {split: each.lengths.numpy() for split, each in splits.items()})
    _write(lengths, legend_lines([Entry(split, _COLOURS.get(split, "0.4")) for split in splits], _RIGHT), above=18)
    if names.has_numbers:
        _draw_numbers(below(1.75, 1.1), {split: numbers_of(each, names) for split, each in splits.items()}, names)
        return figure
    _draw_classes(below(1.75, min(0.3 * num_bars + 0.1, (box.y1 - bottom) * whole - 1.75)), counts, names)
    return figure


def _contents(batch: Batch, bands: Bands, names: DataNames) -> tuple[list[Entry], Any]:
    """The legend, and a function that draws the sequences on an axis."""
    if batch.inputs.ndim == 2:
        tokens = [encodable(short_name(token)) for token in names.tokens]
        tokens = tokens or [str(token) for token in range(int(batch.inputs.max()) + 1)]
        entries, places = token_colours(batch, tokens)
        return entries, lambda axis: draw_tokens(axis, batch, bands, tokens, places)
    values = batch.inputs[..., : names.num_features].double().cpu().numpy()
    if names.mean is not None:
        values = values * np.array(names.scale) + np.array(names.mean)
    scaled_values, ranges = scaled(values, step_mask_of(batch))
    count = values.shape[2]
    if count > MOST_LINES:
        text = f"{count} features as rows, the first on top, each from its smallest (dark) to its largest value"
        return [Entry(text, "0.3")], lambda axis: draw_heat_maps(axis, scaled_values, batch, bands)
    features = [short_name(encodable(name)) for name in names.features] or [f"{place + 1}" for place in range(count)]
    entries = [
        Entry(f"{name}: {low:.3g} to {high:.3g}" if low < high else f"{name}: {low:.3g}", f"C{place}")
        for place, (name, low, high) in enumerate(zip(features, *ranges.tolist(), strict=True))
    ]
    return entries, lambda axis: draw_lines(axis, scaled_values, batch, bands)


def _title(first: str, data: Batch | Sequences, groups: list[Any], names: DataNames, where: str) -> str:
    if names.label_per == "step":
        number = sum(len(rows) for _, rows in groups)
        return f"Data: {number} of {len(data.lengths)} sequences of {first}, the label of each step below it\n{where}"
    if names.has_numbers:
        return f"Data: {len(groups)} of {len(data.lengths)} sequences of {first}, by their {names.classes[0]}\n{where}"
    several = "labels" if names.target == "multilabel" else "classes"
    chosen = f"{len(groups)} of {len(names.classes)} {several}"
    if len(groups) == len(names.classes):
        chosen = f"each of {len(groups)} {several}"
    return f"Data: sequences of {chosen}, from the {len(data.lengths)} of {first}\n{where}"


def _caption(batch: Batch, names: DataNames) -> str:
    if batch.inputs.ndim == 2:
        kind = "A colour for each of the most frequent tokens."
    elif (names.num_features or batch.inputs.shape[2]) <= MOST_LINES:
        kind = "Each feature is scaled to the range that is written above."
    else:
        kind = "Rows: features."
    return f"{kind} Right: the number of sequences{' and steps' * (names.label_per == 'step')} in each split."


def _finish(axis: Any, batch: Batch, bands: Bands, labels: list[str], lines: list[Any], height: float) -> None:
    """Draw what is the same for all kinds of inputs: extents, names and legend."""
    lengths = batch.lengths.numpy()
    axis.barh([top + 0.5 for top in bands.tops], lengths, 1, left=0.5, color="0.95", zorder=0)
    axis.set(xlim=(0.5, int(lengths.max()) + 0.5), ylim=(bands.height, -0.1))
    axis.set_yticks(bands.centres, labels, fontsize=8, parse_math=False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("time step")
    integer_ticks(axis.xaxis)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    _write(axis, lines)


def _write(axis: Any, lines: list[list[tuple[float, Entry]]], above: float = 5) -> None:
    """Write the lines of a legend over an axis.

    Args:
        axis: the axis.
        lines: from `legend_lines`.
        above: the distance of the last line from the axis, in points.
    """
    for place, line in enumerate(reversed(lines)):
        for x, entry in line:
            axis.annotate(
                entry.text,
                (0, 1),
                (72 * x, above + 11.5 * place),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=8,
                color=entry.colour,
                parse_math=False,
            )


def _draw_lengths(axis: Any, lengths: Mapping[str, np.ndarray]) -> None:
    """Draw the number of sequences by length, one outline for each split."""
    low, high = min(int(each.min()) for each in lengths.values()), max(int(each.max()) for each in lengths.values())
    size = -(-(high - low + 1) // 20)
    edges = np.arange(low, high + size + 1, size) - 0.5
    for split, each in lengths.items():
        numbers, _ = np.histogram(each, edges)
        axis.stairs(numbers, edges, color=_COLOURS.get(split, "0.4"), fill=True, alpha=0.25)
        axis.stairs(numbers, edges, color=_COLOURS.get(split, "0.4"))
    axis.set_title(f"lengths: {low} to {high}" if low < high else f"lengths: all {low}", fontsize=8, loc="left")
    if low == high:
        axis.set_xlim(low - 3, low + 3)
    axis.set_xlabel("time steps", fontsize=7, labelpad=1)
    integer_ticks(axis.xaxis)
    integer_ticks(axis.yaxis)


def _draw_classes(axis: Any, counts: Mapping[str, np.ndarray], names: DataNames) -> None:
    """Draw a bar for each class, the splits one after the other."""
    totals = np.sum([*counts.values()], axis=0)
    shown = np.argsort(-totals, kind="stable")[:_MOST_BARS] if len(totals) > _MOST_BARS else np.arange(len(totals))
    left = np.zeros(len(shown))
    for split, each in counts.items():
        axis.barh(range(len(shown)), each[shown], 0.8, left=left, color=_COLOURS.get(split, "0.4"))
        left += each[shown]
    axis.set_ylim(len(shown) - 0.4, -0.6)
    texts = [short_name(names.classes[place]) for place in shown.tolist()]
    axis.set_yticks(range(len(shown)), texts, fontsize=7, parse_math=False)
    if names.label_per == "step" and names.target != "multilabel":
        for text, place in zip(axis.get_yticklabels(), shown.tolist(), strict=True):
            text.set_color(label_colour(place, len(names.classes)))
    kind = "labels" if names.target == "multilabel" else "classes"
    number = f"{len(shown)} of {len(totals)} {kind}" if len(totals) > len(shown) else kind
    axis.set_title(f"{number}: {names.label_per}s", fontsize=8, loc="left")
    integer_ticks(axis.xaxis)


def _draw_numbers(axis: Any, numbers: Mapping[str, np.ndarray], names: DataNames) -> None:
    """Draw the number of sequences or steps by target, one outline for each split."""
    known = {split: each[np.isfinite(each)] for split, each in numbers.items()}
    edges = np.histogram_bin_edges(np.concatenate([*known.values()]), 20)
    for split, each in known.items():
        counts, _ = np.histogram(each, edges)
        axis.stairs(counts, edges, color=_COLOURS.get(split, "0.4"), fill=True, alpha=0.25)
        axis.stairs(counts, edges, color=_COLOURS.get(split, "0.4"))
    axis.set_title(f"{short_name(names.classes[0])}: {names.label_per}s", fontsize=8, loc="left", parse_math=False)
    integer_ticks(axis.yaxis)
