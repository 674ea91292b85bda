"""The fully convolutional branch of LSTM-FCN, exact for sequences of unequal length."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.common.steps import step_mask
from seqlight.common.validation import check_at_least
from seqlight.recurrent.lengths import CheckedLengths, check_lengths


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
        # A bias would be subtracted again by the normalisation.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, width, bias=False) for (before, after), width in sizes
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in num_filters)
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
        batch, time, _ = inputs.shape
        outputs, rows = inputs, None
        if checked is not None:
            mask = step_mask(checked.values, time, inputs.device)
            outputs, rows = inputs.masked_fill(~mask[..., None], 0), mask.flatten().nonzero().squeeze(1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            steps = _convolve(convolution, outputs).flatten(0, 1)
            true = steps if rows is None else steps.index_select(0, rows)
            true = _normalise(norm, true).relu()
            steps = true if rows is None else torch.zeros_like(steps).index_copy(0, rows, true)
            outputs = steps.view(batch, time, -1)
        if checked is None:
            return outputs.mean(1)
        return outputs.sum(1) / checked.values.to(outputs.device, outputs.dtype)[:, None]


def _convolve(convolution: Any, inputs: Tensor) -> Tensor:
    """A convolution of (B, T, F) with zeros around it: (B, T, filters).

    As an image of one row whose channels come last, the inputs are neither copied nor reordered.
    """
    [width] = convolution.kernel_size
    before, after = (width - 1) // 2, width // 2
    image = inputs.transpose(1, 2).unsqueeze(2)
    if before != after:  # torch warns of even widths
        image, before = nn.functional.pad(image, (before, after)), 0
    weight = convolution.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return nn.functional.conv2d(image, weight, padding=(0, before)).squeeze(2).transpose(1, 2)


def _normalise(norm: Any, steps: Tensor) -> Tensor:
    """Batch normalisation of time steps (S, C)."""
    if not norm.training:
        outputs: Tensor = norm(steps)
        return outputs
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    several = len(steps) > 1  # a single number has no variance
    steps = nn.functional.batch_norm(steps, mean, variance, norm.weight, norm.bias, several, norm.momentum, norm.eps)
    # A step that is skipped, since its loss is not finite, must not leave its statistics behind.
    for kept, now in ((norm.running_mean, mean), (norm.running_var, variance)):
        kept.copy_(torch.where(now.isfinite(), now, kept))
    norm.num_batches_tracked.add_(several)
    return steps
