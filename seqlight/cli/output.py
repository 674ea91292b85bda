"""The output file of `seqlight predict`."""

import os
from collections.abc import Iterable

from seqlight.cli.usage import UsageError


def check_output(output: str, sources: Iterable[str | None]) -> None:
    """Raise UsageError if predictions would overwrite a data file.

    Args:
        output: the file to write.
        sources: the data files; None for one that is not given.
    """
    given = [path for path in sources if path and os.path.exists(path)]
    if os.path.exists(output) and any(os.path.samefile(path, output) for path in given):
        raise UsageError(f"--output: expected a path that is not a data file, got {output!r}")
