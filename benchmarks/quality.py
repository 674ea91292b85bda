"""Accuracy of seqlight's defaults: last epoch, validation split, over seeds.

The seed determines both the data and the weights. With --data_seed all runs have the same data, like the runs of
`seqlight fit --seed_everything N`, whose data have seed 0.
"""

import argparse
import logging
import statistics
import warnings

import lightning.pytorch as pl
import torch

from seqlight import ElmanCell, GRUCell, LSTMCell, SequenceClassifier, SumSign, SyntheticSequences

# Median and worst accuracy of the prototype of these defaults, over seeds 0 to 7.
TARGETS = {ElmanCell: (0.975, 0.965), LSTMCell: (0.978, 0.966), GRUCell: (0.985, 0.973)}


def accuracy(cell: type, seed: int, data_seed: int) -> float:
    """Validation accuracy after training with the defaults of `seqlight fit`."""
    pl.seed_everything(seed, verbose=False)
    data = SyntheticSequences(SumSign(), seed=data_seed)
    model = SequenceClassifier(cell, input_size=data.input_size)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=10,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data)
    return float(trainer.callback_metrics["val/accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8, help="number of seeds")
    parser.add_argument("--data_seed", type=int, default=None, help="one data seed for all runs; by default it varies")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(1)

    print(f"{'':10} {'median':>8} {'worst':>8}   target    accuracy by seed")
    for cell, (median, worst) in TARGETS.items():
        reached = [
            accuracy(cell, seed, seed if arguments.data_seed is None else arguments.data_seed)
            for seed in range(arguments.seeds)
        ]
        print(
            f"{cell.__name__:10} {statistics.median(reached):8.4f} {min(reached):8.4f}   {median:.3f} ({worst:.3f})  ",
            " ".join(f"{value:.3f}" for value in reached),
            flush=True,
        )


if __name__ == "__main__":
    main()
