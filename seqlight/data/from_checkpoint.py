"""Data modules from checkpoints."""

import inspect
import os
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from seqlight.checkpoints.contents import read
from seqlight.checkpoints.load import check_sizes
from seqlight.common.description import NotImportedError, from_plain, resolve
from seqlight.common.errors import CheckpointError
from seqlight.data.encoding import SequenceEncoding
from seqlight.data.reading.raw import DataError
from seqlight.data.streams import streams_of
from seqlight.tasks.task import SequenceTask

Data = TypeVar("Data")


def shared_arguments(source: Any) -> dict[str, Any]:
    """The arguments that a model must share with its data module, task or encoding, by name."""
    return {name: getattr(source, name) for name in ("input_size", "vocab_size", "target", "num_outputs", "label_per")}


def load_data_module(
    path: str | os.PathLike[str],
    base: type[Data],
    changes: dict[str, Any],
    choose: Callable[[type, dict[str, Any]], tuple[type, dict[str, Any]]] = lambda cls, arguments: (cls, arguments),
) -> Data:
    """The data module that a model was trained with, with the same classes, vocabulary and scale.

    Args:
        path: a checkpoint that a Trainer saved.
        base: the data module's class must be this one or a subclass.
        changes: arguments that replace the data module's own.
        choose: the class and arguments to use, given those in the checkpoint; a TypeError says what it holds instead.

    Raises:
        FileNotFoundError, CheckpointError: as `seqlight.load`.
        DataError, TypeError, ValueError: if a changed argument is wrong.
    """
    contents = read(path)
    streams = streams_of(contents["seqlight"])
    try:
        description = description_of(path, contents, model_base=nn.Module, data_base=base).get("data")
    except NotImportedError as error:
        raise CheckpointError(f"{path}: {error}; import it first if you trust it") from error
    if description is None:
        raise CheckpointError(f"{path} does not say which data it was trained on")
    try:
        cls, arguments = choose(resolve(description["class_path"], base), from_plain(description["init_args"]))
    except TypeError as error:
        raise TypeError(f"{path} {error}") from error
    try:
        made: Any = cls(**{**arguments, **changes})
    except DataError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if changes and _can_be_made(cls, arguments):
            raise  # a change is wrong
        raise CheckpointError(f"{path} does not describe data that can be used here: {error}") from error
    made.streams = streams
    data: Data = made
    return data


def _can_be_made(cls: type, arguments: dict[str, Any]) -> bool:
    try:
        cls(**arguments)
    except (TypeError, ValueError):
        return False
    return True


def description_of(
    path: str | os.PathLike[str], checkpoint: dict[str, Any], *, model_base: type[nn.Module], data_base: type
) -> dict[str, dict[str, Any]]:
    """The `class_path` and `init_args` of model and data, after all classes in them have been checked.

    Args:
        path: the file, for messages.
        checkpoint: the contents, from `seqlight.checkpoints.contents.read`.
        model_base: the model's class must be a subclass of this one.
        data_base: the data module's class must be a subclass of this one.

    Raises:
        CheckpointError: if the description of model or data is invalid, or the two do not fit together.
        NotImportedError: if the module of a named class has not been imported.
    """
    parts = {
        key: {"class_path": part["class_path"], "init_args": dict(part["init_args"])}
        for key, part in checkpoint["seqlight"].items()
        if key in ("model", "data") and part is not None
    }
    try:
        model = resolve(parts["model"]["class_path"], model_base)
        arguments = _arguments(parts["model"], "cell")
        check_sizes(lambda: model(**arguments), checkpoint["state_dict"])
        if "data" in parts:
            resolve(parts["data"]["class_path"], data_base)
            _check_kind(_arguments(parts["data"], "task"), arguments)
    except NotImportedError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[:2][-1].strip()
        raise CheckpointError(f"{path}: its weights do not fit the model it describes:", reason) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a model and its data: {error}") from error
    return parts


def _arguments(part: dict[str, Any], described: str) -> dict[str, Any]:
    """The arguments of a class. The one named `described` must not be a string: a string would be imported."""
    arguments: dict[str, Any] = from_plain(part["init_args"])
    if isinstance(arguments.get(described), str):
        raise ValueError(f"{described} must be a class_path with init_args, got {arguments[described]!r}")
    return arguments


def _check_kind(data: dict[str, Any], model: dict[str, Any]) -> None:
    """Raise ValueError unless model and data agree on inputs, target and number of outputs."""
    source = data.get("task")
    if data.get("encoding") is not None:
        source = SequenceEncoding.from_plain(data["encoding"])
    if isinstance(source, SequenceTask | SequenceEncoding):
        for name, value in shared_arguments(source).items():
            if model.get(name, value) != value:
                raise ValueError(f"{name} is {value!r} for the data, but {model[name]!r} for the model")


def taken_over(base: type, cls: type, trained_on: type, arguments: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    """The class and arguments for data of another source than those that a model was trained on.

    The arguments that name or describe the source are left out.

    Args:
        base: the class of all data with an encoding.
        cls: the wanted class.
        trained_on: the class of the training data.
        arguments: its arguments, from a checkpoint.

    Raises:
        TypeError: if the two have no encoding in common.
    """
    if issubclass(trained_on, cls):
        return trained_on, arguments
    if not issubclass(trained_on, base):
        raise TypeError(f"holds a {trained_on.__name__}, not a {cls.__name__}")
    known = inspect.signature(cls).parameters
    left_out = {"inputs", "train", "val", "test", "predict"}  # the encoding says of which kind the inputs are
    return cls, {name: value for name, value in arguments.items() if name in known and name not in left_out}
