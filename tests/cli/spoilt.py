"""A task with values that are not finite."""

import math
from dataclasses import dataclass

from seqlight import SequenceTask, SumSign


@dataclass(frozen=True)
class Spoilt(SequenceTask):
    """SumSign, with NaN in samples 3 and 7."""

    input_size = 1

    def sample(self, num_samples, rng):
        batch = SumSign().sample(num_samples, rng)
        batch.inputs[[3, 7], 0] = math.nan
        return batch
