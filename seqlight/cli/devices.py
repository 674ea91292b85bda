"""Where a command runs: the Trainer's arguments that follow from flags and from torchrun."""

from typing import Any

import torch

from seqlight.cli.usage import UsageError
from seqlight.common.processes import num_launched, torchrun_settings

_DEFAULTS = {"devices": "auto", "num_nodes": 1, "strategy": "auto"}


def device_arguments(verb: str, device: str, trainer: dict[str, Any]) -> dict[str, Any]:
    """A Trainer's `accelerator`, `devices`, `num_nodes` and `strategy`, as far as they are others than given.

    Args:
        verb: the command; `predict` runs in one process.
        device: of `--device`.
        trainer: the arguments given, of these names.

    Raises:
        UsageError: if they contradict each other, or there is no such device.
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
            raise UsageError(f"predict runs in one process, and torchrun has started {num_launched()}: leave it out")
        return {**arguments, "devices": 1}
    return arguments | {name: torchrun[name] for name in torchrun if trainer[name] == _DEFAULTS[name]}
