"""The Trainer's device arguments, from flags and torchrun."""

import re
from collections.abc import Callable
from typing import Any

import torch

from seqlight.cli.flag_errors import UsageError
from seqlight.common.processes import num_launched, torchrun_settings

_AVAILABLE: dict[str, Callable[[], bool]] = {
    "cpu": lambda: True,
    "gpu": torch.accelerator.is_available,
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
}
_DEFAULTS = {"devices": "auto", "num_nodes": 1, "strategy": "auto"}


def check_device(device: str) -> None:
    """Raise UsageError if a value of `--device` is none that `device_arguments` knows."""
    if not re.fullmatch(r"auto|cpu|gpu|mps|cuda(:\d+)?", device):
        raise UsageError(f"--device: expected one of auto, cpu, gpu, cuda, cuda:1, mps; got {device}")


def device_arguments(verb: str, device: str, trainer: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's `accelerator`, `devices`, `num_nodes` and `strategy`, as far as they differ from those given.

    Args:
        verb: the command; `predict` runs in one process.
        device: the value of `--device`.
        trainer: the given values of these four arguments.

    Raises:
        UsageError: if flags contradict each other, or the device does not exist.
    """
    if isinstance(trainer["devices"], str) and not re.fullmatch(r"auto|-?\d+|\d+(,\d+)*,?", trainer["devices"]):
        expected = "expected auto, a number of devices, or their indices"
        raise UsageError(f"--trainer.devices: {expected}; got {trainer['devices']}")
    arguments: dict[str, Any] = {}
    kind, _, number = device.partition(":")
    if kind != "auto":
        same = ("auto", "gpu", kind) if kind == "cuda" else ("auto", kind)
        if trainer["accelerator"] not in same:
            raise UsageError(f"--device {device} contradicts --trainer.accelerator {trainer['accelerator']}")
        if not _AVAILABLE[kind]():
            raise UsageError(f"--device {device}: torch finds no such GPU here; expected cpu or auto")
        arguments["accelerator"] = kind
    if number:
        if trainer["devices"] not in ("auto", number, int(number)):
            raise UsageError(f"--device {device} contradicts --trainer.devices {trainer['devices']}")
        if int(number) >= torch.cuda.device_count():
            raise UsageError(f"--device {device}: the last GPU of this machine is cuda:{torch.cuda.device_count() - 1}")
        arguments["devices"] = [int(number)]
    torchrun = torchrun_settings()
    if verb == "predict":
        if not number and trainer["devices"] not in ("auto", 1, "1"):
            raise UsageError(f"predict runs on one device, got --trainer.devices {trainer['devices']}")
        if torchrun:
            raise UsageError(
                f"predict runs in one process, but torchrun started {num_launched()}: run it without torchrun"
            )
        return {"devices": 1, **arguments}
    given = trainer | arguments
    return arguments | {name: torchrun[name] for name in torchrun if given[name] == _DEFAULTS[name]}


def check_strategy(strategy: Any) -> None:
    """Raise UsageError for a strategy other than one device and DDP, before it is built: it can need other packages.

    Args:
        strategy: the parsed value: a name, a namespace with `class_path`, or an object.
    """
    name = strategy if isinstance(strategy, str) else getattr(strategy, "class_path", type(strategy).__name__)
    is_ddp = name.startswith("ddp") and "spawn" not in name  # spawn would copy this command, with its locks
    if name.rpartition(".")[2] not in ("auto", "SingleDeviceStrategy", "DDPStrategy") and not is_ddp:
        raise UsageError(f"--trainer.strategy {name}: seqlight trains on one device or with DDP; expected auto or ddp")
