"""Where an error was raised."""

import os
import sys
import traceback


def error_files(error: BaseException) -> list[str]:
    """The files in an error's traceback; the last one raised it."""
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def is_in(file: str, package: str) -> bool:
    """Whether a file belongs to an imported package. Parts of paths can't tell: users name folders "torch", too."""
    place = getattr(sys.modules.get(package), "__file__", None)
    return place is not None and file.startswith(os.path.dirname(place) + os.sep)
