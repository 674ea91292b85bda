"""Rising or falling frequency of a noisy sine."""

from dataclasses import dataclass

import numpy as np

from seqlight.common.batch import Batch
from seqlight.common.validation import check_finite
from seqlight.tasks.sampling import allowed_lengths, draw_lengths, to_batch, true_steps
from seqlight.tasks.task import Baselines, SequenceTask, TaskExample

_LOWEST, _HIGHEST, _CHANGE = 0.02, 0.2, 0.08  # cycles per time step


@dataclass(frozen=True, kw_only=True)
class FrequencySign(SequenceTask):
    """Rising or falling frequency of a noisy sine.

    A sine of unit amplitude and random phase, whose frequency changes linearly over the sequence, plus normal noise.
    Label 1 if the frequency rises, 0 if it falls. Its first and last values are uniform from 0.02 to 0.2 cycles per
    time step, and at least 0.08 apart. The classes are balanced by symmetry: each is the other in reverse order.
    The random phase makes single values and all linear functions of the values useless. A cell must measure a
    frequency early and late, and compare. A GRU with 32 units learns it from 5000 sequences in 15 epochs.

    Source: this project; linear chirps are textbook signals of time-frequency analysis.

    Args:
        min_length: shortest length in time steps, at least 20. Lengths are uniform.
        max_length: longest length in time steps; the padded T.
        noise: standard deviation of the noise, at least 0; that of the sine is 0.71.
    """

    min_length: int = 50
    max_length: int = 100
    noise: float = 0.3

    input_size = 1
    class_names = ("falls", "rises")
    measured = (({}, Baselines(majority=0.5, last_symbol=0.5, bag_of_symbols=0.5)),)
    example = TaskExample(data={"num_train": 5000}, cell="GRUCell")

    def __post_init__(self) -> None:
        check_finite("noise", self.noise)
        if self.noise < 0:
            raise ValueError(f"noise must be at least 0, got {self.noise}")
        self._lengths()

    def _lengths(self) -> range:
        return allowed_lengths(self.min_length, self.max_length, fewest=20)

    def sample(self, num_samples: int, rng: np.random.Generator) -> Batch:
        """Inputs (B, T, 1), targets (B,)."""
        lengths = draw_lengths(rng, num_samples, self._lengths())
        # Uniform over all pairs at least _CHANGE apart: draw a pair from a smaller range and move the higher value up.
        pair = rng.uniform(_LOWEST, _HIGHEST - _CHANGE, (num_samples, 2))
        rises = pair[:, 1] > pair[:, 0]
        start, end = pair[:, 0] + _CHANGE * ~rises, pair[:, 1] + _CHANGE * rises
        phase = rng.random(num_samples)
        # The phase in cycles is the integral of the frequency.
        steps = np.arange(self.max_length, dtype=np.float32)
        slope = (end - start) / (2 * (lengths - 1))
        cycles = (slope.astype(np.float32)[:, None] * steps + start.astype(np.float32)[:, None]) * steps
        cycles += phase.astype(np.float32)[:, None]
        values = np.sin(np.float32(2 * np.pi) * (cycles - np.floor(cycles)))
        values += np.float32(self.noise) * rng.standard_normal(values.shape, dtype=np.float32)
        values *= true_steps(lengths, self.max_length)
        return to_batch(values[..., None], rises, lengths)
