"""Checkpoints: read without running code from them."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from seqlight.classifier import SequenceClassifier
from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.encoding import SequenceEncoding
from seqlight.plain import NotImportedError, from_plain, resolve

_PARTS = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops": dict,
    "callbacks": dict,
    "hyper_parameters": dict,
}


class CheckpointError(Exception):
    """A file that is no checkpoint of seqlight, or one that names a class that can't be used here."""


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
    checkpoint = read(path, map_location)
    description = checkpoint["seqlight"]["model"]
    try:
        cls = resolve(description["class_path"], SequenceClassifier)
        model = cls(**from_plain(description["init_args"]))
        model.load_state_dict(checkpoint["state_dict"])
    except NotImportedError as error:
        raise CheckpointError(f"{path}: {error}; import it first if you trust it") from error
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not describe a model that can be built here: {error}") from error
    assert isinstance(model, SequenceClassifier)
    return model.to(map_location).eval()


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
        description = read_description(path).get("data")
    except NotImportedError as error:
        raise CheckpointError(f"{path}: {error}; import it first if you trust it") from error
    if description is None:
        raise CheckpointError(f"{path} says nothing of the data it was trained on")
    cls = resolve(description["class_path"], SequenceDataModule)
    try:
        data = cls(**{**from_plain(description["init_args"]), **changes})
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not describe data that can be had here: {error}") from error
    assert isinstance(data, SequenceDataModule)
    return data


def read(path: str | os.PathLike[str], map_location: torch.device | str = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint of seqlight: tensors and plain values.

    Raises:
        FileNotFoundError, CheckpointError: as `load`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except PermissionError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except Exception as error:  # torch's unpickler meets strange bytes with any
        unsafe = isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path)
        reason = "it holds more than tensors and plain values" if unsafe else "it is damaged, or of another kind"
        raise CheckpointError(f"{path} is no checkpoint of seqlight: {reason}") from error
    if not isinstance(checkpoint, dict) or "seqlight" not in checkpoint:
        raise CheckpointError(f"{path} is a file of torch, but no checkpoint of a seqlight model")
    description, weights = checkpoint["seqlight"], checkpoint.get("state_dict")
    sound = isinstance(description, dict) and isinstance(weights, dict)
    sound = sound and all(isinstance(checkpoint.get(name), kind) for name, kind in _PARTS.items())
    if "optimizer_states" in checkpoint:
        sound = sound and all(isinstance(checkpoint.get(name), list) for name in ("optimizer_states", "lr_schedulers"))
    for key in ("model", "data") if sound else ():
        part = description.get(key)
        is_class = isinstance(part, dict) and isinstance(part.get("class_path"), str)
        sound = sound and ((is_class and isinstance(part.get("init_args"), dict)) or (key == "data" and part is None))
    if not sound:
        raise CheckpointError(f"{path} is no whole checkpoint of seqlight: a part of what a Trainer saves is not there")
    return checkpoint


def read_description(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The `class_path` and `init_args` of model and data, every class in them known and of its kind.

    Raises:
        FileNotFoundError, CheckpointError: as `load`.
        NotImportedError: if it names a class of a module that has not been imported.
    """
    description = read(path)["seqlight"]
    try:
        for key, base in (("model", SequenceClassifier), ("data", SequenceDataModule)):
            if description.get(key) is not None:
                resolve(description[key]["class_path"], base)
                arguments = from_plain(description[key]["init_args"])
                if arguments.get("encoding") is not None:
                    SequenceEncoding.from_plain(arguments["encoding"])
                # A string would be taken for a name to import.
                for name in ("cell", "task"):
                    if isinstance(arguments.get(name), str):
                        raise ValueError(f"{name} must be a class_path with init_args, got {arguments[name]!r}")
    except NotImportedError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a model and its data: {error}") from error
    return {key: description[key] for key in ("model", "data") if description.get(key) is not None}
