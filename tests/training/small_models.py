"""Small models and quiet Trainers for the tests of this folder."""

from functools import partial
from pathlib import Path

import lightning.pytorch as pl

from seqlight import GRUCell, SequenceClassifier


def trainer(folder, **options):
    defaults = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "gradient_clip_val": 1.0,
        "logger": False,
        "default_root_dir": folder,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**defaults, **options})


def model_for(data, **options):
    return SequenceClassifier(
        partial(GRUCell, hidden_size=16),
        input_size=data.input_size,
        vocab_size=data.vocab_size,
        target=data.target,
        num_outputs=data.num_outputs,
        **options,
    )


def curves(folder):
    """The rows of a CSVLogger, each as a dictionary."""
    rows = (Path(folder) / "metrics.csv").read_text().splitlines()
    names = rows[0].split(",")
    return [{n: float(v) for n, v in zip(names, row.split(","), strict=True) if v} for row in rows[1:]]
