"""Models from checkpoints. No code that a checkpoint contains is run."""

import copy
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from seqlight.checkpoints.contents import read
from seqlight.common.description import NotImportedError, from_plain, resolve
from seqlight.common.errors import CheckpointError
from seqlight.common.private_api import needs_values

Model = TypeVar("Model", bound=nn.Module)


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
    """Check that weights fit the model that a function makes, before memory for the model is allocated.

    Args:
        make_model: makes the model; it is called with tensors on torch's meta device.
        weights: a `state_dict`.

    Raises:
        RuntimeError: as `load_state_dict`.
    """
    parameters = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal parameters
        parameters += parameter is not None
        if parameters > 2 * len(weights):  # twice, since one can replace another; a million layers would take long
            raise RuntimeError(f"size mismatch: the model has more parameters than the checkpoint: {len(weights)}")

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            model = make_model()
    except (NotImplementedError, RuntimeError) as error:
        if needs_values(error):
            return  # a user's cell that computes with its initial weights
        raise
    finally:
        handle.remove()
    size = sum(parameter.numel() for parameter in model.parameters())
    # A copy: torch records in the metadata that weights were assigned, and the next load would assign them too.
    assigned = OrderedDict(weights)
    vars(assigned).update(copy.deepcopy(getattr(weights, "__dict__", {})))
    model.load_state_dict(assigned, assign=True)
    storages = [tensor.untyped_storage() for tensor in weights.values() if isinstance(tensor, Tensor)]
    if size > sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()):
        raise RuntimeError(f"size mismatch: the model has {size} weights, the checkpoint fewer")
