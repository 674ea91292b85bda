"""Checks that the results of a trained model are finite."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.common.private_torch import is_transformed
from seqlight.training.non_finite import NonFiniteError, listed


def check_probabilities(probabilities: Float[Tensor, "batch *outputs"]) -> None:
    """Raise NonFiniteError if a probability is NaN or infinite, naming the sequences by their index."""
    if torch.compiler.is_compiling() or is_transformed() or bool(probabilities.isfinite().all()):
        return
    bad = non_finite_rows(probabilities)
    raise NonFiniteError(
        f"the probabilities of {len(bad)} of {len(probabilities)} sequences are not finite: {listed(bad)}\n"
        "check their inputs, and the weights of the model, for NaN and infinity"
    )


def non_finite_rows(values: Float[Tensor, "batch *outputs"]) -> list[int]:
    """The indices of the sequences with a value that is NaN or infinite."""
    bad: list[int] = (~values.isfinite()).reshape(len(values), -1).any(1).nonzero().flatten().tolist()
    return bad


def check_evaluation(metrics: Mapping[str, Tensor | float]) -> None:
    """Raise NonFiniteError if a metric of a test or validation is NaN or infinite, naming all such metrics."""
    bad = [f"{name} is {float(value)}" for name, value in metrics.items() if not torch.as_tensor(value).isfinite()]
    if bad:
        raise NonFiniteError(
            f"{listed(bad)}\nthe model gives values that are not finite; `predict` on the same data names the samples"
        )
