"""Names of classes and sequences."""

import math
import re
from collections.abc import Callable

from seqlight.common.text import encodable

_INTEGRAL = re.compile(r"([+-]?\d+)\.0*")
_SCIENTIFIC = re.compile(r"[+-]?\d\.\d+e[+-]\d\d+", re.IGNORECASE | re.ASCII)  # as numpy.savetxt writes numbers
_WHOLE_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)

TRUTH = {"0": False, "1": True, "false": False, "true": True}  # class names, in small letters


def as_text(value: object) -> str:
    """A value as text; whole numbers have no decimal point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def is_missing(value: object) -> bool:
    """Whether a value is missing: None, empty text or NaN."""
    return value is None or value == "" or value != value


def is_whole_number(name: str) -> bool:
    """Whether the name of a class is a whole number."""
    return _WHOLE_NUMBER.fullmatch(name) is not None


def class_name(value: object) -> str:
    """The name of a class, without blanks around it: 1, 1.0 and "1 " are the same."""
    text = as_text(value).strip()
    if _SCIENTIFIC.fullmatch(text) and float(text).is_integer():
        text = as_text(float(text))
    integral = _INTEGRAL.fullmatch(text)
    return integral[1] if integral else encodable(text)


def to_label(value: object, required: bool, error: Callable[[str, object], Exception]) -> str | None:
    """The class name for a value from a file, or None if the value is missing.

    Args:
        value: text or a number.
        required: whether a missing value is an error.
        error: makes an exception from what was expected and what was found.

    Raises:
        Exception: from `error`, if a required value is missing or a number has decimals.
    """
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        if required:
            raise error("a label", "none")
        return None
    if isinstance(value, float) and not value.is_integer():
        raise error('a class: text or an integer (for a number to predict: `target="regression"`)', value)
    return class_name(value)


def to_number(value: object, required: bool, error: Callable[[str, object], Exception]) -> str | None:
    """The text of a number to predict, or None if the value is missing. The arguments are those of `to_label`.

    Raises:
        Exception: from `error`, if a required value is missing or is no finite number.
    """
    if is_missing(value) or (isinstance(value, str) and value.strip().lower() in ("", "nan", "na", "?")):
        if required:
            raise error("a number to predict", "none")
        return None
    try:
        number = float(str(value).strip())
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise error('a finite number (`target="regression"`)', value)
    return as_text(number)
