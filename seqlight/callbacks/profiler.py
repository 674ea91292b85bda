"""The profiler of the command line."""

import contextlib
from typing import Any

from lightning.pytorch.profilers import PassThroughProfiler


class NoProfiler(PassThroughProfiler):
    """A profiler that measures nothing, at no cost.

    Lightning's PassThroughProfiler creates a generator for each of the fifty parts of a training step.
    """

    _NOTHING = contextlib.nullcontext()

    def profile(self, action_name: str) -> Any:
        """A context that does nothing; the same object each time."""
        return self._NOTHING
