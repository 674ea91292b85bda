"""The fully convolutional branch of LSTM-FCN, exact for sequences of unequal length."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.common.validation import check_at_least
from seqlight.recurrent.lengths import CheckedLengths, check_lengths, step_mask


class ConvolutionalBranch(nn.Module):
    """Convolutions over time, each with batch normalisation and ReLU, and the mean over time.

    A sequence ends where its length says: the next steps count as zeros in a convolution, as they do past the end of
    the batch, and not at all in statistics and means. So in evaluation neither padding nor the other sequences of a
    batch change a result. In training, batch normalisation uses the statistics of the batch's true steps.

    Source: the FCN block of Karim et al., "LSTM Fully Convolutional Networks for Time Series Classification", 2018.

    Args:
        input_size: the number of input features F.
        num_filters: the number of filters of each convolution.
        widths: the number of time steps that each convolution sees.

    Attributes:
        output_size: the number of filters of the last convolution.

    Raises:
        ValueError: if a size is below 1.
    """

    def __init__(
        self, input_size: int, num_filters: Sequence[int] = (128, 256, 128), widths: Sequence[int] = (8, 5, 3)
    ) -> None:
        super().__init__()
        check_at_least("input_size", input_size, 1)
        for size in (*num_filters, *widths):
            check_at_least("num_filters and widths", size, 1)
        sizes = zip(itertools.pairwise([input_size, *num_filters]), widths, strict=True)
        # A bias would be subtracted again by the normalisation. `forward` pads: torch warns of even widths.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, width, bias=False) for (before, after), width in sizes
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in num_filters)
        self.widths = tuple(widths)
        self.output_size = num_filters[-1]

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int64[Tensor, " batch"] | CheckedLengths | None = None,
    ) -> Float[Tensor, "batch filters"]:
        """The mean over the true time steps of the last convolution's outputs (B, filters).

        Args:
            inputs: (B, T, F); padding may hold anything.
            lengths: true time steps of each sequence, (B,), in 1..T; T if None.

        Raises:
            TypeError, ValueError: as `check_lengths`.
        """
        checked = check_lengths(lengths, inputs)
        mask = None if checked is None else step_mask(checked.values, inputs.shape[1], inputs.device)
        outputs = (inputs if mask is None else inputs.masked_fill(~mask[..., None], 0)).transpose(1, 2)
        for width, convolution, norm in zip(self.widths, self.convolutions, self.norms, strict=True):
            padded = nn.functional.pad(outputs, ((width - 1) // 2, width // 2))
            outputs = _normalise(norm, convolution(padded), mask).relu()
        if checked is None:
            return outputs.mean(2)
        return outputs.sum(2) / checked.values.to(outputs.device, outputs.dtype)[:, None]


def _normalise(norm: Any, outputs: Tensor, mask: Tensor | None) -> Tensor:
    """Batch normalisation (B, C, T) over the true time steps; the others become 0."""
    if not norm.training:
        outputs = norm(outputs)
        return outputs if mask is None else outputs.masked_fill(~mask[:, None], 0)
    steps = outputs.transpose(1, 2)
    true = steps.flatten(0, 1) if mask is None else steps[mask]
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    several = len(true) > 1  # a single number has no variance
    true = nn.functional.batch_norm(true, mean, variance, norm.weight, norm.bias, several, norm.momentum, norm.eps)
    # A step that is skipped, since its loss is not finite, must not leave its statistics behind.
    for kept, now in ((norm.running_mean, mean), (norm.running_var, variance)):
        kept.copy_(torch.where(now.isfinite(), now, kept))
    norm.num_batches_tracked.add_(several)
    if mask is None:
        return true.view_as(steps).transpose(1, 2)
    return torch.zeros_like(steps).masked_scatter(mask[..., None], true).transpose(1, 2)
