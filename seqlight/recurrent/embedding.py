"""Embedding of tokens as vectors."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.common.steps import step_mask
from seqlight.common.validation import check_at_least
from seqlight.recurrent.lengths import CheckedLengths


def new_embedding(vocab_size: int, embedding_size: int) -> nn.Embedding:
    """An embedding with one vector for each token.

    Raises:
        ValueError: if a size is below 1; the message names the argument.
        TypeError: if a size is not an integer.
    """
    check_at_least("vocab_size", vocab_size, 1)
    check_at_least("embedding_size", embedding_size, 1)
    return nn.Embedding(vocab_size, embedding_size)


def embed(
    embedding: nn.Embedding, tokens: Int64[Tensor, "batch time"], lengths: CheckedLengths | None
) -> Float[Tensor, "batch time features"]:
    """The vectors (B, T, F) of tokens (B, T). Padding can have any value; its vectors have no meaning."""
    if lengths is not None:
        tokens = tokens.masked_fill(~step_mask(lengths.values, tokens.shape[1], tokens.device), 0)
    vectors: Tensor = embedding(tokens)
    return vectors
