"""Random changes of checkpoint archives: each is read to the value that torch reads, or refused by ArchiveError.

Bytes are changed anywhere, and instructions of the pickle are dropped, repeated, swapped and given other arguments, in
archives whose checksums are right again.
"""

import collections
import contextlib
import io
import itertools
import pickletools
import random
import resource
import time
import warnings
import zipfile

import pytest
import torch
from torch import nn

from seqlight.checkpoints.archive import ArchiveError, unpack

CASES = [pytest.param(seed, 250, id=f"{seed}") for seed in range(3)] + [
    pytest.param(seed, 20_000, marks=pytest.mark.long, id=f"long {seed}") for seed in range(3, 6)
]
SECONDS, MEGABYTES = 5, 400  # many times what any change takes: a limit for what would never end


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def base():
    """A small checkpoint with most kinds of values."""
    whole = torch.arange(6.0)
    return {
        "state_dict": nn.BatchNorm1d(3).state_dict(),
        "views": [whole, whole[1:3], whole.view(2, 3).T, nn.Parameter(torch.ones(2))],
        "types": [torch.ones(2).to(torch.float8_e5m2), torch.ones(2, dtype=torch.uint16), torch.eye(2).to_sparse()],
        "counts": collections.Counter({3: 2, 2**70: 1}),
        "sets": [{1, (2, 0.5)}, bytearray(b"ab\xff"), b"\xff", torch.Size([2]), torch.device("cpu"), 1j, torch.int8],
        "plain": {"a": [1, -1, 300, 0.1, None, True, "text"], 0.5: (1, 2, 3, 4), (1, "b"): {}},
    }


def with_pickle(archive, pickle):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(buffer, "w") as after:
        for entry in before.infolist():
            content = pickle if entry.filename.endswith("/data.pkl") else before.read(entry)
            after.writestr(entry.filename, content)
    return buffer.getvalue()


def pickle_of(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as entries:
        return entries.read(next(name for name in entries.namelist() if name.endswith("/data.pkl")))


def changed_bytes(content, rng):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(content))
        change = rng.randrange(4)
        if change == 0:
            content[place] = rng.randrange(256)
        elif change == 1:
            del content[place : place + rng.choice([1, 4, 100])]
        elif change == 2:
            content[place:place] = rng.randbytes(rng.choice([1, 4, 50]))
        else:
            content[place : place + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, (2**31 - 1).to_bytes(4, "little")])
    return bytes(content)


def changed_instructions(pickle, rng):
    places = [place for _, _, place in pickletools.genops(pickle)] + [len(pickle)]
    parts = [pickle[start:end] for start, end in itertools.pairwise(places)]
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, other = rng.randrange(1, len(parts) - 1), rng.randrange(1, len(parts) - 1)
        change = rng.randrange(5)
        if change == 0:
            parts[at] = b""
        elif change == 1:
            parts[at] = parts[at] * rng.choice([2, 3])
        elif change == 2:
            parts[at], parts[other] = parts[other], parts[at]
        elif change == 3:
            parts[at] = parts[other]
        else:
            numbers = [b"K\0", b"K\x03", b"J\xff\xff\xff\xff", b"J\xff\xff\xff\x7f", b"N", b")", b"]", b"}"]
            parts[at] = rng.choice(numbers)
    return b"".join(parts)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:invalid escape sequence:DeprecationWarning")
@pytest.mark.parametrize(("seed", "number"), CASES)
def test_changed_archives_are_read_as_torch_reads_them_or_refused(seed, number):
    rng, content = random.Random(seed), saved(base())
    pickle = pickle_of(content)
    assert saved(unpack(content)) == saved(torch.load(io.BytesIO(content), weights_only=True))
    before, read = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    only_here = 0
    for _ in range(number):
        kind = rng.randrange(4)
        if kind == 0:
            changed = changed_bytes(content, rng)
        elif kind == 1:
            changed = with_pickle(content, changed_bytes(pickle, rng))
        else:
            changed = with_pickle(content, changed_instructions(pickle, rng))
        began = time.thread_time()
        try:
            value = unpack(changed)
        except ArchiveError:
            continue
        finally:
            assert time.thread_time() - began < SECONDS
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * MEGABYTES
        read += 1
        if kind == 0:  # the checksums protect the values; torch does not check them
            assert saved(value) == saved(unpack(content))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = torch.load(io.BytesIO(changed), weights_only=True)
            except Exception:  # torch checks names and parts that do not matter here
                only_here += 1
                continue
        assert repr(value) == repr(expected)
        with contextlib.suppress(TypeError):  # torch sets hooks that it can't save
            assert saved(expected) == saved(value)
    assert read > number / 50  # some changes leave a valid archive
    assert only_here < number / 100
