"""Digests of sequences, by which equal ones are found."""

import hashlib

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from seqlight.data.reading.raw import RawSequences


def digests_of(raw: RawSequences) -> Int64[Tensor, "sequences 2"]:
    """A digest of each sequence's inputs, as they were read: of numbers in float64, or of tokens as text.

    Nearby numbers differ, even if they are equal in float32. The sign of 0 does not count.
    """
    # Positions in the file's own list of tokens can't be compared with those of another file.
    table = None if raw.tokens is None else np.frombuffer(b"".join(map(_digest_of_text, raw.tokens)), np.int64)
    digests = bytearray()
    ends = np.cumsum(raw.lengths)
    for start, end in zip((ends - raw.lengths).tolist(), ends.tolist(), strict=True):
        steps = raw.values[start:end]
        steps = np.add(steps, 0.0, order="C") if table is None else table[steps]  # -0.0 + 0.0 is 0.0
        digests += hashlib.blake2b(steps.data, digest_size=16).digest()
    return torch.frombuffer(digests, dtype=torch.int64).reshape(-1, 2)


def _digest_of_text(token: str) -> bytes:
    return hashlib.blake2b(token.encode(errors="surrogatepass"), digest_size=8).digest()
