"""Streams of random numbers: one for each purpose, seed and index, and no two alike."""

from enum import IntEnum
from typing import Any

import numpy as np

from seqlight.common.errors import CheckpointError

STREAMS = 2  # the version of the streams; a checkpoint from before versions has the streams of version 1


class Purpose(IntEnum):
    """The purpose of random numbers. Values are part of the streams: they are never changed or used again."""

    TRAIN = 0  # a block of training samples
    VAL = 1  # a block of validation samples
    TEST = 2  # a block of test samples
    VAL_SPLIT = 3  # the validation sequences of a training file; the index is 0
    ORDER = 4  # the order of the training samples in an epoch
    BASELINES = 5  # the choice of sequences to which simple models are fitted
    MEMORY = 6  # the sequences of the memory figure


def generator(purpose: Purpose, seed: int, index: int = 0, streams: int = STREAMS) -> np.random.Generator:
    """A generator at the start of the stream that these arguments choose.

    Args:
        purpose: the purpose of the numbers.
        seed: the user's seed.
        index: the block or the epoch.
        streams: the version of the streams.
    """
    if purpose is Purpose.VAL_SPLIT:
        # The same in all versions: a sequence that a model was trained with must not become a validation sequence.
        key = np.random.SeedSequence((seed, purpose))
    elif streams == 1:
        key = np.random.SeedSequence((seed, index) if purpose is Purpose.ORDER else (seed, purpose, index))
    else:
        # SeedSequence ignores zeros at the end of its first argument, which made streams of version 1 coincide.
        key = np.random.SeedSequence(seed, spawn_key=(purpose, index))
    return np.random.Generator(np.random.Philox(key))


def streams_of(contents: dict[str, Any]) -> int:
    """The version of the streams that a checkpoint was trained with.

    Args:
        contents: the entry `seqlight` of the checkpoint.

    Raises:
        CheckpointError: if this version of seqlight does not have these streams.
    """
    streams = contents.get("streams", 1)
    if type(streams) is not int or not 1 <= streams <= STREAMS:
        raise CheckpointError(
            f"the checkpoint needs version {streams!r:.20} of the random streams, and there are 1 to {STREAMS} here: "
            "a later version of seqlight wrote it"
        )
    return streams
