"""Checks of arguments. The messages name the argument, its value and what was expected."""

import math
import numbers
import operator

_MAX = 2**31 - 1


def check_at_least(name: str, value: int, minimum: int, minimum_name: str = "") -> None:
    """Raise TypeError unless `value` is an integer, ValueError unless it is from `minimum` to 2^31 - 1."""
    try:
        operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if value < minimum:
        bound = f"{minimum_name} ({minimum})" if minimum_name else f"{minimum}"
        raise ValueError(f"{name} must be at least {bound}, got {value}")
    if value > _MAX:
        raise ValueError(f"{name} must be at most {_MAX}, got {value}")


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError unless 0 <= `value` < 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {value}")


def check_finite(name: str, value: float) -> None:
    """Raise TypeError unless `value` is a real number, ValueError if it is infinite or NaN."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
