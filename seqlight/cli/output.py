"""Standard output and error that can't stop a command."""

import errno
import io
import os
import sys
from typing import Any, TextIO


class _Descriptor(io.FileIO):
    """A file descriptor to which writing never fails: after an error, what is written is lost.

    Attributes:
        error: the first error, or None. A reader that has seen enough, as in `seqlight cells | head -1`, is none.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write the data, or lose it."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EPIPE and self.error is None:
                self.error = error
            return len(data)


def use_safe_output() -> None:
    """Replace standard output and error: they show what they can't encode as escapes, and writing never fails.

    A closed one writes to nothing, so that no file that is opened later gets its number.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    sys.stdout, sys.stderr = _safe(sys.stdout, 1), _safe(sys.stderr, 2)


def output_error() -> OSError | None:
    """Why a part of standard output is lost; None if nothing is."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Descriptor) else None


def _safe(stream: TextIO | None, descriptor: int) -> TextIO:
    if isinstance(stream, io.TextIOWrapper) and stream.fileno() != descriptor:
        stream.reconfigure(errors="backslashreplace")
        return stream  # a caller's own
    encoding = "utf-8" if stream is None else stream.encoding
    raw = _Descriptor(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=descriptor == 2 or raw.isatty()
    )
