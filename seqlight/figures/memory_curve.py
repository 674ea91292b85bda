"""The influence of earlier time steps on a model's loss."""

import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.common.batch import Batch
from seqlight.recurrent.lengths import step_mask
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.evaluation_mode import evaluating
from seqlight.training.metrics import classification_loss


def memory_curve(model: SequenceClassifier, batch: Batch) -> Float[Tensor, " time"]:
    """The norm of d loss / d x_t, by the distance of step t from the end of its sequence.

    If it falls to 0, the model has forgotten earlier steps and can't learn from them: the vanishing
    gradient of Bengio, Simard and Frasconi, "Learning Long-Term Dependencies with Gradient Descent
    is Difficult", 1994. For tokens x_t is their embedding.

    Args:
        model: evaluated without dropout; neither its mode nor the gradients of its parameters change.
        batch: sequences and targets, on any device.

    Returns:
        (T,): entry d is the mean over sequences longer than d of the norm of the gradient of the
        sequence's own loss with respect to x, d steps before the last step.
    """
    batch = batch.to(model.device)
    with evaluating(model) as copy, torch.enable_grad(), torch.inference_mode(False):
        features = copy.features(batch.inputs.clone(), batch.lengths).detach().requires_grad_()
        logits = copy.classify(features, batch.lengths)
        # Sequences are independent, so the gradient of the sum contains each sequence's own gradient.
        loss = classification_loss(logits, batch.targets.clone(), model.target, "sum", model.class_weights)
        [gradient] = torch.autograd.grad(loss, features)
    num_steps = features.shape[1]
    mask = step_mask(batch.lengths, num_steps, gradient.device)
    lengths = batch.lengths.to(gradient.device)[:, None]
    distance = torch.where(mask, lengths - 1 - torch.arange(num_steps, device=gradient.device), 0)
    norms = torch.where(mask, gradient.norm(dim=-1), 0)
    totals = torch.zeros(num_steps, device=gradient.device, dtype=norms.dtype)
    totals.index_add_(0, distance.flatten(), norms.flatten())
    counts = torch.bincount(distance[mask], minlength=num_steps)
    return totals / counts.clamp(min=1)
