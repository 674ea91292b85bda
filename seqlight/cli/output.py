"""The file that predict writes."""

import os
from collections.abc import Iterable

from seqlight.cli.usage import UsageError


def check_output(output: str, sources: Iterable[str | None]) -> None:
    """Whether predictions would not take the place of the data.

    Raises:
        UsageError: if they would.
    """
    given = [path for path in sources if path and os.path.exists(path)]
    if os.path.exists(output) and any(os.path.samefile(path, output) for path in given):
        raise UsageError(f"--output: expected another file than those of the data, got {output!r}")
