"""Integer codes of the distinct values of a column."""

import numpy as np
import pyarrow as pa
from jaxtyping import Int32

from seqlight.data.reading.arrow import plain
from seqlight.data.reading.names import as_text, is_missing


class Codes:
    """Codes of distinct values: 0, 1, ... in the order of first appearance.

    Attributes:
        of: the code of each value.
        texts: the values, in the order of their codes.
    """

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.texts: list[str] = []

    def encode(self, column: pa.Array) -> Int32[np.ndarray, " rows"]:
        """The code of each row's value as text; -1 if the cell is empty."""
        encoded = plain(column).dictionary_encode()
        # A batch has its own dictionary, so the loop runs over distinct values only.
        codes = [-1 if is_missing(value) else self._code(as_text(value)) for value in encoded.dictionary.to_pylist()]
        indices = encoded.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
        return np.asarray(np.asarray([*codes, -1], np.int32)[indices])

    def _code(self, text: str) -> int:
        code = self.of.setdefault(text, len(self.texts))
        if code == len(self.texts):
            self.texts.append(text)
        return code
