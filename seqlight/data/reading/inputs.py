"""Whether a file's inputs are tokens or features."""

from pathlib import Path
from typing import Literal

Inputs = Literal["auto", "features", "tokens"]


def integers_guessed(path: Path, as_tokens: bool) -> str:
    """The line that says what integers, which may be either, are taken for, and how to change that."""
    found, other, flag = ("tokens", "a feature", "features") if as_tokens else ("a feature", "tokens", "tokens")
    return f"{path}: integers as {found}; as {other} with --data.inputs {flag}"
