"""Text from files, checkpoints and other people, in messages and on the terminal.

Control characters could delete what stands above, change its order, or begin a line that looks like seqlight's own.
"""

import contextlib
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Any

# C0, DEL and C1; separators of lines and paragraphs; changes of the direction; surrogates, which have no encoding.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: object) -> str:
    """Text on one line, with Python's escapes in place of control characters."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def visible(text: str, indent: str = "") -> str:
    """Text with control characters as escapes, except for the ends of lines; all lines but the first are indented."""
    return f"\n{indent}".join(map(one_line, text.split("\n")))


def show(*parts: str, file: Any = None) -> None:
    """Print the parts, with an empty line between them. Text from others in them has been through `one_line`."""
    print("\n\n".join(map(visible, parts)), file=file)


def show_exception(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    """Print a traceback, as `sys.excepthook`."""
    print(visible("".join(traceback.format_exception(kind, error, place)).rstrip()), file=sys.stderr)


@contextlib.contextmanager
def libraries_show_text() -> Iterator[None]:
    """Let the warnings and log messages of all libraries be shown with escapes."""
    format_warning, make_record = warnings.formatwarning, logging.getLogRecordFactory()

    def formatted(*args: Any, **kwargs: Any) -> str:
        return visible(format_warning(*args, **kwargs).rstrip("\n"), "  ") + "\n"

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = make_record(*args, **kwargs)
        with contextlib.suppress(TypeError, ValueError):  # logging reports arguments that do not fit the message
            made.msg, made.args = visible(made.getMessage(), "  "), ()
        return made

    warnings.formatwarning = formatted
    logging.setLogRecordFactory(record)
    try:
        yield
    finally:
        warnings.formatwarning = format_warning
        logging.setLogRecordFactory(make_record)


def encodable(text: str) -> str:
    """Text with escapes in place of lone surrogates, which Python has for undecodable names of files."""
    return text.encode("utf-8", "backslashreplace").decode()
