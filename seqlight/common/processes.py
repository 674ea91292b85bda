"""The processes that share a run."""

import os
import signal
import threading
import time
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from seqlight.common.private_torch import is_process_lost


def torchrun_settings() -> dict[str, Any]:
    """The Trainer's `devices`, `num_nodes` and `strategy` if torchrun started this process; otherwise empty."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()) or num_launched() == 1:
        return {}
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return {"devices": local, "num_nodes": num_launched() // local, "strategy": "ddp"}


def num_launched() -> int:
    """The number of processes that a launcher started for this run, on all machines."""
    return int(os.environ.get("WORLD_SIZE", 1))


def global_rank(num_nodes: int) -> int:
    """The rank of this process among all processes of the run, before a Trainer exists.

    It is read from the same environment as by the Trainer: torchrun, SLURM, LSF, MPI, or Lightning's own launcher. The
    last one does not know its rank yet in the first process of each machine, so on all but the first machine this is
    only known to be greater than 0.

    Args:
        num_nodes: the Trainer's `num_nodes`. With one machine, a Trainer ignores `NODE_RANK`.
    """
    # Imported here, so that cells and tasks do not wait for Lightning.
    from lightning.fabric.plugins import environments

    managed = (
        environments.TorchElasticEnvironment,
        environments.SLURMEnvironment,
        environments.LSFEnvironment,
        environments.MPIEnvironment,
    )
    for environment in managed:
        if environment.detect():
            return int(environment().global_rank())
    launcher = environments.LightningEnvironment()
    return launcher.local_rank() + (launcher.node_rank() if num_nodes > 1 else 0)


def is_first_here() -> bool:
    """Whether this is the first process of the run on this machine."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0))) == 0


def end_with_parent(seconds: float = 5.0) -> None:
    """End this process soon after its parent (torchrun or Lightning) has ended, even if it waits for something."""
    if "LOCAL_RANK" not in os.environ:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(seconds)  # it may be about to end on its own
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def is_reported_elsewhere(seconds: float = 10.0) -> bool:
    """Whether another process on this machine reports the error, so that this one need not.

    Most errors occur in all processes, and the first process on each machine reports them. The others wait for the
    launcher to end them: if they ended before, the launcher could end the first process before its report. A process
    that is not ended within `seconds` reports its own error.
    """
    if is_first_here():
        return False
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    # torchrun sends that signal. If Lightning started the processes, the first one is the parent of the others.
    parent, deadline = os.getppid(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        if terminated.wait(0.1) or os.getppid() != parent:
            return True
    return False


def is_peer_lost(error: RuntimeError) -> bool:
    """Whether the error means that another process of the run has ended."""
    return distributed.is_available() and distributed.is_initialized() and is_process_lost(error)


def weigh_by_share(loss: Float[Tensor, ""], num_sequences: int) -> Float[Tensor, ""]:
    """Scale a process's mean loss so that DDP's mean over processes is the mean over all sequences of the step.

    DDP averages the processes' gradients. Without scaling this differs if processes have unequal numbers of sequences.

    Args:
        loss: the mean loss over this process's sequences, a scalar.
        num_sequences: the number of these sequences.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return loss
    # In every step. seqlight's own loader distributes only the last step of an epoch unevenly, but a user's loader can
    # do so in any step. All processes must take part in all_reduce, and none knows the others' numbers.
    total = torch.tensor(num_sequences, device=loss.device)
    distributed.all_reduce(total)
    return loss * (num_sequences * distributed.get_world_size() / total)
