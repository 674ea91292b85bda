"""Text of the width of a terminal."""

import shutil
import sys
import textwrap


def fitted(text: str, indent: str = "  ") -> str:
    """The text with lines as long as the terminal is wide; unchanged if standard output is a file or a pipe.

    Args:
        text: lines.
        indent: what a part of a line begins with that does not fit into the one above.
    """
    if not sys.stdout.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 40)
    return "\n".join(wrapped(line, width, indent) for line in text.split("\n"))


def wrapped(line: str, width: int, indent: str = "  ") -> str:
    """A line, broken between words where it would be longer than `width`."""
    if len(line) <= width:
        return line
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
