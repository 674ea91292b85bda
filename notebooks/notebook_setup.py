"""What the notebooks share. It is no part of seqlight.

`start()` runs at the top of each notebook. Everything that a notebook writes goes to a temporary folder, which is
deleted when its kernel stops.
"""

import os
import tempfile

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlight

# Arguments of a Trainer: on the CPU, and without output while it trains.
QUIET = {
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}

_folders = []  # each exists as long as the kernel


def start():
    """Work in a temporary folder, on one thread, without the lines that Lightning logs."""
    _folders.append(tempfile.TemporaryDirectory(prefix="seqlight-"))
    os.chdir(_folders[-1].name)
    torch.set_num_threads(1)  # two threads of such small models would mostly wait for each other
    seqlight.quiet_lightning()


def read_curves(folder):
    """Read the scalars of a run: {tag: (steps, values)}."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: keep all points
    events.Reload()
    points = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return {tag: ([each.step for each in found], [each.value for each in found]) for tag, found in points.items()}
