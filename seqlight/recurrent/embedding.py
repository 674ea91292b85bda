"""Tokens as vectors."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from seqlight.recurrent.lengths import ragged_lengths, step_mask
from seqlight.validation import check_at_least


def new_embedding(vocab_size: int, embedding_size: int) -> nn.Embedding:
    """A vector for each token; raises ValueError or TypeError, naming the argument, for sizes below 1."""
    check_at_least("vocab_size", vocab_size, 1)
    check_at_least("embedding_size", embedding_size, 1)
    return nn.Embedding(vocab_size, embedding_size)


def embed(
    embedding: nn.Embedding, tokens: Int64[Tensor, "batch time"], lengths: Int64[Tensor, " batch"] | None
) -> Float[Tensor, "batch time features"]:
    """The vectors (B, T, F) of tokens (B, T); padding may hold anything, and gets some vector."""
    lengths = ragged_lengths(lengths, tokens)
    if lengths is not None:
        tokens = tokens.masked_fill(~step_mask(lengths, tokens.shape[1], tokens.device), 0)
    vectors: Tensor = embedding(tokens)
    return vectors
