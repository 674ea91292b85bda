"""Tables of single time steps and of all steps so far, for the baselines of labels per step."""

import numpy as np
import torch

from seqlight.common.steps import positions
from seqlight.data.sequences import Sequences
from seqlight.data.streams import Purpose, generator

_MOST_NUMBERS = 2**24  # in the table from which rows are chosen


def num_affordable(data: Sequences, width: int) -> int:
    """The number of sequences with so many steps as a table of this width can hold, at least 1."""
    per_sequence = max(1, int(data.lengths.sum()) // len(data.lengths)) * width
    return max(1, _MOST_NUMBERS // per_sequence)


def step_tables(
    data: Sequences, token_columns: np.ndarray | None, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For at most `most` steps, chosen at random: the step (N, W), the bag of steps so far, and the target.

    The bag is the position, and the counts of tokens or the sums and means of features up to the step.

    Args:
        data: sequences with a label per step.
        token_columns: the column of each token, (V,); None for features.
        most: the largest number of rows.
    """
    places = data.places()
    width = int(token_columns.max()) + 1 if token_columns is not None else data.values.shape[-1]
    places = places[: max(1, _MOST_NUMBERS // width)]
    values = data.values.cpu()[places].numpy()
    if token_columns is None:
        steps = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    else:
        steps = np.eye(width)[token_columns[values]]
    position = positions(data.lengths)[: len(places)].numpy()
    chosen = np.arange(len(places))
    if len(places) > most:
        chosen = np.sort(generator(Purpose.BASELINES, seed=0).choice(len(places), most, replace=False))
    # Zeros before the first step, from which sums of later sequences begin, too.
    sums = np.vstack([np.zeros((1, width)), steps.cumsum(axis=0)])
    sums = sums[chosen + 1] - sums[chosen + 1 - position[chosen]]
    counted = position[chosen, None].astype(np.float64)
    bag = np.hstack([counted, sums] if token_columns is not None else [counted, sums, sums / counted])
    targets = data.targets.cpu()[places[torch.from_numpy(chosen)]]
    return steps[chosen], bag, targets.numpy()
