"""A step of an optimizer, its non-finite values, and the message about them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
from torch import Tensor, distributed

from seqlight.training.non_finite import listed


class Found(NamedTuple):
    """The non-finite values of a step, in one process."""

    losses: list[float]  # the non-finite losses
    batches: list[int]  # the batches with a non-finite loss, else all batches of the step
    samples: list[str]  # the samples of these batches
    non_finite_samples: list[str]  # the samples with non-finite inputs or targets


class Step(NamedTuple):
    """A step of an optimizer, with its losses and the batches that it comes from."""

    number: int
    batches: list[int]
    losses: list[Any]  # numbers, or tensors on a device
    parameters: Sequence[Tensor]
    norms: Tensor | None = None  # of each gradient, if the step is checked later
    is_finite: Tensor | None = None
    is_left_out: bool = True  # else its gradients are 0


def non_finite_gradients(module: pl.LightningModule, step: Step) -> list[str]:
    """The names of the parameters whose gradients are not finite."""
    parameters = step.parameters
    if step.norms is None:
        bad = [each for each in parameters if each.grad is not None and not each.grad.isfinite().all()]
    else:
        finite = step.norms.isfinite().tolist()
        bad = [each for each, is_finite in zip(parameters, finite, strict=False) if not is_finite]
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names.get(id(parameter), "a parameter") for parameter in bad]


def from_all_processes(found: Found) -> list[Found]:
    """The non-finite values in each process of the run."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [found]
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, found)
    return parts


def describe(
    trainer: pl.Trainer,
    step: Step,
    weights: list[str],
    losses: list[float],
    gradients: list[str],
    found: list[Found],
    skipped: int | None,
) -> str:
    """The text of NonFiniteError: the step, its non-finite values and the samples of its batches.

    Args:
        trainer: the Trainer.
        step: the step, which was not taken.
        weights: the parameters that are not finite.
        losses: the non-finite losses.
        gradients: the parameters whose gradients are not finite.
        found: the non-finite values in each process.
        skipped: the number of batches skipped before; None if batches are not skipped.
    """
    # Only processes with a non-finite loss matter, if there are any.
    found = [each for each in found if each.losses] or found
    batches = sorted({batch for each in found for batch in each.batches})
    place = f"step {step.number} (epoch {trainer.current_epoch}, batch {listed(batches)})"
    what = f"the loss is {losses[0]}" if losses else f"the gradient of {listed(gradients, 3)} is not finite"
    bad_samples = [sample for each in found for sample in each.non_finite_samples]
    if not losses and not bad_samples:  # the product of many steps' derivatives overflows
        what += ": try a smaller learning_rate"
    if weights:
        what = f"the weights of {listed(weights, 3)} are not finite: try a smaller learning_rate"
    lines = [f"{place}: {what}"]
    samples = [sample for each in found for sample in each.samples]
    if samples and not weights:
        more = f"; non-finite inputs or targets in {listed(bad_samples)}" if bad_samples else ""
        lines.append(f"training samples: {listed(samples)}{more}")
    if skipped is not None and not weights:
        lines.append(f"no step of the epoch or run would be taken; skipped so far: {skipped} batches")
    done = "the step was not taken" if step.is_left_out else "its gradients were set to 0"
    lines.append(f"{done} and nothing was saved; earlier checkpoints are unchanged")
    if skipped is None and not weights:
        lines.append('to skip such batches: `non_finite="skip"`')
    return "\n".join(lines)
