"""Models from checkpoints, without running code that a checkpoint contains."""

import copy
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from seqlight.checkpoints.files import read_plain
from seqlight.common.description import NotImportedError, from_plain, resolve
from seqlight.common.errors import CheckpointError

Model = TypeVar("Model", bound=nn.Module)

_PARTS = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops": dict,
    "callbacks": dict,
    "hyper_parameters": dict,
}


def load_model(path: str | os.PathLike[str], base: type[Model], map_location: torch.device | str) -> Model:
    """The trained model of a checkpoint, in evaluation mode.

    Nothing that the checkpoint names is imported.

    Args:
        path: a file that a Trainer saved.
        base: the class that the model's class must be, or be derived from.
        map_location: the device for the model.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is not a checkpoint of a seqlight model, or names a class of a module that has
            not been imported.
    """
    checkpoint = read(path)
    description = checkpoint["seqlight"]["model"]
    arguments = description["init_args"]
    try:
        cls = resolve(description["class_path"], base)
        check_sizes(lambda: cls(**from_plain(arguments)), checkpoint["state_dict"])
        model: Model = cls(**from_plain(arguments))
        model.load_state_dict(checkpoint["state_dict"])
    except NotImportedError as error:
        raise CheckpointError(f"{path}: {error}; import it first if you trust it") from error
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not describe a model that can be built here: {error}") from error
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
