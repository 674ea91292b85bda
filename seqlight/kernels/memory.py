"""What a cell's `update` can change: a kernel computes all steps by one expression, so an update has no memory."""

import inspect
import random
import sys
from collections import deque
from collections.abc import Container, Iterator
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor, nn

from seqlight.cells.cell import GatedCell
from seqlight.common.private_torch import module_internals, own_members
from seqlight.kernels.recorder import UnsupportedUpdateError

_INTERNAL = module_internals()
_MOST_PARTS, _MOST_LEVELS = 1000, 4


class ChangingUpdateError(UnsupportedUpdateError):
    """An `update` changes values that later calls can read, so one expression can't be all its steps."""


def memory_of(cell: GatedCell) -> dict[str, Any]:
    """The attributes and variables that an `update` can read, each with something to compare its value by.

    These are the attributes of the cell and its modules, and the variables of `update` and of the user's functions and
    methods that it calls: global variables of a module, variables of an enclosing function, and default arguments.

    Raises:
        UnsupportedUpdateError: if a variable is random or an iterator, or too large to be compared.
    """
    found, functions = {}, [cell.update]
    for path, module in cell.named_modules():
        parameters, buffers, _ = own_members(module)
        for name, value in (*vars(module).items(), *parameters.items(), *buffers.items()):
            if name not in _INTERNAL:
                found["the attribute " + ".".join(filter(None, (path, name)))] = _comparable(name, value)
                functions += [value] if is_users(value) else []
    for name, value in _variables(functions, type(cell)).items():
        found[f"the variable {name}"] = _comparable(name, value)
    return found


def is_users(value: Any) -> bool:
    """Whether a value, or else its class, is a class or function outside Python's own, torch, NumPy and seqlight."""
    has_module = isinstance(value, type | FunctionType)
    module = str((value if has_module else type(value)).__module__).partition(".")[0]
    return module not in ("torch", "numpy", "seqlight") and (has_module or module not in sys.stdlib_module_names)


def _variables(functions: list[Any], owner: type) -> dict[str, Any]:
    """The variables outside some functions that they, and the user's functions that they call, can read.

    Args:
        functions: the functions or methods.
        owner: the class whose methods they can call.
    """
    found: dict[str, Any] = {}
    waiting, seen = list(functions), set()
    while waiting:
        function = waiting.pop()
        function = inspect.unwrap(function) if callable(function) else function
        function = getattr(function, "__func__", function)
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        variables = inspect.getclosurevars(function)
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = dict(zip(reversed(names), reversed(function.__defaults__ or ()), strict=False))
        defaults |= function.__kwdefaults__ or {}
        for name, value in {**variables.globals, **variables.nonlocals, **defaults}.items():
            _check_variable(name, value, variables.unbound)
            found[name] = value
            waiting += [value] if is_users(value) else []
        # `unbound` has the names of attributes, such as those of methods.
        methods = [vars(base).get(name) for base in owner.__mro__ for name in variables.unbound]
        waiting += [method for method in methods if isinstance(method, FunctionType) and is_users(method)]
    return found


def _check_variable(name: str, value: Any, attributes: Container[str]) -> None:
    of_generator = isinstance(getattr(value, "__self__", None), random.Random | np.random.RandomState)
    of_numpy = value is np.random or (value is np and "random" in attributes)
    if value is random or of_generator or of_numpy:
        raise UnsupportedUpdateError(f"update() uses random numbers ({name})")
    if isinstance(value, Iterator):
        raise ChangingUpdateError(f"update() reads the iterator {name}, which would be constant in a kernel")


def _comparable(name: str, value: Any) -> Any:
    """A value to compare memory by: it changes if the given value is replaced, or one of its parts."""
    left = _MOST_PARTS

    def compare(value: Any, level: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise UnsupportedUpdateError(f"its {name} is too large to see whether update() changes it")
        if isinstance(value, bool | int | float | complex | str | bytes | bytearray):
            return type(value), repr(value)
        if isinstance(value, np.ndarray):
            return type(value), value.tobytes()
        parts: Any = ()
        if isinstance(value, dict):
            parts = [*value, *value.values()]
        elif isinstance(value, list | tuple | set | frozenset | deque):
            parts = value
        elif isinstance(value, SimpleNamespace) or (
            is_users(value) and not isinstance(value, FunctionType | Tensor | nn.Module)
        ):
            attributes = {name: part for name, part in getattr(value, "__dict__", {}).items() if name[:2] != "__"}
            parts = [*attributes, *attributes.values()]
        within = [compare(part, level + 1) for part in parts] if level < _MOST_LEVELS else []
        return _Same(value), *within

    return compare(value, 0)


class _Same:
    """Equal to another of these if both have the same object. It keeps the object, so that none takes its place."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]
