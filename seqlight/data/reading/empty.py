"""Sequences without time steps."""

from pathlib import Path

from seqlight.data.reading.options import Empty
from seqlight.data.reading.raw import DataError


def empty_sequences(number: int, total: int, first: str, path: Path, empty: Empty) -> tuple[str, ...]:
    """A remark on sequences that were left out, if there are any.

    Args:
        number: the number of empty sequences.
        total: the number of sequences in the file, with these.
        first: the position of the first of them, for messages.
        path: the file.
        empty: as in `Options`.

    Raises:
        DataError: there are some and they are not to be skipped, or all are empty.
    """
    if not number:
        return ()
    counted = f"{number} of {total} sequences {'has' if number == 1 else 'have'} no time steps"
    if number < total and empty == "skip":
        return (f"{path}: {counted} and {'is' if number == 1 else 'are'} left out",)
    way_out = f': `empty="skip"` leaves {"it" if number == 1 else "them"} out' if number < total else ""
    raise DataError(f"{first}: expected at least one time step, got a sequence of length 0", counted + way_out)
