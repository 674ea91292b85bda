"""A model in evaluation mode, while the model itself keeps the mode of each of its submodules."""

import contextlib
import copy
import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn
from torchmetrics import Metric

from seqlight.common.private_torch import own_members, separate_call, uncompiled

Model = TypeVar("Model", bound=nn.Module)


def evaluating(model: Model) -> contextlib.AbstractContextManager[Model]:
    """The model itself if all its modules are in evaluation mode, else a copy as in `evaluation_copy`."""
    is_training = any(module.training for module in model.modules())
    return evaluation_copy(model) if is_training else contextlib.nullcontext(model)


@contextlib.contextmanager
def evaluation_copy(model: Model) -> Iterator[Model]:
    """A copy of a model in evaluation mode that shares its tensors; the model's own modes don't change in any thread.

    Modes are attributes of modules, so the modules are copied. References to them are replaced in their attributes, and
    within lists, tuples, dicts, bound methods, partials and closures there, but not in objects of other classes.
    Attributes that the copy's methods set are set on the model at the end.
    """
    copies: dict[int, nn.Module] = {}
    _add_copies(model, copies)
    modules = [module for module in model.modules() if id(module) in copies]
    pairs = [
        (module, copies[id(module)])
        for module in modules
        if uncompiled(module) is module and not isinstance(module, torch.jit.ScriptModule)
    ]
    for module, replica in pairs:
        vars(replica).update((name, _swap(value, copies)) for name, value in dict(vars(module)).items())
        separate_call(replica)
        vars(replica)["training"] = False
    before = [(dict(vars(replica)), dict(own_members(replica)[2])) for _, replica in pairs]
    try:
        yield copies[id(model)]  # type: ignore[misc] # of the same class
    finally:
        # In reverse: a module that is compiled has the copy of its original.
        originals = {id(copies[id(module)]): module for module in reversed(modules)}
        for (module, replica), old in zip(pairs, before, strict=True):
            own = (vars(module), vars(replica)), (own_members(module)[2], own_members(replica)[2])
            for (values, new), known in zip(own, old, strict=True):
                changed = {name: value for name, value in new.items() if known.get(name, known) is not value}
                values.update((name, _swap(value, originals)) for name, value in changed.items())


def _add_copies(module: nn.Module, copies: dict[int, nn.Module]) -> None:
    """Add an empty copy of each module. torchmetrics' metrics, which have results and no mode, are not copied."""
    if id(module) in copies or isinstance(module, Metric):
        return
    if isinstance(module, torch.jit.ScriptModule):  # its mode is not in Python
        copies[id(module)] = copy.deepcopy(module).eval()
        return
    original = uncompiled(module)
    if original is not module:  # compiled code keeps the mode that it was compiled for
        _add_copies(original, copies)
        copies[id(module)] = copies[id(original)]
        return
    copies[id(module)] = object.__new__(type(module))
    for child in module.children():
        _add_copies(child, copies)


def _swap(value: Any, copies: dict[int, nn.Module]) -> Any:
    """The value with modules replaced by their copies; the value itself if it holds none."""
    return _Swap(copies).of(value)


class _Swap:
    """Replace modules in nested values. A value that contains itself is not searched twice."""

    def __init__(self, copies: dict[int, nn.Module]) -> None:
        self._copies = copies
        self._open: set[int] = set()

    def of(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return self._copies.get(id(value), value)
        if type(value) not in _KINDS or id(value) in self._open:
            return value
        take_apart, put_together = _KINDS[type(value)]
        self._open.add(id(value))
        parts = take_apart(value)
        swapped = [self.of(part) for part in parts]
        self._open.remove(id(value))
        same = all(new is old for new, old in zip(swapped, parts, strict=True))
        return value if same else put_together(value, swapped)


_EMPTY = object()


def _contents(function: types.FunctionType) -> list[Any]:
    """The values in a function's closure."""
    found: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(_EMPTY)
    return found


def _with_contents(function: types.FunctionType, contents: list[Any]) -> types.FunctionType:
    """A function with other values in its closure."""
    cells = tuple(types.CellType(*[] if content is _EMPTY else [content]) for content in contents)
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__ = function.__kwdefaults__
    vars(made).update(vars(function))
    return made


# How a value of each type is taken apart, and put together from other parts.
_KINDS: dict[type, tuple[Callable[[Any], list[Any]], Callable[[Any, list[Any]], Any]]] = {
    list: (list, lambda _, parts: parts),
    tuple: (list, lambda _, parts: tuple(parts)),
    dict: (lambda value: [*value.values()], lambda value, parts: dict(zip(value, parts, strict=True))),
    OrderedDict: (lambda value: [*value.values()], lambda value, parts: OrderedDict(zip(value, parts, strict=True))),
    types.MethodType: (
        lambda method: [method.__self__],
        lambda method, parts: types.MethodType(method.__func__, *parts),
    ),
    functools.partial: (
        lambda partial: [partial.func, partial.args, partial.keywords],
        lambda _, parts: functools.partial(parts[0], *parts[1], **parts[2]),
    ),
    types.FunctionType: (_contents, _with_contents),
}
