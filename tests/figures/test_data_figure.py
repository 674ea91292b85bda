"""The figure of data before training."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from seqlight import Batch, RunningParity, SequenceArrays, SumSign, SyntheticSequences
from seqlight.figures.canvas import text_width, to_file, to_png
from seqlight.figures.data_figure import data_figure
from seqlight.figures.data_names import DataNames, names_of
from seqlight.figures.sequence_bands import Entry, bands_of, legend_lines, scaled, token_colours


def arrays(labels, width=2, seed=0, lengths=(5, 40), **options):
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(3, 2, size=(rng.integers(*lengths), width)) for _ in labels]
    return SequenceArrays(inputs, labels, **options)


def figure_of(data):
    splits = {split: data.split(split) for split in data.splits}
    return splits, data_figure(splits, names_of(data), "run, version_0")


def drawn(figure):
    """All texts of a figure that lie within it, after it is drawn; no text of the legend or the title is cut."""
    assert to_png(figure).startswith(b"\x89PNG")
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        canvas.draw()
    renderer, box = canvas.get_renderer(), figure.bbox
    found = []
    for axis in figure.axes:
        names = [] if axis is figure.axes[1] else axis.get_yticklabels()
        texts = [*axis.texts, *names, axis.title, axis._left_title, axis.xaxis.label]
        for text in texts:
            if text.get_text():
                extent = text.get_window_extent(renderer)
                assert box.x0 <= extent.x0 < extent.x1 <= box.x1, text
                assert box.y0 <= extent.y0 < extent.y1 <= box.y1, text
                found.append(text.get_text())
    return found


def overlapping(axis):
    """Pairs of names on the y axis that overlap."""
    renderer = FigureCanvasAgg(axis.figure).get_renderer()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        boxes = sorted((text.get_window_extent(renderer) for text in axis.get_yticklabels()), key=lambda box: box.y0)
    return [1 for low, high in pairwise(boxes) if high.y0 < low.y1 - 1]


def test_lines_are_the_sequences_in_their_own_units():
    data = arrays(["a", "b"] * 20, val_fraction=0)
    splits, figure = figure_of(data)
    axis = figure.axes[0]
    sequences = splits["train"]
    lines = [path.vertices for path in axis.collections[0].get_paths()]  # of the first feature
    assert len(lines) == 8  # four of each class
    firsts = {int(sequences.lengths[row]) for row in range(40)}
    assert {len(line) for line in lines} <= firsts
    text = next(text.get_text() for text in axis.texts if text.get_text().startswith("1: "))
    low, high = map(float, text[3:].split(" to "))
    encoding = data.encoding
    values = sequences.values.double().numpy()[:, 0] * encoding.scale[0] + encoding.mean[0]
    assert values.min() - 0.01 <= low < 1
    assert 5 < high <= values.max() + 0.01
    for line in lines:
        assert (line[:, 0] == np.arange(1, len(line) + 1)).all()
    # One of the lines is found again in the data, up to the linear scale of its band.
    line = lines[0][:, 1]
    matches = [
        np.allclose(np.corrcoef(-line, sequences.values[start : start + length, 0])[0, 1], 1)
        for start, length in zip(sequences.starts.tolist(), sequences.lengths.tolist(), strict=True)
        if length == len(line)
    ]
    assert any(matches)


def test_bars_count_the_classes_of_each_split():
    data = arrays(["a"] * 10 + ["b"] * 30, test=([np.ones((3, 2))] * 5, ["b"] * 5))
    _, figure = figure_of(data)
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[2].patches]
    assert bars == [(0, 24), (0, 8), (24, 6), (8, 2), (30, 5), (10, 0)]  # the rarer class is last
    assert {"train", "val", "test"} <= set(drawn(figure))


def test_histogram_counts_the_lengths():
    data = arrays(["a", "b"] * 30)
    splits, figure = figure_of(data)
    for split, patch in zip(("train", "train", "val", "val"), figure.axes[1].patches, strict=True):
        assert patch.get_data().values.sum() == len(splits[split].lengths)


CASES = {
    "one feature, long": (["a", "b"] * 5, {"width": 1, "lengths": (2000, 3000)}),
    "eight features": (["a", "b"] * 10, {"width": 8}),
    "many features": (["a", "b"] * 10, {"width": 40}),
    "many classes": ([f"c{i}" for i in range(30)] * 3, {}),
    "more classes than bars": ([f"c{i}" for i in range(45)] * 3, {}),
    "long names": ([20 * "long " + str(i % 3) for i in range(30)], {}),
    "names in any script": (["$x^2$", "_", "\u8d70\u308b", "a\nb"] * 10, {}),
    "single steps": (["a", "b"] * 10, {"lengths": (1, 2)}),
    "two sequences": (["a", "b"], {"val_fraction": 0}),
}


@pytest.mark.parametrize("case", CASES)
def test_figure_is_readable(case):
    labels, options = CASES[case]
    _, figure = figure_of(arrays(labels, **options))
    assert drawn(figure)
    assert not overlapping(figure.axes[0])
    assert not overlapping(figure.axes[2])
    assert max(figure.get_size_inches()) < 12


def test_constant_feature_is_a_line_in_the_middle():
    values = np.zeros((2, 5, 2))
    values[..., 0] = 7
    values[..., 1] = np.arange(5)
    places, ranges = scaled(values, np.ones((2, 5), dtype=bool))
    assert (places[..., 0] == 0.5).all()
    assert ranges.tolist() == [[7, 0], [7, 4]]
    assert places[0, :, 1].tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_outliers_and_padding_do_not_set_the_scale():
    values = np.linspace(0, 1, 1000).reshape(1, -1, 1)
    values[0, 0] = -1e6
    values[0, -100:] = 1e9  # padding
    values[0, 5] = np.nan
    mask = np.arange(1000)[None] < 900
    places, ranges = scaled(values, mask)
    assert 0 < ranges[0, 0] < 0.02
    assert 0.88 < ranges[1, 0] < 0.9
    assert places[0, 0] == 0
    assert np.isnan(places[0, 5])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_no_numbers_can_be_drawn(value):
    inputs = torch.randn(6, 5, 2, dtype=torch.float64)
    inputs[:3, :, 0] = value
    batch = Batch(inputs, torch.tensor([0.0, 1.0] * 3), torch.full((6,), 5))
    to_png(data_figure({"train": batch}, DataNames("binary", ("a", "b"))))


def test_tokens_have_the_colours_of_the_most_frequent():
    inputs = torch.tensor([[1, 1, 1, 2, 2, 3], [1, 4, 5, 6, 7, 8], [9, 10, 11, 12, 1, 0]])
    batch = Batch(inputs, torch.zeros(3), torch.tensor([6, 6, 5]))
    entries, places = token_colours(batch, [str(token) for token in range(13)])
    assert entries[:2] == [Entry("1", "C0"), Entry("2", "C1")]
    assert entries[-1].text == "3 others"
    assert places[1] == 0
    assert places[0] == 9  # only in padding


def test_sequences_of_tokens_are_drawn():
    rng = np.random.default_rng(0)
    for length, texts in ((5, True), (60, False)):
        inputs = [list(rng.choice(["A", "C", "G", "T"], length)) for _ in range(20)]
        data = SequenceArrays(inputs, ["x", "y"] * 10)
        _, figure = figure_of(data)
        found = drawn(figure)
        assert (found.count("A") > 1) == texts
        assert len(figure.axes[0].images) == 8


def test_task_and_unknown_targets_can_be_drawn():
    data = SyntheticSequences(SumSign(), num_train=40, num_val=20)
    figure = data_figure({split: data.split(split) for split in ("train", "val")}, names_of(data))
    assert "train" in drawn(figure)
    unknown = data.split("train")._replace(targets=torch.full((40,), torch.nan))
    assert "no label" in drawn(data_figure({"predict": unknown}, names_of(data)))


def test_labels_of_steps_are_drawn_below_them():
    data = SyntheticSequences(RunningParity(min_length=3, max_length=9), num_train=40, num_val=20)
    figure = data_figure({split: data.split(split) for split in ("train", "val")}, names_of(data))
    assert "classes: steps" in drawn(figure)
    steps = data.split("train").lengths.sum() + data.split("val").lengths.sum()
    assert sum(bar.get_width() for bar in figure.axes[2].patches) == steps
    strips = [image for image in figure.axes[0].images if image.get_zorder() == 2]
    batch = data.split("train")
    assert len(strips) == 6
    assert strips[0].get_array()[0].tolist() == batch.targets[0, : batch.lengths[0]].tolist()


def test_numbers_as_targets_are_drawn_in_their_own_units():
    targets = torch.randn(50, 2)
    batch = Batch(torch.randn(50, 6, 1), targets, torch.full((50,), 6))
    names = DataNames("regression", ("weight", "size"), target_mean=(100.0, 0.0), target_scale=(10.0, 1.0))
    figure = data_figure({"train": batch}, names)
    drawn(figure)
    values = 100 + 10 * targets[:, 0].double()
    labels = [float(text.get_text()) for text in figure.axes[0].get_yticklabels()]
    assert labels == sorted(labels)
    assert labels[0] == pytest.approx(float(values.min()), rel=0.01)
    assert labels[-1] == pytest.approx(float(values.max()), rel=0.01)
    counts, edges, _ = figure.axes[2].patches[0].get_data()
    assert counts.sum() == 50
    assert (edges[0], edges[-1]) == pytest.approx((float(values.min()), float(values.max())))


def test_labels_of_several_are_drawn_each():
    labels = [["loud"] * (i % 2) + ["fast"] * (i % 4 == 0) for i in range(40)]
    _, figure = figure_of(arrays(labels))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["fast", "loud"]


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_other_formats(suffix):
    _, figure = figure_of(arrays(["a", "b"] * 10))
    assert to_file(figure, suffix)[:5] in (b"<?xml", b"%PDF-")


def test_places_and_legend():
    bands = bands_of([2, 1])
    assert bands.tops == pytest.approx([0, 1.1, 2.6])
    assert bands.centres == pytest.approx([1.05, 3.1])
    width = text_width(10 * "w", 8) + 0.19 + text_width("i", 8)
    lines = legend_lines([Entry(10 * "w", "C0"), Entry(10 * "w", "C1"), Entry("i", "C2")], width)
    assert [[entry.colour for _, entry in line] for line in lines] == [["C0"], ["C1", "C2"]]
