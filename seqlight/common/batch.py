"""Batches of sequences."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seqlight.common.errors import ShownError


class BatchError(ShownError, ValueError):
    """Samples that do not match the properties of their data module."""


class Batch(NamedTuple):
    """Sequences of unequal length, padded at the end to a common number of time steps.

    Attributes:
        inputs: features, float of shape (B, T, F), or tokens, int64 of shape (B, T).
        targets: float (B,) for binary, float (B, L) for multilabel and regression, int64 (B,) for multiclass. An
            unknown target in a predict split is NaN (float) or -1 (int64). If each step has a label, they are (B, T) or
            (B, T, L), with any valid target as padding.
        lengths: number of time steps of each sequence without padding, int64 of shape (B,). They stay on the CPU
            when the batch moves to an accelerator: reading them there would stall it.
    """

    inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"]
    targets: Float[Tensor, "batch *labels"] | Int64[Tensor, "batch *time"]
    lengths: Int64[Tensor, " batch"]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """A batch with inputs and targets on `device`."""
        return self._replace(
            inputs=self.inputs.to(device, non_blocking=non_blocking),
            targets=self.targets.to(device, non_blocking=non_blocking),
        )

    @property
    def nbytes(self) -> int:
        """The size of inputs and targets in bytes."""
        return self.inputs.nbytes + self.targets.nbytes

    def take(self, rows: Int64[Tensor, " rows"], device_rows: Int64[Tensor, " rows"]) -> "Batch":
        """A batch of the given rows, without time steps that are padding in all of them.

        Args:
            rows: indices of sequences, (B,), on the CPU.
            device_rows: the same indices on the device of the inputs.
        """
        lengths = self.lengths.index_select(0, rows)
        inputs = self.inputs.index_select(0, device_rows)[:, : int(lengths.max())]
        return Batch(inputs, self.targets.index_select(0, device_rows), lengths)


def require_batch(batch: object) -> None:
    """Raise BatchError unless `batch`, from a loader, is a Batch."""
    if not isinstance(batch, Batch):
        raise BatchError(f"a loader must give seqlight.Batch(inputs, targets, lengths), got {type(batch).__name__}")


def check_batch(
    batch: Batch,
    source: str,
    *,
    input_size: int | None,
    vocab_size: int | None,
    target: str,
    num_outputs: int,
    label_per: str = "sequence",
    predict: bool = False,
) -> None:
    """Check a batch against the properties of its data module.

    Args:
        batch: the batch.
        source: the name of its source, for the message.
        input_size: number of features F; None for tokens.
        vocab_size: number of tokens; None for features.
        target: "binary", "multiclass", "multilabel" or "regression".
        num_outputs: number of classes, labels or numbers; 1 for binary.
        label_per: "sequence" or "step", which have a target each.
        predict: whether targets can be unknown, as in a predict split.

    Raises:
        BatchError: if they differ; the message names the source, the field, the value and what was expected.
    """

    def expect(part: str, fits: bool, expected: str) -> None:
        if not fits:
            value = getattr(batch, part, batch)
            got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise BatchError(f"{source}: {part} must be {expected}, got {got}")

    expect("a sample", isinstance(batch, Batch), "a Batch(inputs, targets, lengths)")
    inputs, targets, lengths = batch
    for part in batch._fields:
        expect(part, isinstance(getattr(batch, part), Tensor), "a tensor")
    if vocab_size is None:
        expect(
            "inputs",
            inputs.dtype == torch.float32 and inputs.shape[2:] == (input_size,),
            f"float32 (B, T, {input_size})",
        )
    else:
        expect("inputs", inputs.dtype == torch.int64 and inputs.ndim == 2, "int64 tokens (B, T)")
        inside = bool(((inputs >= 0) & (inputs < vocab_size)).all())
        expect("inputs", inside, f"tokens from 0 to {vocab_size - 1}, including padding")
    size, num_steps = inputs.shape[:2]
    expect("inputs", size > 0 and num_steps > 0, "at least one sequence of at least one time step")
    expect("lengths", lengths.dtype == torch.int64 and lengths.shape == (size,), f"int64 ({size},)")
    for bad in torch.nonzero((lengths < 1) | (lengths > num_steps))[:1].flatten().tolist():
        raise BatchError(
            f"{source}: lengths must be between 1 and the {num_steps} time steps of inputs, "
            f"got {int(lengths[bad])} of sequence {bad}"
        )
    labelled = (size,) if label_per == "sequence" else (size, num_steps)
    if target == "multiclass":
        expect("targets", targets.dtype == torch.int64 and targets.shape == labelled, f"int64 classes {labelled}")
        lowest = -1 if predict else 0
        expect("targets", bool(((targets >= lowest) & (targets < num_outputs)).all()), f"from 0 to {num_outputs - 1}")
    elif target == "regression":
        shape = (*labelled, num_outputs)
        expect("targets", targets.dtype == torch.float32 and targets.shape == shape, f"float32 {shape}")
        expect("targets", bool(targets.isfinite().all()) or predict, "finite")
    else:
        shape = labelled if target == "binary" else (*labelled, num_outputs)
        expect("targets", targets.dtype == torch.float32 and targets.shape == shape, f"float32 {shape}")
        known = (targets == 0) | (targets == 1)
        expect("targets", bool((known | targets.isnan() if predict else known).all()), "0 or 1")
