"""Models from checkpoints. No code that a checkpoint contains is run."""

import copy
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seqlight.checkpoints.contents import check_finite, read
from seqlight.common.description import NotImportedError, from_plain, resolve
from seqlight.common.errors import CheckpointError
from seqlight.common.private_torch import is_parameter_registration, needs_values
from seqlight.common.unused import rebuilding

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
        CheckpointError: if the file is not a checkpoint of a seqlight model, names a class of a module that has not
            been imported, or holds weights that are not finite.
    """
    checkpoint = read(path)
    description = checkpoint["seqlight"]["model"]
    arguments = description["init_args"]
    try:
        cls = resolve(description["class_path"], base)
        check_sizes(lambda: cls(**from_plain(arguments)), checkpoint["state_dict"])
        with rebuilding(), _OwnRandomNumbers():
            model: Model = cls(**from_plain(arguments))
        model.load_state_dict(checkpoint["state_dict"])
        check_finite(path, checkpoint, model)
    except NotImportedError as error:
        raise CheckpointError(f"{path}: {error}; import it first if you trust it") from error
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not describe a model that can be built here: {reason}") from error
    return model.to(map_location).eval()


def check_sizes(make_model: Callable[[], nn.Module], weights: Mapping[str, Any]) -> None:
    """Check that weights fit the model that a function makes, before memory for the model is allocated.

    Args:
        make_model: makes the model; it is called with tensors on torch's meta device.
        weights: a `state_dict`.

    Raises:
        RuntimeError: as `load_state_dict`.
    """
    try:
        # Twice, since one can replace another.
        with rebuilding(), torch.device("meta"), _ParameterLimit(2 * len(weights)):
            model = make_model()
    except (NotImplementedError, RuntimeError) as error:
        if needs_values(error):
            return  # a user's cell that computes with its initial weights
        raise
    size = sum(parameter.numel() for parameter in model.parameters())
    # A copy: torch records in the metadata that weights were assigned, and the next load would assign them too.
    assigned = OrderedDict(weights)
    vars(assigned).update(copy.deepcopy(getattr(weights, "__dict__", {})))
    model.load_state_dict(assigned, assign=True)
    storages = [tensor.untyped_storage() for tensor in weights.values() if isinstance(tensor, Tensor)]
    if size > sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()):
        raise RuntimeError(f"size mismatch: the model has {size} weights, the checkpoint fewer")


class _ParameterLimit(TorchFunctionMode):
    """A limit to the number of parameters that this thread registers: a million layers would take long to build."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a parameter, or call the function."""
        if is_parameter_registration(func):
            self._left -= 1
            if self._left < 0:
                raise RuntimeError("size mismatch: the model has more parameters than the checkpoint")
        return func(*args, **(kwargs or {}))


class _OwnRandomNumbers(TorchFunctionMode):
    """Let this thread draw initial weights from a generator of its own: they are replaced, and others use torch's."""

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, with the generator if it draws random numbers."""
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in _DRAW and kwargs.get("generator") is None:
            kwargs["generator"] = self._generator
        return func(*args, **kwargs)


# Of torch.nn.init, torch.Tensor and torch.
_DRAW = frozenset(
    """uniform_ normal_ trunc_normal_ xavier_uniform_ xavier_normal_ kaiming_uniform_ kaiming_normal_ orthogonal_
    sparse_ bernoulli_ cauchy_ exponential_ geometric_ log_normal_ random_ bernoulli multinomial normal rand randint
    randn randperm""".split()
)
