"""Labels of tensor elements: which expression an element holds, and for which sequence and unit.

A label is one integer, which packs the number of the expression, the row (sequence) and the column (unit).
"""

from typing import Any

import torch
from torch import Tensor

ANY_ROW, SUM_ROW = 255, 254  # a constant or parameter; a sum over sequences
ANY_COLUMN, SUM_COLUMN = 2**24 - 1, 2**24 - 2  # a constant or a parameter that all units share; a sum over units


def pack(numbers: Tensor, rows: Tensor | int, columns: Tensor | int) -> Tensor:
    """Labels from expression numbers, rows and columns."""
    return (numbers << 32) | (rows << 24) | columns


def unpack(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Expression numbers, rows and columns of labels."""
    return labels >> 32, (labels >> 24) & 0xFF, labels & 0xFFFFFF


class Labels:
    """The labels of tensors. They belong to memory, so a view of a tensor has a view of its labels."""

    def __init__(self) -> None:
        # By address. The storage is kept alive, so that its address is not used again.
        self._storages: dict[int, tuple[Any, Tensor]] = {}

    def has(self, tensor: Tensor) -> bool:
        """Whether the tensor's memory has labels."""
        return tensor.untyped_storage().data_ptr() in self._storages

    def read(self, tensor: Tensor) -> Tensor:
        """The labels of a tensor, in its shape."""
        _, labels = self._storages[tensor.untyped_storage().data_ptr()]
        return labels.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def write(self, tensor: Tensor, labels: Tensor) -> None:
        """Set the labels of a tensor; other elements of its memory keep theirs."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._storages:
            size = storage.nbytes() // tensor.element_size()
            self._storages[storage.data_ptr()] = (storage, torch.full((size,), -1))
        self.read(tensor).copy_(labels)
