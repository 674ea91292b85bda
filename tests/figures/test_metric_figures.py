"""The schedule of TensorBoard figures, the batches that they support, and their text."""

import io
import warnings
from dataclasses import dataclass
from itertools import pairwise

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from sklearn.metrics import roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional
from torchmetrics import ROC

from seqlight import (
    AccuracyByLength,
    Batch,
    Parity,
    SequenceClassifier,
    SequenceLoader,
    SumSign,
    SyntheticSequences,
    TensorBoardFigures,
)
from seqlight.callbacks import length_accuracy, tensorboard_figures
from seqlight.callbacks.logger import CurvesLogger
from seqlight.callbacks.tensorboard_figures import add_figures
from seqlight.figures.canvas import to_png
from seqlight.figures.metric_figures import confusion_figure, length_figure, memory_figure, roc_figure
from seqlight.training.length_accuracy import LengthBucket

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")
SET = [f"val_figures/{name}" for name in ("confusion_matrix", "memory", "reliability", "roc")]


@pytest.fixture
def written(monkeypatch):
    """Names and steps of the figures written to TensorBoard, besides that of the data."""
    written = []

    def add(trainer, group, figures, step):
        written.extend((f"{group}/{name}", step) for name in figures if name != "data")

    monkeypatch.setattr(tensorboard_figures, "add_figures", add)
    return written


@pytest.fixture
def undrawn(monkeypatch):
    for name in ("confusion_figure", "roc_figure", "memory_figure", "reliability_figure", "data_figure"):
        monkeypatch.setattr(tensorboard_figures, name, lambda *_: None)


class StopAfter(pl.Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


def trainer(folder, *more, **options):
    return pl.Trainer(
        accelerator="cpu",
        callbacks=list(more),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": TensorBoardLogger(folder), **options},
    )


def steps_of(written):
    """The step of each set of figures."""
    assert [name for name, _ in sorted(written)] == sorted(SET * (len(written) // 4))
    return sorted({step for _, step in written})


ENDLESS = {"max_epochs": -1}


@pytest.mark.parametrize(
    ("every", "epochs", "options", "expected"),
    [
        (0, 3, {}, []),
        (1, 3, {}, [4, 8, 12]),
        (2, 5, {}, [8, 16, 20]),
        (2, 6, {}, [8, 16, 24]),
        (None, 3, {}, [12]),
        (None, 9, {}, [12, 20, 36]),
        (None, 5, {"val_check_interval": 1}, [10, 20]),
        (None, 4, {"check_val_every_n_epoch": 3}, [12]),
        (None, 9, ENDLESS, [12, 20, 36]),
        (4, 5, ENDLESS, [16, 20]),
        (None, 5, {"max_epochs": None, "max_time": "00:01:00:00"}, [12, 20]),
        (None, 5, {"max_epochs": 1000}, [12, 20]),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_figures_are_drawn_on_schedule(every, epochs, options, expected, written, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard_figures, "_LONG_RUN", 10)
    data = SyntheticSequences(SumSign(max_length=3), num_train=16, num_val=16, batch_size=4)
    model = SequenceClassifier(input_size=1, lr_schedule="constant")
    options = {"max_epochs": epochs, **options}
    trainer(tmp_path, TensorBoardFigures(every), StopAfter(epochs), **options, num_sanity_val_steps=-1).fit(model, data)
    assert steps_of(written) == sorted(expected)


@pytest.mark.parametrize(
    ("every", "options", "validations", "memories"),
    [
        (None, {"val_check_interval": 3}, [11, 19], [(11, 3), (20, 5)]),
        (2, {"check_val_every_n_epoch": 3}, [12], [(20, 5)]),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_memory_after_the_last_validation_is_that_of_the_last_step(
    every, options, validations, memories, written, tmp_path, monkeypatch
):
    monkeypatch.setattr(tensorboard_figures, "_LONG_RUN", 10)
    places = []
    monkeypatch.setattr(tensorboard_figures, "memory_figure", lambda _, where, __: places.append(where))
    data = SyntheticSequences(SumSign(max_length=3), num_train=16, num_val=16, batch_size=4)
    model = SequenceClassifier(input_size=1, lr_schedule="constant")
    options = {"max_epochs": 5, **options}
    trainer(tmp_path, TensorBoardFigures(every), StopAfter(5), **options).fit(model, data)
    assert [step for name, step in written if "confusion" in name] == validations
    assert [step for name, step in written if "memory" in name] == [step for step, _ in memories]
    assert [place.split(", ")[1] for place in places] == [f"epoch {epoch}" for _, epoch in memories]


@pytest.mark.usefixtures("undrawn")
def test_resumed_run_draws_the_figures_that_are_left(written, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard_figures, "_LONG_RUN", 10)
    data = SyntheticSequences(SumSign(max_length=3), num_train=16, num_val=16, batch_size=4)
    first = trainer(tmp_path, TensorBoardFigures(), StopAfter(4), max_epochs=9)
    first.fit(SequenceClassifier(input_size=1), data)
    first.save_checkpoint(tmp_path / "last.ckpt")
    assert steps_of(written) == [12, 16]
    written.clear()
    second = trainer(tmp_path, TensorBoardFigures(), max_epochs=9)
    second.fit(SequenceClassifier(input_size=1), data, ckpt_path=tmp_path / "last.ckpt")
    assert steps_of(written) == [20, 36]


def test_state_of_an_earlier_version_can_be_loaded():
    callback = TensorBoardFigures()
    callback.load_state_dict({"validations": 3, "tenths": 2})
    assert callback.state_dict() == {"doublings": 0}


@pytest.mark.parametrize("scale", [1, 2])
def test_picture_has_twice_the_pixels(scale, tmp_path):
    """And TensorBoard's reader finds it."""
    figure = confusion_figure(torch.tensor([[3, 1], [0, 4]]))
    size = figure.get_size_inches() * 80
    assert imread(io.BytesIO(to_png(figure, scale))).shape == (*(size[::-1] * scale).astype(int), 4)
    owner = trainer(tmp_path)
    add_figures(owner, "group", {"name": figure}, 7)
    owner.logger.finalize("success")
    events = EventAccumulator(owner.logger.log_dir).Reload()
    [image] = events.Images("group/name")
    assert image.step == 7
    assert imread(io.BytesIO(image.encoded_image_string)).shape[:2] == tuple((size[::-1] * 2).astype(int))
    assert figure.dpi == 80  # so that it has its size in a notebook


@pytest.mark.parametrize(("every", "sets"), [(None, 1), (7, 1), (0, 0)])
@pytest.mark.usefixtures("undrawn")
def test_validate_draws_one_set_of_figures(every, sets, written, tmp_path):
    data = SyntheticSequences(SumSign(max_length=3), num_val=64)
    trainer(tmp_path, TensorBoardFigures(every)).validate(SequenceClassifier(input_size=1), data, verbose=False)
    assert len(written) == len(SET) * sets


def test_padding_that_is_not_a_token_is_ignored(written, tmp_path):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 7, (16,), generator=generator)
    tokens = torch.randint(3, (16, 6), generator=generator).masked_fill(torch.arange(6) >= lengths[:, None], -1)
    loader = SequenceLoader(Batch(tokens, torch.arange(16.0) % 2, lengths), 8)
    trainer(tmp_path, TensorBoardFigures(), max_epochs=1).fit(SequenceClassifier(vocab_size=3), loader, loader)
    assert steps_of(written) == [2]


@dataclass(frozen=True)
class Named(SumSign):
    class_names = ("negative", "positive")


def test_figures_use_the_class_names_of_the_data(written, tmp_path, monkeypatch):
    drawn = []
    for figure in ("confusion_figure", "roc_figure"):
        monkeypatch.setattr(tensorboard_figures, figure, lambda _, names, *rest: drawn.append(tuple(names)))
    data = SyntheticSequences(Named(max_length=3), num_val=16)
    trainer(tmp_path, TensorBoardFigures()).validate(SequenceClassifier(input_size=1), data, verbose=False)
    assert drawn == 2 * [("negative", "positive")]


def boxes(texts):
    """The bounding boxes of the non-empty texts on the canvas."""
    return [text.get_window_extent() for text in texts if text.get_text()]


@pytest.mark.parametrize("num_classes", [2, 4, 10, 12, 13, 30, 120])
def test_names_and_counts_do_not_overlap(num_classes):
    names = [f"$class$ {number} {'x' * (number % 17)}" for number in range(num_classes)]
    figure = confusion_figure(12345 * torch.eye(num_classes, dtype=torch.int64), names)
    FigureCanvasAgg(figure).draw()
    [axis] = figure.axes
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [label.get_text() for label in axis.get_xticklabels()]
    assert len(labels) > 24 or len(labels) == num_classes
    assert all(len(label) <= 16 for label in labels)
    assert labels[0] == "$class$ 0"
    for above, below in pairwise(boxes(axis.get_yticklabels())):
        assert above.y0 > below.y1
    for left, right in pairwise(boxes(axis.get_xticklabels())):
        assert left.x1 < right.x0
    assert len(axis.texts) == (num_classes**2 if num_classes <= 12 else 0)
    for box in boxes(axis.texts):
        assert box.width < axis.get_window_extent().width / num_classes


@pytest.mark.parametrize("num_labels", [1, 4, 6, 9])
def test_each_label_has_its_matrix(num_labels):
    names = [f"label {number}" for number in range(num_labels)]
    figure = confusion_figure(torch.ones(num_labels, 2, 2, dtype=torch.int64), names)
    FigureCanvasAgg(figure).draw()
    assert [axis.get_title() for axis in figure.axes if axis.axison] == names[:8]


def test_shortened_names_stay_distinct():
    names = [f"a very long name of a class, number {number}" for number in range(12)]
    [axis] = confusion_figure(torch.eye(12, dtype=torch.int64), names).axes
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert len(set(labels)) == 12
    assert all(len(label) <= 16 for label in labels)


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel"])
def test_roc_curves_are_named_after_their_classes(target):
    names = ("_$a$", "b")  # matplotlib would hide the first, and read it as a formula
    probabilities = torch.tensor([0.2, 0.4, 0.6, 0.7])
    targets = torch.tensor([0, 1, 0, 1])  # three of the four pairs of a 0 and a 1 are in the right order
    if target != "binary":
        probabilities = torch.stack((1 - probabilities, probabilities), 1)
    if target == "multilabel":
        targets = torch.stack((1 - targets, targets), 1)
    roc = ROC(task=target, num_classes=2, num_labels=2)
    roc.update(probabilities, targets)
    figure = roc_figure(roc.compute(), names)
    assert is_inside(figure)
    expected = ["area 0.7500"] if target == "binary" else ["_$a$: area 0.7500", "b: area 0.7500"]
    assert legend_of(figure) == [*expected, "chance: area 0.5"]


def lines_of(axis):
    return {line.get_label(): line for line in axis.lines}


def is_inside(figure):
    """Whether everything that is drawn lies within the figure."""
    FigureCanvasAgg(figure).draw()
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


LONG_RUN = "a-run-with-a-name-of-eighty-characters-" + "WMWMW" * 8 + "/version_0, epoch 10"


@pytest.mark.parametrize(
    ("curve", "reach"),
    [
        (torch.logspace(0, -3.99, 41), "GRUCell above 1 % for 20 steps back"),
        (torch.linspace(1, 0.5, 11), "GRUCell above 1 % for all 10 steps back"),
        (torch.full((5,), torch.nan), "GRUCell not measurable"),
        (torch.ones(1), "GRUCell above 1 % for all 0 steps back"),
        (torch.tensor([1.0, 0.0]), "GRUCell above 1 % for 0 steps back"),
    ],
)
@pytest.mark.parametrize("with_band", [True, False])
def test_memory_figure_says_what_it_shows(curve, reach, with_band):
    curves = torch.stack((curve / 2, curve, curve * 2)) if with_band else curve
    figure = memory_figure({"GRUCell": curves}, LONG_RUN, "64 sequences of 41 steps")
    assert is_inside(figure)
    assert " ".join(figure.get_suptitle().split()).startswith(f"Memory: {reach} a-run")
    [caption] = [" ".join(text.get_text().split()) for text in figure.texts if text.get_text().startswith("How much")]
    assert caption.endswith(f"Median{' and quartiles' if with_band else ''} of 64 sequences of 41 steps.")
    [axis] = figure.axes
    shown = torch.from_numpy(lines_of(axis)["GRUCell"].get_ydata())
    torch.testing.assert_close(shown, curve.double().masked_fill(curve == 0, torch.nan), equal_nan=True)
    assert lines_of(axis)["1 %"].get_ydata()[0] == 0.01
    assert len(axis.collections) == with_band
    left, right = axis.get_xlim()
    assert left >= right
    assert all(float(tick).is_integer() for tick in axis.get_xticks())
    low, high = axis.get_ylim()
    assert 1e2 * 0.999 <= high / low <= 1e8 * 1.001
    assert not any("$" in label.get_text() for label in axis.get_yticklabels())


def legend_of(figure):
    return [entry.get_text() for entry in figure.axes[0].get_legend().get_texts()]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_confusion_matrix_is_coloured_by_row(kind):
    """A rare class must not be pale."""
    counts = {
        "binary": torch.tensor([[900, 100], [2, 8]]),
        "multiclass": torch.tensor([[900, 100, 0], [0, 0, 0], [1, 1, 8]]),
        "multilabel": torch.tensor([[[900, 100], [2, 8]], [[5, 0], [0, 0]]]),
    }[kind]
    figure = confusion_figure(counts, where=LONG_RUN)
    assert is_inside(figure)
    matrices = counts if kind == "multilabel" else counts[None]
    for axis, matrix in zip(figure.axes, matrices, strict=True):
        [image] = axis.images
        assert image.get_clim() == (0, 1)
        total = matrix.sum(1, keepdim=True).numpy()
        expected = np.where(total > 0, matrix.numpy() / np.maximum(total, 1), np.nan)
        np.testing.assert_allclose(image.get_array().filled(np.nan), expected)
        assert [int(text.get_text()) for text in axis.texts] == matrix.flatten().tolist()
        for text, share in zip(axis.texts, expected.flatten(), strict=True):
            assert text.get_color() == ("white" if share > 0.6 else "black")
    title = " ".join(figure.get_suptitle().split())
    diagonal = sum(int(matrix.trace()) for matrix in matrices)
    assert f"accuracy {diagonal / int(counts.sum()):.4f} of {int(counts.sum())} " in title
    assert title.replace(" ", "").endswith(LONG_RUN.replace(" ", ""))
    assert any("Grey" in text.get_text() for text in figure.texts) == (kind != "binary")


@pytest.mark.parametrize("num_classes", [2, 3, 7, 20])
def test_roc_areas_equal_sklearn(num_classes):
    """Also of probabilities that are close to 0 and 1, and without a curve for a class that does not occur."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(num_classes - 1, (300,), generator=generator)
    scores = torch.randn(300, num_classes, generator=generator) + functional.one_hot(targets, num_classes)
    probabilities = (8 * scores.double()).softmax(1)
    roc = ROC(task="multiclass", num_classes=num_classes)
    roc.update(probabilities, targets)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No .* samples in targets")
        rates = roc.compute()
    names = [f"class number {index} with a long name" for index in range(num_classes)]
    figure = roc_figure(rates, names, LONG_RUN)
    assert is_inside(figure)
    *entries, chance = legend_of(figure)
    assert chance == "chance: area 0.5"
    found = [entry.partition(": ")[2] for entry in entries]
    if num_classes == 2:  # all are of one class
        assert found == ["undefined"] * 2
        assert "mean area undefined" in figure.get_suptitle().replace("\n", " ")
        return
    areas = [roc_auc_score(targets == index, probabilities[:, index]) for index in range(num_classes - 1)]
    assert found == [*(f"area {area:.4f}" for area in areas), "undefined"]
    title = " ".join(figure.get_suptitle().split())
    number = f"mean area {np.mean(areas):.4f} of {num_classes - 1}, the others are undefined"
    assert title.startswith(f"Receiver operating characteristic (ROC): {number} a-run")
    [axis] = figure.axes
    assert len(axis.lines[num_classes - 1].get_xdata()) == 0
    assert axis.lines[-1].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert {line.get_linestyle() for line in axis.lines[:-1]} == ({"-"} if num_classes < 20 else {"-", ":"})


@pytest.mark.parametrize("widths", [[(41 + 20 * index, 60 + 20 * index) for index in range(8)], [(2, 2), (3, 3)]])
@pytest.mark.parametrize("chance", [None, 0.53])
def test_length_figure(widths, chance):
    buckets = [LengthBucket(*width, 100 + 10 * index, 1 - index / 10) for index, width in enumerate(widths)]
    figure = length_figure(buckets, chance, LONG_RUN)
    assert is_inside(figure)
    accuracy = np.average([each.accuracy for each in buckets], weights=[each.num_sequences for each in buckets])
    total = sum(each.num_sequences for each in buckets)
    assert figure.get_suptitle().startswith(f"Accuracy by length: {accuracy:.4f} of {total} sequences\na-run")
    [axis] = figure.axes
    left, right = axis.get_xlim()
    assert left < min(bar.get_x() for bar in axis.patches)
    assert right > max(bar.get_x() + bar.get_width() for bar in axis.patches)
    assert axis.get_ylim()[1] > 1
    assert all(float(tick).is_integer() for tick in axis.get_xticks())
    assert [list(line.get_ydata()) for line in axis.lines] == ([] if chance is None else [[chance, chance]])
    assert any("chance, 0.5300" in text.get_text() for text in figure.texts) == (chance is not None)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that a Trainer draws, by name."""
    found = {}

    def add(trainer, group, figures, step):
        found.update({f"{group}/{name}": (figure, step) for name, figure in figures.items()})

    monkeypatch.setattr(tensorboard_figures, "add_figures", add)
    monkeypatch.setattr(length_accuracy, "add_figures", add)
    return found


def titles_of(drawn):
    return {name: (" ".join(figure.get_suptitle().split()), step) for name, (figure, step) in drawn.items()}


def test_titles_name_run_and_epoch(drawn, tmp_path):
    """The epoch is that of the training, or of the checkpoint that is tested."""
    data = SyntheticSequences(Parity(min_length=2, max_length=5), num_train=16, num_val=16, num_test=16, batch_size=4)
    callbacks = TensorBoardFigures(inside_cell=True), AccuracyByLength()
    logger = CurvesLogger(tmp_path, name="name", version=3)
    owner = trainer(tmp_path, *callbacks, max_epochs=2, logger=logger)
    model = SequenceClassifier(vocab_size=2)
    owner.fit(model, data)
    found = titles_of(drawn)
    title, step = found.pop("val_figures/data")
    assert title.endswith(" 16 of train name/version_3")
    assert step == 0
    assert set(found) == {*SET, "val_figures/inside_cell"}
    assert all(title.endswith("name/version_3, epoch 2") and step == 8 for title, step in found.values())
    assert f"accuracy {owner.callback_metrics['val/accuracy']:.4f} of 16" in found["val_figures/confusion_matrix"][0]
    assert f"area {owner.callback_metrics['val/auroc']:.4f}" in found["val_figures/roc"][0]
    error = owner.callback_metrics["val/calibration_error"]
    assert f"calibration error {error:.4f}" in found["val_figures/reliability"][0]
    assert "64 sequences of 50 steps" in " ".join(
        text.get_text().replace("\n", " ") for text in drawn["val_figures/memory"][0].texts
    )
    owner.save_checkpoint(tmp_path / "a.ckpt")
    drawn.clear()

    for options in ({}, {"ckpt_path": tmp_path / "a.ckpt"}):
        fresh = trainer(tmp_path, *callbacks, logger=CurvesLogger(tmp_path, name="name", version=4))
        [results] = (fresh if options else owner).test(model, data, verbose=False, **options)
        found, name = titles_of(drawn), "name/version_4" if options else "name/version_3"
        names = ("confusion_matrix", "roc", "reliability", "accuracy_by_length")
        assert set(found) == {f"test_figures/{each}" for each in names}
        for title, step in found.values():
            assert (title[-len(name) - 9 :], step) == (f"{name}, epoch 2", 8)
        for name in ("confusion_matrix", "accuracy_by_length"):
            assert f"{results['test/accuracy']:.4f} of 16" in found[f"test_figures/{name}"][0]
        drawn.clear()


def test_title_of_a_model_without_training_has_no_epoch(drawn, tmp_path):
    data = SyntheticSequences(SumSign(max_length=3), num_val=16)
    owner = trainer(tmp_path, TensorBoardFigures(), logger=TensorBoardLogger(tmp_path, name="name", version=3))
    owner.validate(SequenceClassifier(input_size=1), data, verbose=False)
    assert all(title.endswith("name/version_3") and step == 0 for title, step in titles_of(drawn).values())


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel"])
def test_class_that_does_not_occur_raises_no_warning(target, drawn, tmp_path):
    """torchmetrics warns about the area of such a class in `val/auroc`; the figure says that it is undefined."""
    size = {"binary": 1, "multiclass": 3, "multilabel": 2}[target]
    targets = torch.zeros(8, 2) if target == "multilabel" else torch.zeros(8)
    targets = targets.long() if target == "multiclass" else targets
    loader = SequenceLoader(Batch(torch.randn(8, 4, 1), targets, torch.full((8,), 4)), 4)

    class OwnMetrics(SequenceClassifier):
        def on_test_epoch_end(self):
            pass

    model = OwnMetrics(input_size=1, target=target, num_outputs=size)
    trainer(tmp_path, TensorBoardFigures()).test(model, loader, verbose=False)
    figure, _ = drawn["test_figures/roc"]
    assert is_inside(figure)
    assert "undefined" in figure.get_suptitle()


@pytest.mark.parametrize("name", ["日本", "\u200b", "\U0001f600", "a$b$c", "_x", " "])
def test_names_in_any_script_raise_no_warning(name):
    to_png(confusion_figure(torch.eye(2, dtype=torch.int64), [name, "b"], name))
    roc = [torch.tensor([0.0, 1])] * 2, [torch.tensor([0.0, 1])] * 2
    to_png(roc_figure(roc, [name, "b"], name))


@pytest.mark.usefixtures("undrawn")
def test_results_of_an_earlier_checkpoint_are_drawn_at_its_step(written, tmp_path):
    """By the Trainer that has trained further, and only those."""
    data = SyntheticSequences(SumSign(max_length=3), num_train=16, num_val=16, num_test=16, batch_size=4)
    model = SequenceClassifier(input_size=1)
    logger = CurvesLogger(tmp_path, name="name", version=0)
    one = trainer(tmp_path, TensorBoardFigures(0), max_epochs=1, logger=logger)
    one.fit(model, data)
    one.save_checkpoint(tmp_path / "first.ckpt")
    one.fit_loop.max_epochs = 3
    one.fit(model, data)
    one.callbacks[0].every_n_epochs = None
    for path, step in ((tmp_path / "first.ckpt", 4), (None, 12)):
        written.clear()
        one.test(model, data, ckpt_path=path, verbose=False)
        assert {each for _, each in written} == {step}
    events = EventAccumulator(str(tmp_path / "name" / "version_0")).Reload()
    assert {event.step for event in events.Scalars("test/accuracy")} == {4, 12}


@pytest.mark.parametrize(("every", "drawn"), [(None, [("data", 0)]), (0, [])])
@pytest.mark.usefixtures("undrawn")
def test_data_are_drawn_once_before_training(every, drawn, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(tensorboard_figures, "data_figure", lambda splits, *_: figures.append([*splits]))
    added = []
    monkeypatch.setattr(
        tensorboard_figures, "add_figures", lambda _, __, figures, step: added.extend((name, step) for name in figures)
    )
    data = SyntheticSequences(SumSign(max_length=3), num_train=16, num_val=16, batch_size=4)
    model = SequenceClassifier(input_size=1)
    owner = trainer(tmp_path, TensorBoardFigures(every), max_epochs=2)
    owner.fit(model, data)
    assert [each for each in added if each[0] == "data"] == drawn
    assert figures == [["train", "val"]] * len(drawn)
    owner.fit_loop.max_epochs = 3
    owner.fit(model, data)  # goes on
    assert len(figures) == len(drawn)
