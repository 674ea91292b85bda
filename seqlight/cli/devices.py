"""The Trainer's device arguments, from flags and torchrun."""

from typing import Any

import torch

from seqlight.cli.flag_errors import UsageError
from seqlight.common.processes import num_launched, torchrun_settings

_DEFAULTS = {"devices": "auto", "num_nodes": 1, "strategy": "auto"}


def device_arguments(verb: str, device: str, trainer: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's `accelerator`, `devices`, `num_nodes` and `strategy`, as far as they differ from those given.

    Args:
        verb: the command; `predict` runs in one process.
        device: the value of `--device`.
        trainer: the given values of these four arguments.

    Raises:
        UsageError: if flags contradict each other, or the device does not exist.
    """
    arguments: dict[str, Any] = {}
    if device != "auto":
        if trainer["accelerator"] not in ("auto", device):
            raise UsageError(f"--device {device} contradicts --trainer.accelerator {trainer['accelerator']}")
        if device == "gpu" and not torch.accelerator.is_available():
            raise UsageError("--device gpu: this machine has no GPU that torch can use; expected cpu or auto")
        arguments["accelerator"] = device
    torchrun = torchrun_settings()
    if verb == "predict":
        if trainer["devices"] not in ("auto", 1, "1"):
            raise UsageError(f"predict runs on one device, got --trainer.devices {trainer['devices']}")
        if torchrun:
            raise UsageError(
                f"predict runs in one process, but torchrun started {num_launched()}: run it without torchrun"
            )
        return {**arguments, "devices": 1}
    return arguments | {name: torchrun[name] for name in torchrun if trainer[name] == _DEFAULTS[name]}


def check_strategy(strategy: Any) -> None:
    """Raise UsageError for a strategy other than one device and DDP, before it is built: it can need other packages.

    Args:
        strategy: the parsed value: a name, a namespace with `class_path`, or an object.
    """
    name = strategy if isinstance(strategy, str) else getattr(strategy, "class_path", type(strategy).__name__)
    is_ddp = name.startswith("ddp") and "spawn" not in name  # spawn would copy this command, with its locks
    if name.rpartition(".")[2] not in ("auto", "SingleDeviceStrategy", "DDPStrategy") and not is_ddp:
        raise UsageError(f"--trainer.strategy {name}: seqlight trains on one device or with DDP; expected auto or ddp")
