"""The processes that share a run."""

import os
import signal
import threading
import time
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from seqlight.common.private_api import is_process_lost


def torchrun_settings() -> dict[str, Any]:
    """A Trainer's `devices`, `num_nodes` and `strategy` for the processes that torchrun has started, if it has."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()) or num_launched() == 1:
        return {}
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return {"devices": local, "num_nodes": num_launched() // local, "strategy": "ddp"}


def num_launched() -> int:
    """The number of processes that a launcher has started for this run, on all machines."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first_here() -> bool:
    """Whether this is the first process of the run on this machine."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0))) == 0


def end_with_parent(seconds: float = 5.0) -> None:
    """Let a process that torchrun, or Lightning, has started end soon after that has died, whatever it waits for."""
    if "LOCAL_RANK" not in os.environ:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(seconds)  # it may be about to end by itself
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def another_speaks(seconds: float = 10.0) -> bool:
    """Whether another process of this machine says why the run fails, so that this one need not.

    What is wrong is mostly so in all processes, and the first of each machine says it. The others wait, lest their end
    make the launcher end the first before it has spoken. If the launcher does not end them, it is theirs to speak.
    """
    if is_first_here():
        return False
    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    # torchrun sends that signal; where Lightning has started the processes, the first is the parent of the others.
    parent, deadline = os.getppid(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        if told_to_end.wait(0.1) or os.getppid() != parent:
            return True
    return False


def lost_another(error: RuntimeError) -> bool:
    """Whether an error says that another process of the run has ended: the others can't go on without."""
    return distributed.is_available() and distributed.is_initialized() and is_process_lost(error)


def weigh_by_share(loss: Float[Tensor, ""], num_sequences: int) -> Float[Tensor, ""]:
    """A process's mean loss such that the mean over processes is that over all sequences of the step.

    DDP takes the mean of the processes' gradients, which is another one where they have unequal numbers of sequences.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return loss
    # In every step, though seqlight's own loader deals out only the last one of an epoch unevenly: a loader of the
    # user's may do so in any, and all processes must take part or none, which none can tell from its own batch.
    total = torch.tensor(float(num_sequences), device=loss.device)
    distributed.all_reduce(total)
    return loss * (num_sequences * distributed.get_world_size() / total)
