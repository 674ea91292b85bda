"""Draw the README's picture: the curves of three cells at the defaults, and how far back their memory reaches.

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

from seqlight import ElmanCell, GRUCell, LSTMCell, SequenceClassifier, SumSign, SyntheticSequences, memory_curve


def main(path: str) -> None:
    torch.set_num_threads(1)
    figure = Figure(figsize=(9, 2.8), dpi=90, layout="constrained")
    loss_axis, accuracy_axis, memory_axis = figure.subplots(1, 3)
    for cell in (ElmanCell, LSTMCell, GRUCell):
        pl.seed_everything(0)
        model = SequenceClassifier(partial(cell, hidden_size=32), input_size=1)
        with tempfile.TemporaryDirectory() as folder:
            logger = TensorBoardLogger(folder, name=None, version="", default_hp_metric=False)
            pl.Trainer(
                max_epochs=10,
                gradient_clip_val=1.0,
                logger=logger,
                log_every_n_steps=10,
                enable_checkpointing=False,
                num_sanity_val_steps=0,
                accelerator="cpu",
            ).fit(model, SyntheticSequences(SumSign()))
            events = EventAccumulator(folder).Reload()
            for axis, tag in ((loss_axis, "train/loss"), (accuracy_axis, "val/accuracy")):
                points = events.Scalars(tag)
                axis.plot([p.step for p in points], [p.value for p in points], label=cell.__name__, linewidth=1.2)
                axis.set_title(tag, fontsize=10)
                axis.set_xlabel("step")
        # On sequences ten times as long as the training sequences.
        curve = memory_curve(model, SyntheticSequences(SumSign(max_length=100)).split("test"))
        memory_axis.semilogy(curve.numpy(), label=cell.__name__, linewidth=1.2)
    memory_axis.set_title("relative influence of a step", fontsize=10)
    memory_axis.set_xlabel("steps before the end")
    memory_axis.invert_xaxis()
    for axis in (loss_axis, accuracy_axis, memory_axis):
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    loss_axis.legend(fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    main(sys.argv[1])
