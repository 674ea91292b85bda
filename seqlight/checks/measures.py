"""Measurements of a cell: gradient by time lag, and time per step."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqlight.cells.cell import RecurrentCell
from seqlight.checks.case import Case, Subject, initial_state
from seqlight.checks.kernel import kernel_layer, why_no_kernel
from seqlight.recurrent.layer import RecurrentLayer
from seqlight.recurrent.unroll import unroll

LAGS = (1, 10, 100)
_ROUNDS = 9


def gradient_by_lag(subject: Subject, case: Case) -> str:
    """The Frobenius norm of d h_T / d x_(T-k) for each lag k, root mean square over the case's sequences."""
    inputs = subject.inputs(case).requires_grad_()
    outputs, _ = unroll(subject.cell(case), inputs)
    # With random signs s, the mean of |s J|^2 is |J|^2.
    signs = torch.randn(outputs[:, -1].shape, generator=torch.Generator().manual_seed(4), dtype=case.dtype).sign()
    # The second sum is 0: the outputs need not depend on the inputs.
    [found] = torch.autograd.grad((outputs[:, -1] * signs).sum() + inputs[:0].sum(), inputs)
    norms = found.square().sum(-1).mean(0).sqrt()
    return ", ".join(f"{norms[-1 - lag].item():.2g} at {lag}" for lag in LAGS)


def time_per_step(subject: Subject, case: Case) -> str:
    """The time of a training step on one thread, per time step: of the loop, and of kernel and torch relative to it."""
    cell = subject.cell(case).train()
    inputs = subject.inputs(case)
    runs: dict[str, Callable[[Tensor], Any]] = {"eager": RecurrentLayer(cell, backend="eager")}
    with_kernel = kernel_layer(subject, cell)
    if not why_no_kernel(with_kernel, inputs):
        runs["kernel"] = with_kernel
    name, layer_type = _nearest_torch_layer(cell, case)
    runs[name] = layer_type(subject.input_size, cell.hidden_size, batch_first=True).to(case.dtype)

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = _alternate({name: partial(_train, run, inputs) for name, run in runs.items()})
    finally:
        torch.set_num_threads(num_threads)
    eager = seconds.pop("eager")
    ratios = ", ".join(f"{name} {value / eager:.2f} of that" for name, value in seconds.items())
    return f"eager {eager / case.num_steps * 1e6:.0f} us, {ratios}"


def _nearest_torch_layer(cell: RecurrentCell, case: Case) -> tuple[str, Callable[..., nn.Module]]:
    if getattr(cell, "num_gates", None) == 1:
        return "nn.RNN", nn.RNN
    return ("nn.LSTM", nn.LSTM) if len(initial_state(cell, case)) == 2 else ("nn.GRU", nn.GRU)


def _train(run: Callable[[Tensor], Any], inputs: Tensor) -> None:
    outputs, _ = run(inputs)
    if outputs.requires_grad:  # not if all weights are frozen
        outputs.sum().backward()


def _alternate(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """The median time of each function in seconds; they run in turns, and the first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + _ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}
