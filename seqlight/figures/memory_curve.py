"""The influence of earlier time steps on a model's answer."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.common.batch import Batch
from seqlight.common.steps import step_mask
from seqlight.data.datamodule import SequenceDataModule
from seqlight.data.streams import Purpose, generator
from seqlight.data.synthetic import SyntheticSequences
from seqlight.tasks.task import Target
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.evaluation_mode import evaluating
from seqlight.training.metrics import to_float64

_MOST_STEPS = 200  # of the sequences that are drawn for a figure


def memory_curve(model: SequenceClassifier, batch: Batch) -> Float[Tensor, " time"]:
    """The influence of a time step on the logit, by its distance from the end of its sequence: 1 at the last step.

    It is the norm of d logit / d x_t, divided by that of the sequence's last step; the median over sequences. If it
    falls to 0, the model has forgotten earlier steps and can't learn from them: the vanishing gradient of Bengio,
    Simard and Frasconi, "Learning Long-Term Dependencies with Gradient Descent is Difficult", 1994. The gradient of the
    loss would be small too where the model is right. For tokens x_t is their embedding.

    The logit is that of the predicted class; for multilabel, that of the label of which the model is most certain. If
    each step has a label, it is the logit of the last step.

    Args:
        model: evaluated without dropout; neither its mode nor the gradients of its parameters change.
        batch: sequences, on any device; the targets are not used.

    Returns:
        (T,): entry d is the median over sequences longer than d, 0 if there are none. A sequence whose last step has no
        influence is left out.
    """
    return memory_quartiles(model, batch)[1].nan_to_num(0)


def memory_quartiles(model: SequenceClassifier, batch: Batch) -> Float[Tensor, "3 time"]:
    """The quartiles of the influence over sequences, (3, T), as in `memory_curve`; NaN without sequences."""
    batch = batch.to(model.device)
    with evaluating(model) as copy, torch.enable_grad(), torch.inference_mode(False):
        lengths = batch.lengths.clone()  # a mean over time keeps them for the gradient
        features = copy.features(batch.inputs.clone(), lengths).detach().requires_grad_()
        logits = copy.classify(features, lengths)
        if model.label_per == "step":
            logits = logits[torch.arange(len(logits)), batch.lengths - 1]
        logits = _answer(logits, model.target)
        # Sequences are independent, so the gradient of the sum contains each sequence's own gradient.
        [gradient] = torch.autograd.grad(logits.sum(), features)
    num_steps, device = features.shape[1], gradient.device
    # In float64: the squares of small gradients would underflow.
    norms = to_float64(gradient).norm(dim=-1).cpu()
    # Each row from the end of its sequence backwards.
    steps = (batch.lengths.to(device)[:, None] - 1 - torch.arange(num_steps, device=device)).clamp(min=0).cpu()
    mask = step_mask(batch.lengths, num_steps, device).cpu()
    norms = norms.gather(1, steps).masked_fill(~mask, torch.nan)
    influence = norms / norms[:, :1]
    influence[~(norms[:, 0] > 0)] = torch.nan
    quarters = torch.tensor([0.25, 0.5, 0.75], dtype=influence.dtype)
    # By column: torch limits the size of the input.
    quartiles = torch.stack([column.nanquantile(quarters) for column in influence.T], 1)
    return quartiles.to(gradient.dtype).to(device)


def _answer(logits: Float[Tensor, "batch *outputs"], target: Target) -> Float[Tensor, " batch"]:
    """The logit of the answer, (B,)."""
    if target == "binary":
        return logits
    chosen = logits if target == "multiclass" else logits.abs()
    return logits.gather(1, chosen.argmax(1, keepdim=True)).squeeze(1)


class Memory(NamedTuple):
    """The quartiles of the influence, (3, T), from `memory_quartiles`, and a text that names the sequences."""

    quartiles: Float[Tensor, "3 time"]
    sequences: str


def measure_memory(
    model: SequenceClassifier, datamodule: SequenceDataModule | None, batch: Batch, num_sequences: int = 64
) -> Memory:
    """The influence on sequences that are long enough to show how far a memory reaches.

    A task whose length can be chosen draws sequences ten times as long as the batch, up to 200 steps. For other data,
    and if task or model can't use such sequences, they are the sequences of the batch.

    Args:
        model: as for `memory_curve`.
        datamodule: the data; None if they are not known.
        batch: the validation batch with the longest sequences.
        num_sequences: the number of sequences to draw, at most.
    """
    longest = int(batch.lengths.max())
    num_steps = min(10 * longest, _MOST_STEPS)
    if isinstance(datamodule, SyntheticSequences) and num_steps > longest:
        try:
            task = datamodule.task.with_lengths(num_steps, num_steps)
            drawn = task.sample(num_sequences, generator(Purpose.MEMORY, seed=0))
            if drawn.inputs.is_floating_point():
                drawn = drawn._replace(inputs=drawn.inputs.to(batch.inputs.dtype))  # the Trainer's precision
            quartiles = memory_quartiles(model, drawn)
        except Exception:  # tasks and models can be the user's, with a limit on the length
            pass
        else:
            found = (
                f"{num_sequences} sequences of {num_steps} steps, drawn for this figure (validation: at most {longest})"
            )
            return Memory(quartiles, found)
    count = len(batch.lengths)
    kind = "sequence" if count == 1 else "sequences"
    return Memory(memory_quartiles(model, batch), f"{count} validation {kind} of at most {longest} steps")
