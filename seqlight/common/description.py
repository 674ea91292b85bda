"""Classes and their arguments as plain data, and back.

A checkpoint must open without running code from it, so it says `{"class_path": "seqlight.GRUCell",
"init_args": {"hidden_size": 64}}` where a model was given `partial(GRUCell, hidden_size=64)`. The same
form stands in configuration files.
"""

import functools
import inspect
import sys
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from seqlight.common.private_api import bound_class

_PACKAGE = "seqlight"


class Describable:
    """Base of the classes that a description may name together with their arguments: cells and tasks.

    Attributes:
        described_by: "class" if a description stands for the class with arguments bound, which makes an object later,
            as for cells; "instance" if it stands for an object, as for tasks.
    """

    described_by: ClassVar[Literal["class", "instance"]]


@runtime_checkable
class HasHyperparameters(Protocol):
    """A LightningModule or LightningDataModule."""

    @property
    def hparams(self) -> Any:
        """The saved arguments."""

    def save_hyperparameters(self, *, frame: Any, logger: bool) -> None:
        """Save the arguments of `__init__`."""


class NotImportedError(LookupError):
    """A class path names a module that has not been imported; `module` is its name."""

    def __init__(self, class_path: str, module: str) -> None:
        super().__init__(f"{class_path!r} is outside seqlight, and its module {module!r} has not been imported")
        self.module = module


def class_path(cls: type) -> str:
    """The name under which `cls` is written down: `seqlight.<Name>` for public classes of seqlight."""
    if public_class(cls.__name__) is cls:
        return f"{_PACKAGE}.{cls.__name__}"
    if "." in cls.__qualname__:
        raise TypeError(
            f"{cls.__qualname__} is defined inside a function or class; a checkpoint can only name classes of modules"
        )
    return f"{cls.__module__}.{cls.__qualname__}"


def public_class(name: str) -> Any:
    """What the package exports under `name`; None if it exports nothing of that name.

    The package imports an exported class when it is asked for it, so that a description can name any of them.
    """
    package = sys.modules[_PACKAGE]
    return getattr(package, name) if name in package.__all__ else None


def resolve(path: str, base: type) -> type:
    """The subclass of `base` that `path` names; nothing is imported but seqlight's own modules.

    Raises:
        NotImportedError: if the module of `path` has not been imported.
        ValueError: if `path` names no subclass of `base`.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"expected the path of a {base.__name__}, got {path!r}")
    module = sys.modules.get(module_name)
    if module is None:
        raise NotImportedError(path, module_name)
    # `vars`, since a user's module could import something when it is asked for an attribute.
    cls = public_class(name) if module_name == _PACKAGE else vars(module).get(name)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(f"expected the path of a {base.__name__}, got {path!r}")
    return cls


def to_plain(value: Any) -> Any:
    """`value` as numbers, strings, lists and dicts.

    A cell's class, or a `functools.partial` of one with keyword arguments, and a task become dicts of
    `class_path` and `init_args`.

    Raises:
        TypeError: if `value` has no such form.
    """
    if isinstance(value, np.generic):  # before float, which numpy.float64 is too
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
        arguments = inspect.signature(value.func).parameters.values()
        # Defaults are written down too: a later version may have others.
        defaults = {argument.name: argument.default for argument in arguments if argument.default is not argument.empty}
        return {"class_path": class_path(value.func), "init_args": to_plain({**defaults, **value.keywords})}
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


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`; a cell comes back as a `functools.partial` of its class.

    Raises:
        NotImportedError, ValueError: as `resolve`.
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
        raise ValueError(f"expected a class_path, a text, with init_args, a dict; got {', '.join(map(repr, value))}")
    arguments = {key: from_plain(item) for key, item in init_args.items()}
    cls = resolve(path, object)
    if not issubclass(cls, Describable):
        raise ValueError(f"expected the path of a cell or a task, got {path!r}")
    return functools.partial(cls, **arguments) if cls.described_by == "class" else cls(**arguments)


def describe(module: HasHyperparameters) -> dict[str, Any]:
    """The class and the arguments of a model or data module that has saved its hyperparameters."""
    return {"class_path": class_path(type(module)), "init_args": to_plain(dict(module.hparams))}


def flatten(name: str, value: Any) -> dict[str, bool | int | float | str]:
    """Plain data as one level of names and scalars: `{"model.cell": "GRUCell", "model.cell.hidden_size": 64}`."""
    if isinstance(value, dict) and "class_path" in value:
        flat = {name: value["class_path"].rpartition(".")[2]}
        value = value.get("init_args", {})
    elif isinstance(value, dict):
        flat = {}
    else:
        return {} if value is None else {name: value if isinstance(value, bool | int | float | str) else str(value)}
    for key, item in value.items():
        flat.update(flatten(f"{name}.{key}", item))
    return flat


def differences(before: dict[str, Any], now: dict[str, Any], passed_over: tuple[str, ...] = ()) -> list[str]:
    """What is otherwise now in descriptions that `flatten` has made, of names that are in both.

    Args:
        before: names and values.
        now: names and values.
        passed_over: beginnings of names that do not count, as `"data.encoding."`.
    """
    both = [name for name in before if name in now and not f"{name}.".startswith(passed_over)]
    return [f"{name} {now[name]} (was {before[name]})" for name in both if now[name] != before[name]]


def save_plain_hyperparameters(module: HasHyperparameters) -> None:
    """`module.save_hyperparameters()` for the `__init__` that calls this, with plain values only.

    Raises:
        TypeError: if an argument has no plain form, naming it.
    """
    frame = inspect.currentframe()
    assert frame is not None
    module.save_hyperparameters(frame=frame.f_back, logger=False)
    plain = {}
    for name, value in _init_arguments(module, frame).items():
        try:
            plain[name] = to_plain(value)
        except TypeError as error:
            raise TypeError(f"{name} of {type(module).__name__} can't be stored in a checkpoint: {error}") from None
    module.hparams.clear()
    module.hparams.update(plain)


def _init_arguments(module: object, frame: FrameType | None) -> dict[str, Any]:
    """What the `__init__` of the object's own class was called with.

    Not what it hands on to those of its base classes: with that the object could not be made again.
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
