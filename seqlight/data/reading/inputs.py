"""The kind of a file's inputs: tokens or features."""

from pathlib import Path
from typing import Literal

Inputs = Literal["auto", "features", "tokens"]


def integers_guessed(path: Path, as_tokens: bool) -> str:
    """A line about the guess for integers, which can be tokens or a feature, and how to change it."""
    found, other, value = ("tokens", "a feature", "features") if as_tokens else ("a feature", "tokens", "tokens")
    return f'{path}: integers are read as {found}; as {other} with `inputs="{value}"`'
