"""Properties of a cell's gradients."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from seqlight.cells.cell import RecurrentCell
from seqlight.checks.case import Case, PropertyError, Subject, name_results
from seqlight.common.private_torch import gradcheck_values
from seqlight.recurrent.unroll import unroll


def gradients(cell: RecurrentCell, inputs: Tensor, results: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradients of one random combination of all results by the inputs and each trainable parameter."""
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in results.values()]
    parts = [(value * weight).sum() for value, weight in zip(results.values(), weights, strict=True)]
    total = torch.stack([*parts, inputs[:0].sum()]).sum()  # the last is 0, and lets `total` depend on the inputs
    by = {"inputs": inputs} | {name: value for name, value in cell.named_parameters() if value.requires_grad}
    found = torch.autograd.grad(total, tuple(by.values()), allow_unused=True, materialize_grads=True)
    return {f"gradient of {name}": value for name, value in zip(by, found, strict=True)}


def finite_gradients(subject: Subject, case: Case) -> None:
    """Check that outputs, states and their gradients by inputs and parameters are finite."""
    cell, inputs = subject.cell(case), subject.inputs(case).requires_grad_()
    results = name_results(*unroll(cell, inputs))
    for name, value in (results | gradients(cell, inputs, results)).items():
        if not value.isfinite().all():
            wrong = value[~value.isfinite()][0].item()
            raise PropertyError(f"{name} is not finite", wrong)


def parameters_used(subject: Subject, case: Case) -> None:
    """Check that the gradient of every trainable parameter is not 0 everywhere."""
    cell = subject.cell(case)
    unused = {f"gradient of {name}" for name, value in cell.named_parameters() if value.requires_grad}
    for seed in range(3):
        inputs = subject.inputs(case, seed).requires_grad_()
        found = gradients(cell, inputs, name_results(*unroll(cell, inputs)))
        unused = {name for name in unused if not found[name].any()}
    if unused:
        raise PropertyError(f"{', '.join(sorted(unused))} is 0 everywhere")


class _Run(nn.Module):
    """A module whose call is `unroll` of a cell, for `torch.func.functional_call`."""

    def __init__(self, cell: RecurrentCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, state = unroll(self.cell, inputs)
        return (outputs, *state)


def gradcheck(subject: Subject, case: Case) -> None:
    """Check that gradients equal finite differences in random directions (fast mode of torch.autograd.gradcheck)."""
    run, inputs = _Run(subject.cell(case)), subject.inputs(case)
    tensors = {name: value.detach() for name, value in run.named_parameters() if value.requires_grad}
    tensors["inputs"] = inputs

    def run_with(name: str, value: Tensor) -> Tensor:
        parameters = tensors | {name: value}
        results: tuple[Tensor, ...] = torch.func.functional_call(run, parameters, parameters.pop("inputs"))
        # One tensor, because the fast mode confuses several if one of them needs no gradient. A state that is computed
        # without gradients has none to compare.
        return torch.cat([result.flatten() for result in results if result.requires_grad] or [results[0].flatten()])

    for name, value in tensors.items():
        gradient = f"gradient of {name.removeprefix('cell.')}"
        try:
            torch.autograd.gradcheck(partial(run_with, name), value.clone().requires_grad_(), fast_mode=True)
        except GradcheckError as error:
            derivatives = gradcheck_values(error)
            if derivatives is None:  # gradcheck also checks other things
                raise PropertyError(f"{gradient}: {error}") from error
            numerical, analytical = derivatives
            values = f"finite differences give {numerical:.6g}, backward {analytical:.6g}"
            difference = abs(numerical - analytical)
            raise PropertyError(f"{gradient}: in a random direction {values}", difference) from error
