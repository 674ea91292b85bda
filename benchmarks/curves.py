"""Draw the README's picture: three cells learn the adding task, and what their answer depends on.

python benchmarks/curves.py docs/curves.png
"""

import sys
import tempfile
from functools import partial

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqlight import Adding, ElmanCell, GRUCell, LSTMCell, SequenceClassifier, SyntheticSequences

LENGTH = 20


def main(path: str) -> None:
    torch.set_num_threads(1)
    figure = Figure(figsize=(9, 2.8), dpi=180, layout="constrained")
    loss_axis, accuracy_axis, influence_axis = figure.subplots(1, 3)
    for name, cell in {"RNN": ElmanCell, "LSTM": LSTMCell, "GRU": GRUCell}.items():
        pl.seed_everything(0)  # as `seqlight fit`, so these are the README's runs
        data = SyntheticSequences(Adding(max_length=LENGTH), num_train=3000)
        model = SequenceClassifier(partial(cell, hidden_size=32), input_size=2)
        with tempfile.TemporaryDirectory() as folder:
            train(model, data, folder)
            events = EventAccumulator(folder).Reload()
            for axis, tag in ((loss_axis, "train/loss"), (accuracy_axis, "val/accuracy")):
                points = events.Scalars(tag)
                axis.plot([p.step for p in points], [p.value for p in points], label=name, linewidth=1.2)
        influence_axis.semilogy(range(LENGTH)[::-1], influence(model, data), label=name, linewidth=1.2)
    accuracy_axis.axhline(0.5, color="gray", linewidth=0.8, linestyle=":", label="guessing")
    for axis, title in ((loss_axis, "training loss"), (accuracy_axis, "validation accuracy")):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("training step", fontsize=8)
    influence_axis.set_title("|d logit / d input|", fontsize=10)
    influence_axis.set_xlabel("time steps before the end", fontsize=8)
    influence_axis.invert_xaxis()
    influence_axis.set_xticks([19, 15, 10, 5, 0])
    for axis in (loss_axis, accuracy_axis, influence_axis):
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    accuracy_axis.legend(fontsize=8)
    figure.savefig(path)


def train(model: SequenceClassifier, data: SyntheticSequences, folder: str) -> None:
    pl.Trainer(
        max_epochs=10,
        gradient_clip_val=1.0,
        logger=TensorBoardLogger(folder, name=None, version="", default_hp_metric=False),
        log_every_n_steps=10,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
    ).fit(model, data)


def influence(model: SequenceClassifier, data: SyntheticSequences) -> list[float]:
    """The norm of d logit / d x_t for each time step t, as the median over the validation sequences."""
    batch = data.split("val")
    inputs = batch.inputs.clone().requires_grad_()
    model.eval()(inputs, batch.lengths).sum().backward()
    assert inputs.grad is not None
    medians: list[float] = inputs.grad.norm(dim=-1).median(0).values.tolist()
    return medians


if __name__ == "__main__":
    main(sys.argv[1])
