"""Conversion of classes and their arguments to plain data and back.

Opening a checkpoint must not run code from it. If a model was given `partial(GRUCell, hidden_size=64)`, the
checkpoint therefore holds `{"class_path": "seqlight.GRUCell", "init_args": {"hidden_size": 64}}`. Configuration files
have the same form.
"""

import functools
import inspect
import sys
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch

from seqlight.common.errors import ShownError
from seqlight.common.private_jsonargparse import bound_class
from seqlight.common.text import encodable

_PACKAGE = "seqlight"


class Describable:
    """Base class of cells and tasks: classes that a description can name together with their arguments.

    Attributes:
        described_by: "class" if a description means the class with bound arguments, which creates objects later, as
            for cells; "instance" if it means an object, as for tasks.
    """

    described_by: ClassVar[Literal["class", "instance"]]


@runtime_checkable
class HasHyperparameters(Protocol):
    """A LightningModule or LightningDataModule."""

    @property
    def hparams(self) -> Any:
        """The saved arguments."""

    def save_hyperparameters(self, *, frame: Any, logger: bool, ignore: Any) -> None:
        """Save the arguments of `__init__`."""


class NotImportedError(ShownError, LookupError):
    """A class path in a module that has not been imported; `module` is the module's name."""

    def __init__(self, class_path: str, module: str) -> None:
        super().__init__(f"{class_path!r} is outside seqlight, and its module {module!r} has not been imported")
        self.module = module


def class_path(cls: type) -> str:
    """The name of `cls` in descriptions: `seqlight.<Name>` for public classes of seqlight, `torch.optim.<Name>`.

    Raises:
        TypeError: if `cls` is not at the top level of a module.
    """
    if public_class(cls.__name__) is cls:
        return f"{_PACKAGE}.{cls.__name__}"
    if getattr(torch.optim, cls.__name__, None) is cls:
        return f"torch.optim.{cls.__name__}"
    if "." in cls.__qualname__:
        raise TypeError(
            f"{cls.__qualname__} is defined inside a function or class; a checkpoint can only name top-level classes"
        )
    return f"{cls.__module__}.{cls.__qualname__}"


def public_class(name: str) -> Any:
    """The object that seqlight exports under `name`; None if there is none.

    The package imports it on first use, so a description can name any exported class.
    """
    package = sys.modules[_PACKAGE]
    return getattr(package, name) if name in package.__all__ else None


def subclasses(cls: type[object]) -> set[type[object]]:
    """`cls` and its imported subclasses that a flag can name.

    Others are not exported by seqlight, take data in memory, or have the attribute `named_by_flags = False`.
    """
    below: list[type[object]] = type.__subclasses__(cls)
    found = {cls}.union(*map(subclasses, below))
    exported = {
        each for each in found if not each.__module__.startswith("seqlight.") or public_class(each.__name__) is each
    }
    return {each for each in exported if not takes_memory(each) and getattr(each, "named_by_flags", True)}


def takes_memory(cls: type[object]) -> bool:
    """Whether arguments of a data module are the data themselves, so that a text can't describe it."""
    names = getattr(cls, "in_memory", ())
    return bool(names) and not inspect.signature(cls).parameters.keys().isdisjoint(names)


def full_name(name: str, base: type[object]) -> str:
    """The name of the only imported subclass of `base` that a short name can mean: LSTMCell for lstm. Others stay.

    Upper and lower case are alike, "Cell" at the end can be left out, and "RNN" is torch's name of an ElmanCell.
    """
    meant = {"rnn": "elman"}.get(name.lower(), name.lower()).removesuffix("cell")
    names = [each.__name__ for each in subclasses(base) if not inspect.isabstract(each)]
    found = [each for each in names if each.lower().removesuffix("cell") == meant]
    return found[0] if len(found) == 1 and name not in names else name


def resolve(path: str, base: type) -> type:
    """The subclass of `base` that `path` names. Only seqlight's own modules are imported.

    Raises:
        NotImportedError: if the module of `path` has not been imported.
        ValueError: if `path` is not the path of a subclass of `base`.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"expected the path of a {base.__name__}, got {path!r}")
    module = sys.modules.get(module_name)
    if module is None:
        raise NotImportedError(path, module_name)
    # `vars`, because `getattr` on a user's module could import something.
    cls = public_class(name) if module_name == _PACKAGE else vars(module).get(name)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(f"expected the path of a {base.__name__}, got {path!r}")
    return cls


def to_plain(value: Any) -> Any:
    """Convert `value` to None, numbers, strings, lists and dicts.

    A cell's class, a `functools.partial` of it with keyword arguments, and a task become dicts with `class_path` and
    `init_args`.

    Raises:
        TypeError: if `value` can't be converted.
    """
    if isinstance(value, np.generic):  # before float: numpy.float64 is a subclass of it
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, type):
        value = functools.partial(value)
    value = bound_class(value)
    if isinstance(value, functools.partial) and isinstance(value.func, type) and not value.args:
        init_args = to_plain(_arguments(value.func, value.keywords))
        return {"class_path": class_path(value.func), "init_args": init_args}
    if isinstance(value, Describable) and value.described_by == "instance":
        names = inspect.signature(type(value)).parameters
        if missing := [name for name in names if not hasattr(value, name)]:
            raise TypeError(f"{type(value).__name__} must keep its argument {missing[0]!r} under the same name")
        return {
            "class_path": class_path(type(value)),
            "init_args": {name: to_plain(getattr(value, name)) for name in names},
        }
    raise TypeError(
        f"expected plain data, a class, a functools.partial of a class with keyword arguments, or a task; got {value!r}"
    )


def _arguments(cls: type, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a class, with defaults too: they can differ in a later version.

    An optimizer gets its learning rate later. Its switches that are off are left out: a later torch may lack them.
    """
    parameters = list(inspect.signature(cls).parameters.values())
    is_optimizer = issubclass(cls, torch.optim.Optimizer)
    defaults = {each.name: each.default for each in parameters[2 * is_optimizer :] if each.default is not each.empty}
    arguments = defaults | given
    if is_optimizer:
        off = [name for name, value in defaults.items() if value in (None, False) and arguments[name] == value]
        arguments = {name: value for name, value in arguments.items() if name not in off}
    return arguments


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`. The description of a cell or optimizer becomes a `functools.partial` of its class.

    Raises:
        NotImportedError: as `resolve`.
        ValueError: as `resolve`, or if `value` is not plain data.
    """
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"expected plain data, got {value!r:.100}")
    if "class_path" not in value:
        return {key: from_plain(item) for key, item in value.items()}
    path, init_args = value["class_path"], value.get("init_args", {})
    if not isinstance(path, str) or not isinstance(init_args, dict) or not set(value) <= {"class_path", "init_args"}:
        raise ValueError(f"expected class_path (a string) and init_args (a dict), got {', '.join(map(repr, value))}")
    arguments = {key: from_plain(item) for key, item in init_args.items()}
    cls = resolve(path, object)
    if issubclass(cls, torch.optim.Optimizer):
        return functools.partial(cls, **arguments)
    if not issubclass(cls, Describable):
        raise ValueError(f"expected the path of a cell, task or optimizer, got {path!r}")
    return functools.partial(cls, **arguments) if cls.described_by == "class" else cls(**arguments)


def describe(module: HasHyperparameters) -> dict[str, Any]:
    """The class and arguments of a model or data module, from its saved hyperparameters."""
    return {"class_path": class_path(type(module)), "init_args": to_plain(dict(module.hparams))}


def flatten(name: str, value: Any) -> dict[str, bool | int | float | str]:
    """Flatten plain data to names and scalars: `{"model.cell": "GRUCell", "model.cell.hidden_size": 64}`."""
    if isinstance(value, dict) and "class_path" in value:
        flat = {name: value["class_path"].rpartition(".")[2]}
        value = value.get("init_args", {})
    elif isinstance(value, dict):
        flat = {}
    else:
        value = list(value) if isinstance(value, tuple) else value  # a checkpoint has lists
        return (
            {} if value is None else {name: value if isinstance(value, bool | int | float) else encodable(str(value))}
        )
    for key, item in value.items():
        flat.update(flatten(f"{name}.{key}", item))
    return flat


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Texts for the values that differ between two results of `flatten`, among the names in both."""
    both = [name for name in before if name in now]
    return [f"{name} {now[name]} (was {before[name]})" for name in both if now[name] != before[name]]


def save_plain_hyperparameters(module: HasHyperparameters) -> None:
    """Save the arguments of the calling `__init__` as `save_hyperparameters` does, but as plain data.

    The arguments that a class names in its attribute `in_memory` are left out.

    Raises:
        TypeError: if an argument can't be converted; the message names it.
    """
    frame = inspect.currentframe()
    assert frame is not None
    in_memory = getattr(type(module), "in_memory", ())
    module.save_hyperparameters(frame=frame.f_back, logger=False, ignore=list(in_memory))
    plain = {}
    for name, value in _init_arguments(module, frame).items():
        if name in in_memory:
            continue
        try:
            plain[name] = to_plain(value)
        except TypeError as error:
            raise TypeError(f"{name} of {type(module).__name__} can't be stored in a checkpoint: {error}") from None
    module.hparams.clear()
    module.hparams.update(plain)


def _init_arguments(module: object, frame: FrameType | None) -> dict[str, Any]:
    """The arguments of the `__init__` of the object's own class.

    The object can't be created again from the arguments that this `__init__` passes to base classes.
    """
    arguments: dict[str, Any] = {}
    while frame is not None:
        if frame.f_code.co_name == "__init__":
            names, rest, keywords, values = inspect.getargvalues(frame)
            if names and values[names[0]] is module:
                if rest and values[rest]:
                    raise TypeError(
                        f"{type(module).__name__} must be given its arguments by name: a checkpoint can't store "
                        f"*{rest} = {values[rest]!r}"
                    )
                arguments = {name: values[name] for name in names[1:]} | (values[keywords] if keywords else {})
        frame = frame.f_back
    return arguments
