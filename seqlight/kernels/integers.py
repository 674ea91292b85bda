"""Bools and integers in an `update`. A kernel computes them as floating-point numbers."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_TRUTHS = set("eq ne lt le gt ge logical_and logical_or logical_not isnan".split())
EXACT = 2**24  # up to here, float32 represents all integers


def largest(operation: str, operands: tuple[Any, ...], known: Sequence[float]) -> float:
    """The largest absolute value of an expression of bools and integer constants; inf if it has other parts.

    Args:
        operation: as in `Program.nodes`.
        operands: as in `Program.nodes`.
        known: the largest absolute values of the expressions before.
    """
    if operation == "constant":
        return abs(float(operands[0]))
    if operation in _TRUTHS:
        return 1
    if operation in ("add", "sub"):
        return float(sum(known[operand] for operand in operands))
    if operation == "mul":
        return float(math.prod(known[operand] for operand in operands))
    if operation in ("neg", "abs", "maximum", "minimum", "where"):
        return float(max(known[operand] for operand in (operands[1:] if operation == "where" else operands)))
    return math.inf


def is_bool(value: Any) -> bool:
    """Whether a number or tensor is of bools."""
    return isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == torch.bool)


def as_type(value: Any, tensor: Tensor) -> Any:
    """A number as an element of the tensor: in a tensor of bools, 2 is True. A tensor stays as it is."""
    if tensor.is_floating_point() or isinstance(value, Tensor):
        return value
    return bool(value) if tensor.dtype == torch.bool else int(value)
