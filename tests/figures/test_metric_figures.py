"""The schedule of TensorBoard figures, the batches that they support, and their text."""

import io
from dataclasses import dataclass
from itertools import pairwise

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchmetrics import ROC

from seqlight import (
    Batch,
    SequenceClassifier,
    SequenceLoader,
    SumSign,
    SyntheticSequences,
    TensorBoardFigures,
)
from seqlight.callbacks import tensorboard_figures
from seqlight.callbacks.tensorboard_figures import add_figures
from seqlight.figures.canvas import to_png
from seqlight.figures.metric_figures import confusion_figure, memory_figure, roc_figure

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")
SET = ["val_figures/confusion_matrix", "val_figures/memory", "val_figures/roc"]


@pytest.fixture
def written(monkeypatch):
    """Names and steps of the figures written to TensorBoard."""
    written = []

    def add(trainer, group, figures, step):
        written.extend((f"{group}/{name}", step) for name in figures)

    monkeypatch.setattr(tensorboard_figures, "add_figures", add)
    return written


@pytest.fixture
def undrawn(monkeypatch):
    for name in ("confusion_figure", "roc_figure", "memory_figure"):
        monkeypatch.setattr(tensorboard_figures, name, lambda *_: None)


class StopAfter(pl.Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


def trainer(folder, *more, **options):
    return pl.Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder),
        callbacks=list(more),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def steps_of(written):
    """The step of each set of figures."""
    assert [name for name, _ in sorted(written)] == sorted(SET * (len(written) // 3))
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
        (None, 5, {"val_check_interval": 3}, [11, 19]),
        (None, 4, {"check_val_every_n_epoch": 3}, [12]),
        (2, 5, {"check_val_every_n_epoch": 3}, [12]),
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
    assert len(written) == 3 * sets


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
        monkeypatch.setattr(tensorboard_figures, figure, lambda _, names: drawn.append(tuple(names)))
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
    figure = roc_figure(roc, names)
    FigureCanvasAgg(figure).draw()
    entries = [entry.get_text() for entry in figure.axes[0].get_legend().get_texts()]
    assert entries == (["AUC=0.750"] if target == "binary" else ["_$a$ AUC=0.750", "b AUC=0.750"])


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
