"""The contents of a checkpoint.

- `state_dict`: the weights.
- `optimizer_states`, `lr_schedulers`: optimizer and learning rate schedule; absent if only weights were saved.
- `epoch`, `global_step`, `loops`: the progress of the training.
- `callbacks`: the state of each callback. `ResumeCheckpoint` saves random numbers, metrics, and the sizes of
  TensorBoard's files, and `RunDescription` the backend of the recurrent layers.
- `hyper_parameters`, `datamodule_hyper_parameters`: the arguments of model and data module, as plain data.
- `seqlight`, from `TrainingHooks.on_save_checkpoint`: `version`; `model` and `data`, each a `class_path` with
  `init_args`; `schedule`; `steps`, the state of the training curves; `streams`, the version of the data's random
  streams, 1 if it is absent.
- `sealed`, from `SealedCheckpointIO`: True, as the file ends with a checksum.

If no source is named, Lightning saves the entry.
"""

import os
from typing import Any

import torch
from torch import Tensor, nn

from seqlight.checkpoints.files import read_plain
from seqlight.common.errors import CheckpointError
from seqlight.common.private_lightning import completed_epochs

_PARTS = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops": dict,
    "callbacks": dict,
    "hyper_parameters": dict,
}


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of seqlight and check that each part is there and of its type.

    Returns:
        The contents by the names above: tensors on the CPU, and plain values.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedCheckpointError: if its checksum does not match, or it is incomplete.
        CheckpointError: if it is not a checkpoint of seqlight.
    """
    checkpoint = read_plain(path)
    if "seqlight" not in checkpoint:
        raise CheckpointError(f"{path} is a torch file, but not a checkpoint of a seqlight model")
    for name in ("hyper_parameters", "datamodule_hyper_parameters"):
        parameters = checkpoint.get(name)
        if isinstance(parameters, dict) and not {"_instantiator", "_class_path"}.isdisjoint(parameters):
            raise CheckpointError(f"{path} is not a seqlight checkpoint: its {name} name a function to call")
    if (wrong := _incomplete_part(checkpoint)) is not None:
        raise CheckpointError(f"{path} is not a complete seqlight checkpoint: {wrong!r} is missing or of another type")
    return checkpoint


def _incomplete_part(checkpoint: dict[str, Any]) -> str | None:
    """The name of a part that is missing or of another type; None if there is none."""
    for name, kind in {"seqlight": dict, "state_dict": dict, **_PARTS}.items():
        if not isinstance(checkpoint.get(name), kind):
            return name
    if "optimizer_states" in checkpoint:
        if not (isinstance(checkpoint["optimizer_states"], list) and checkpoint["optimizer_states"]):
            return "optimizer_states"
        if not isinstance(checkpoint.get("lr_schedulers"), list):
            return "lr_schedulers"
    description = checkpoint["seqlight"]
    if not _is_class(description.get("model")):
        return "model"
    return None if description.get("data") is None or _is_class(description["data"]) else "data"


def _is_class(part: Any) -> bool:
    """Whether a part of a description has the form `{"class_path": ..., "init_args": {...}}`."""
    return (
        isinstance(part, dict) and isinstance(part.get("class_path"), str) and isinstance(part.get("init_args"), dict)
    )


def check_finite(path: str | os.PathLike[str], checkpoint: dict[str, Any], model: nn.Module) -> None:
    """Check that no weight is NaN or infinite, and no buffer is NaN (it can be infinite on purpose, as in a mask).

    Args:
        path: the file, for messages.
        checkpoint: the contents of the file.
        model: the model for the weights. It can have other values.

    Raises:
        CheckpointError: naming the tensors that are not finite.
    """
    parameters, known = {name for name, _ in model.named_parameters()}, {*model.state_dict()}
    found = [
        name
        for name, tensor in checkpoint["state_dict"].items()
        if name in known and isinstance(tensor, Tensor) and not _is_usable(tensor, name in parameters)
    ]
    if found:
        names = ", ".join(map(repr, found[:3])) + (", ..." if len(found) > 3 else "")
        raise CheckpointError(
            f"{path}: {len(found)} of its weights and buffers are NaN or infinite: {names:.500}",
            "use an earlier checkpoint; results of this one would be NaN",
        )


def _is_usable(tensor: Tensor, is_parameter: bool) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.is_meta:
        return True
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.values()
    if tensor.element_size() == 1:
        tensor = tensor.float()  # torch can't check a float8
    return bool(tensor.isfinite().all()) if is_parameter else not tensor.isnan().any()


def epochs_trained(path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> int:
    """The number of complete epochs that a checkpoint has been trained for.

    Raises:
        CheckpointError: if it does not contain that number.
    """
    try:
        return completed_epochs(checkpoint)
    except (LookupError, TypeError) as error:
        raise CheckpointError(f"{path} does not contain the number of epochs it has been trained for") from error
