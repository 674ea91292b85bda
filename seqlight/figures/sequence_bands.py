"""Sequences above each other on one axis of time: features as lines or heat maps, tokens as colours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from seqlight.common.batch import Batch
from seqlight.figures.canvas import text_width

MOST_LINES = 8  # more features are a heat map
_MOST_TOKENS = 9  # that have a colour of their own
_MOST_POINTS = 1000  # of a line
_MARKED = 50  # steps of the longest sequence, if each step is marked
_MOST_TEXTS = 150
_GREY = "0.75"
_COLOURS = [f"C{place if place < 7 else place + 1}" for place in range(_MOST_TOKENS)]  # C7 is grey, too


class Entry(NamedTuple):
    """A word of the legend, and its colour."""

    text: str
    colour: str


class Bands(NamedTuple):
    """The places of sequences: each is 1 high, from its top downwards.

    Attributes:
        tops: the top of each sequence.
        centres: for each group of sequences, as a class, the middle.
        height: the height of all.
    """

    tops: list[float]
    centres: list[float]
    height: float


def bands_of(sizes: Sequence[int]) -> Bands:
    """Places for groups of these sizes, with a gap between groups."""
    tops, centres, top = [], [], 0.0
    for size in sizes:
        tops += [top + 1.1 * place for place in range(size)]
        centres.append(top + (1.1 * size - 0.1) / 2)
        top += 1.1 * size + 0.4
    return Bands(tops, centres, max(top - 0.4, 1.1))


def step_mask_of(batch: Batch) -> Bool[np.ndarray, "batch time"]:
    """Which steps are not padding."""
    mask: np.ndarray = np.arange(batch.inputs.shape[1]) < batch.lengths.numpy()[:, None]
    return mask


def draw_lines(axis: Any, values: Float[np.ndarray, "batch time features"], batch: Batch, bands: Bands) -> None:
    """Draw features, which are between 0 and 1, as lines."""
    from matplotlib.collections import LineCollection

    lengths = batch.lengths.tolist()
    for feature in range(values.shape[2]):
        lines = []
        for sequence, length, top in zip(values[..., feature], lengths, bands.tops, strict=True):
            steps, points = _thinned(sequence[:length])
            lines.append(np.stack([steps + 1, top + 0.95 - 0.9 * points], axis=1))
        axis.add_collection(LineCollection(lines, colors=f"C{feature}", linewidths=0.9, capstyle="round"))
        if max(lengths) <= _MARKED:
            points = np.concatenate(lines)
            axis.plot(points[:, 0], points[:, 1], ".", color=f"C{feature}", markersize=3)


def draw_heat_maps(axis: Any, values: Float[np.ndarray, "batch time features"], batch: Batch, bands: Bands) -> None:
    """Draw features, which are between 0 and 1, as heat maps with the first feature on top."""
    for sequence, length, top in zip(values, batch.lengths.tolist(), bands.tops, strict=True):
        axis.imshow(
            sequence[:length].T,
            aspect="auto",
            vmin=0,
            vmax=1,
            cmap="viridis",
            extent=(0.5, length + 0.5, top + 1, top),
            zorder=1,
        )


def token_colours(batch: Batch, names: Sequence[str]) -> tuple[list[Entry], Int[np.ndarray, " tokens"]]:
    """The most frequent tokens with their colours, and the number of each token's colour.

    Args:
        batch: sequences of tokens.
        names: the name of each token.
    """
    tokens = batch.inputs.cpu().numpy()
    shown = tokens[step_mask_of(batch)]
    counts = np.bincount(shown, minlength=len(names))
    frequent = [int(token) for token in np.argsort(-counts, kind="stable")[:_MOST_TOKENS] if counts[token]]
    places = np.full(len(counts), _MOST_TOKENS)
    places[frequent] = range(len(frequent))
    entries = [Entry(names[token], _COLOURS[place]) for place, token in enumerate(frequent)]
    others = np.count_nonzero(counts) - len(frequent)
    return ([*entries, Entry(f"{others} others", "0.5")] if others else entries), places


def draw_tokens(
    axis: Any, batch: Batch, bands: Bands, names: Sequence[str], places: Int[np.ndarray, " tokens"]
) -> None:
    """Draw tokens as colours, with their names in them if there is room.

    Args:
        axis: the axis.
        batch: sequences of tokens.
        bands: their places.
        names: the name of each token.
        places: the number of each token's colour.
    """
    from matplotlib.colors import ListedColormap

    tokens = batch.inputs.cpu().numpy()
    shown = tokens[step_mask_of(batch)]
    with_text = len(shown) <= _MOST_TEXTS and max(len(names[token]) for token in np.unique(shown)) <= 4
    for sequence, length, top in zip(tokens, batch.lengths.tolist(), bands.tops, strict=True):
        axis.imshow(
            places[sequence[None, :length]],
            aspect="auto",
            interpolation="nearest",
            vmin=0,
            vmax=_MOST_TOKENS,
            cmap=ListedColormap([*_COLOURS, _GREY]),
            extent=(0.5, length + 0.5, top + 0.95, top + 0.05),
            alpha=0.8,
            zorder=1,
        )
        for step in range(length if with_text else 0):
            text = names[sequence[step]]
            axis.text(step + 1, top + 0.5, text, ha="center", va="center", fontsize=7, parse_math=False)


def draw_labels(axis: Any, batch: Batch, bands: Bands, num_classes: int) -> None:
    """Draw the class of each step as a colour below its sequence."""
    from matplotlib.colors import ListedColormap

    colours = ListedColormap([label_colour(place, num_classes) for place in range(num_classes)])
    targets = batch.targets.long().cpu().numpy()
    for sequence, length, top in zip(targets, batch.lengths.tolist(), bands.tops, strict=True):
        axis.imshow(
            sequence[None, :length],
            aspect="auto",
            interpolation="nearest",
            vmin=-0.5,
            vmax=num_classes - 0.5,
            cmap=colours,
            extent=(0.5, length + 0.5, top + 1.07, top + 0.97),
            zorder=2,
        )


def label_colour(place: int, num_classes: int) -> Any:
    """The colour of a class, as matplotlib knows it: dark to light."""
    from matplotlib import colormaps

    return colormaps["plasma"](0.85 * place / max(num_classes - 1, 1))


def scaled(
    values: Float[np.ndarray, "batch time features"], mask: Bool[np.ndarray, "batch time"]
) -> tuple[Float[np.ndarray, "batch time features"], Float[np.ndarray, "2 features"]]:
    """Features scaled so that the range of each is from 0 to 1, and these ranges.

    Where a few values are far from all others, the range is that of 98 % of the values.

    Args:
        values: the features.
        mask: which steps count.
    """
    shown = np.sort(np.where(np.isfinite(values[mask]), values[mask], np.nan), axis=0)  # NaN last
    last = np.maximum(np.isfinite(shown).sum(0) - 1, 0)
    ends = np.stack([shown[(share * last).astype(int), np.arange(shown.shape[1])] for share in (0, 0.01, 0.99, 1)])
    with np.errstate(over="ignore", invalid="ignore"):
        far = (ends[3] - ends[0] > 5 * (ends[2] - ends[1])) & (ends[2] > ends[1])
        ranges = np.where(far, ends[1:3], ends[[0, 3]])
        width = ranges[1] - ranges[0]
        places = np.where(width > 0, (values - ranges[0]) / np.where(width > 0, width, 1), 0.5)
    return np.clip(places, 0, 1), ranges


def legend_lines(entries: Sequence[Entry], width: float, size: float = 8) -> list[list[tuple[float, Entry]]]:
    """The lines of a legend that is at most `width` inches wide: each entry with its distance from the left."""
    lines: list[list[tuple[float, Entry]]] = [[]]
    x = 0.0
    for entry in entries:
        needed = text_width(entry.text, size)
        if lines[-1] and x + needed > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, entry))
        x += needed + 0.18
    return lines


def _thinned(values: Float[np.ndarray, " time"]) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Steps and values of a line that looks the same: of many steps, the smallest and largest of each few."""
    size = -(-2 * len(values) // _MOST_POINTS)
    if size <= 2:
        return np.arange(len(values)), values
    whole = len(values) // size * size
    blocks = values[:whole].reshape(-1, size)
    both = np.sort(np.stack([blocks.argmin(1), blocks.argmax(1)], axis=1), axis=1)
    steps = (both + size * np.arange(len(blocks))[:, None]).reshape(-1)
    steps = np.concatenate([steps, np.arange(whole, len(values))])
    return steps, values[steps]
