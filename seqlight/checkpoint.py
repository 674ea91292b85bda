"""Checkpoints: read without running code from them."""

import copy
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from seqlight.checkpoint_file import CheckpointError, read_plain
from seqlight.classifier import SequenceClassifier
from seqlight.data.datamodule import SequenceDataModule, kind
from seqlight.data.encoding import SequenceEncoding
from seqlight.data.reading.raw import DataError
from seqlight.data.task import SequenceTask
from seqlight.plain import NotImportedError, from_plain, resolve

_PARTS = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops": dict,
    "callbacks": dict,
    "hyper_parameters": dict,
}


def load(path: str | os.PathLike[str], map_location: torch.device | str = "cpu") -> SequenceClassifier:
    """The trained model of a checkpoint, in evaluation mode.

    Nothing that the checkpoint names is imported: where a cell or classifier lives outside seqlight,
    import its module before.

    Args:
        path: a file that a Trainer, or `seqlight fit`, has saved.
        map_location: the device for the model.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is no checkpoint of a SequenceClassifier, or names a class of a
            module that has not been imported.
    """
    checkpoint = read(path)
    description = checkpoint["seqlight"]["model"]
    arguments = description["init_args"]
    try:
        cls = resolve(description["class_path"], SequenceClassifier)
        check_sizes(lambda: cls(**from_plain(arguments)), checkpoint["state_dict"])
        model = cls(**from_plain(arguments))
        model.load_state_dict(checkpoint["state_dict"])
    except NotImportedError as error:
        raise CheckpointError(f"{path}: {error}; import it first if you trust it") from error
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not describe a model that can be built here: {error}") from error
    assert isinstance(model, SequenceClassifier)
    return model.to(map_location).eval()


def check_sizes(make_model: Callable[[], nn.Module], weights: Mapping[str, Any]) -> None:
    """Whether weights are those of the model that a function makes, before memory for one of that size is taken.

    Raises:
        RuntimeError: as `load_state_dict`.
    """
    parameters = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal parameters
        parameters += parameter is not None
        if parameters > 2 * len(weights):  # twice, as one may replace another; a million layers would take long
            raise RuntimeError(f"size mismatch: the model has more parameters than the {len(weights)} that are there")

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            model = make_model()
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, NotImplementedError) or "meta tensors" in str(error):
            return  # a cell of the user's that computes with its initial weights
        raise
    finally:
        handle.remove()
    size = sum(parameter.numel() for parameter in model.parameters())
    # torch notes in the metadata that weights are assigned, and would do so at the next load of the same ones too.
    assigned = OrderedDict(weights)
    vars(assigned).update(copy.deepcopy(getattr(weights, "__dict__", {})))
    model.load_state_dict(assigned, assign=True)
    storages = [tensor.untyped_storage() for tensor in weights.values() if isinstance(tensor, Tensor)]
    if size > sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()):
        raise RuntimeError(f"size mismatch: the model has {size} weights, and they share fewer")


def load_data(path: str | os.PathLike[str], **changes: Any) -> SequenceDataModule:
    """The data module that a model was trained with.

    As `load_data(path, predict="new.csv")`: classes, vocabulary and scale are those that the model knows.

    Args:
        path: a checkpoint, as for `load`.
        changes: take the place of the data module's arguments of the same name.

    Raises:
        FileNotFoundError, CheckpointError: as `load`.
        ValueError: if an argument is out of its range.
    """
    try:
        description = description_of(path, read(path)).get("data")
    except NotImportedError as error:
        raise CheckpointError(f"{path}: {error}; import it first if you trust it") from error
    if description is None:
        raise CheckpointError(f"{path} says nothing of the data it was trained on")
    cls, arguments = resolve(description["class_path"], SequenceDataModule), from_plain(description["init_args"])
    try:
        data = cls(**{**arguments, **changes})
    except DataError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if changes and _can_be_made(cls, arguments):
            raise  # what is wrong is a change
        raise CheckpointError(f"{path} does not describe data that can be used here: {error}") from error
    assert isinstance(data, SequenceDataModule)
    return data


def _can_be_made(cls: type, arguments: dict[str, Any]) -> bool:
    try:
        cls(**arguments)
    except (TypeError, ValueError):
        return False
    return True


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The contents of a checkpoint of seqlight: tensors, on the CPU, and plain values.

    Raises:
        FileNotFoundError, CheckpointError: as `load`.
    """
    checkpoint = read_plain(path)
    if "seqlight" not in checkpoint:
        raise CheckpointError(f"{path} is a file of torch, but no checkpoint of a seqlight model")
    for name in ("hyper_parameters", "datamodule_hyper_parameters"):
        parameters = checkpoint.get(name)
        if isinstance(parameters, dict) and not {"_instantiator", "_class_path"}.isdisjoint(parameters):
            raise CheckpointError(f"{path} is no checkpoint of seqlight: its {name} name a function to call")
    description, weights = checkpoint["seqlight"], checkpoint.get("state_dict")
    sound = isinstance(description, dict) and isinstance(weights, dict)
    sound = sound and all(isinstance(checkpoint.get(name), kind) for name, kind in _PARTS.items())
    if "optimizer_states" in checkpoint:
        sound = sound and all(isinstance(checkpoint.get(name), list) for name in ("optimizer_states", "lr_schedulers"))
        sound = sound and len(checkpoint["optimizer_states"]) > 0
    for key in ("model", "data") if sound else ():
        part = description.get(key)
        is_class = isinstance(part, dict) and isinstance(part.get("class_path"), str)
        sound = sound and ((is_class and isinstance(part.get("init_args"), dict)) or (key == "data" and part is None))
    if not sound:
        raise CheckpointError(f"{path} is no whole checkpoint of seqlight: a part of what a Trainer saves is not there")
    return checkpoint


def epochs_trained(path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> int:
    """The number of whole epochs that a checkpoint has been trained for.

    Raises:
        CheckpointError: if it does not say.
    """
    try:
        loop = checkpoint["loops"]["fit_loop"]
        begun, completed = (loop["epoch_progress"]["current"][name] for name in ("ready", "completed"))
        # Callbacks save when an epoch's batches are done, before it counts as completed.
        return int(completed) + bool(begun > completed and loop["epoch_loop.batch_progress"]["is_last_batch"])
    except (LookupError, TypeError) as error:
        raise CheckpointError(f"{path} does not say how far it has been trained") from error


def description_of(path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The `class_path` and `init_args` of model and data, every class in them known and of its kind.

    Args:
        path: the file, for messages.
        checkpoint: what `read` gave.

    Raises:
        CheckpointError: as `load`.
        NotImportedError: if it names a class of a module that has not been imported.
    """
    parts = {
        key: {name: part[name] for name in ("class_path", "init_args")}
        for key, part in checkpoint["seqlight"].items()
        if key in ("model", "data") and part is not None
    }
    try:
        model = resolve(parts["model"]["class_path"], SequenceClassifier)
        arguments = _arguments(parts["model"], "cell")
        check_sizes(lambda: model(**arguments), checkpoint["state_dict"])
        if "data" in parts:
            resolve(parts["data"]["class_path"], SequenceDataModule)
            _check_kind(_arguments(parts["data"], "task"), arguments)
    except NotImportedError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[:2][-1].strip()
        raise CheckpointError(f"{path}: its weights are not those of the model it describes:\n{reason}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a model and its data: {error}") from error
    return parts


def _arguments(part: dict[str, Any], made: str) -> dict[str, Any]:
    """Of a class; what is made of one of them is described by a class, as a name alone would be imported."""
    arguments: dict[str, Any] = from_plain(part["init_args"])
    if isinstance(arguments.get(made), str):
        raise ValueError(f"{made} must be a class_path with init_args, got {arguments[made]!r}")
    return arguments


def _check_kind(data: dict[str, Any], model: dict[str, Any]) -> None:
    """Whether what data are said to be is what the model reads."""
    source = data.get("task")
    if data.get("encoding") is not None:
        source = SequenceEncoding.from_plain(data["encoding"])
    if isinstance(source, SequenceTask | SequenceEncoding):
        for name, value in kind(source).items():
            if model.get(name, value) != value:
                raise ValueError(f"{name} of the data is {value!r}, and of the model {model[name]!r}")
