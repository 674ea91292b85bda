"""Values that the pickle of `torch.save` names or builds: what `torch.load(weights_only=True)` allows too.

Nothing is imported by its name. Tensors are no larger than their bytes in the file, but for a few expanded ones.
"""

import collections
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqlight.checkpoints.plain_values import KeyTime, UnsafeError
from seqlight.common.private_torch import NEW_DTYPES, REBUILD, quantised, set_tensor_metadata

_MOST_EXPANDED = 2**20  # values of expanded tensors (stride 0), which are larger than their storages
_COMPRESSED = {torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}


class Storage(NamedTuple):
    """The bytes of one storage, and the type that the file states for them; None if each tensor states its own."""

    content: torch.UntypedStorage
    dtype: torch.dtype | None


def _dtypes() -> dict[str, torch.dtype]:
    """All dtypes that torch names in a pickle, by their names."""
    small = (f"{kind}{bits}" for kind in ("uint", "int") for bits in range(1, 8))
    found = {getattr(torch, name, None) for name in (*small, "qint8", "quint8", "qint32")}
    return {str(each).replace(".", " "): each for each in {*STORAGES.values(), *NEW_DTYPES, *found} if each}


# The names of storages, and the type of their values.
STORAGES: dict[str, torch.dtype | None] = {
    "torch BFloat16Storage": torch.bfloat16,
    "torch BoolStorage": torch.bool,
    "torch ByteStorage": torch.uint8,
    "torch CharStorage": torch.int8,
    "torch ComplexDoubleStorage": torch.complex128,
    "torch ComplexFloatStorage": torch.complex64,
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch IntStorage": torch.int32,
    "torch LongStorage": torch.int64,
    "torch QInt32Storage": torch.qint32,
    "torch QInt8Storage": torch.qint8,
    "torch QUInt8Storage": torch.quint8,
    "torch ShortStorage": torch.int16,
    "torch.storage UntypedStorage": None,
}
_SCHEMES = [torch.per_tensor_affine, torch.per_tensor_symmetric, torch.per_channel_affine,
            torch.per_channel_symmetric, torch.per_channel_affine_float_qparams]  # fmt: skip
_LAYOUTS = {str(each): each for each in (torch.strided, torch.sparse_coo, *_COMPRESSED)}
# Names that mean a value.
CONSTANTS: dict[str, Any] = {**_dtypes(), **{str(each).replace(".", " "): each for each in _SCHEMES}}


class Rebuilder:
    """The functions that a pickle can call, by their names in `functions`."""

    def __init__(self) -> None:
        self._expanded = _MOST_EXPANDED
        self.key_time = KeyTime()
        self.functions: dict[str, Callable[..., Any]] = {
            "collections Counter": self._counter,
            "collections OrderedDict": lambda: collections.OrderedDict(),
            "__builtin__ set": self._set,
            "__builtin__ bytearray": _bytearray,
            "__builtin__ complex": lambda real, imaginary: complex(float(real), float(imaginary)),
            "_codecs encode": _latin,
            "torch Size": lambda size: torch.Size(_numbers(size)),
            "torch device": lambda kind, *index: torch.device(kind, *index),
            "torch.serialization _get_layout": lambda name: _LAYOUTS[name],
            REBUILD["tensor"]: self._tensor,
            REBUILD["tensor of a newer type"]: self._newer_tensor,
            REBUILD["tensor with attributes"]: self._with_attributes,
            REBUILD["parameter"]: _parameter,
            REBUILD["parameter with attributes"]: lambda tensor, grad, _, state: _set_attributes(
                _parameter(tensor, grad), state
            ),
            REBUILD["sparse"]: self._sparse,
            REBUILD["quantised"]: self._quantised,
            REBUILD["meta"]: _meta,
        }
        # Named in a pickle as the type of a tensor with attributes.
        self.types: dict[str, type[Tensor]] = {"torch Tensor": Tensor, "torch.nn.parameter Parameter": nn.Parameter}

    def _set(self, items: Any = ()) -> set[Any]:
        result: set[Any] = set()
        self.key_time.insert(list(items), lambda part: result.update(items[part]))
        return result

    def _counter(self, counts: Any = None) -> collections.Counter[Any]:
        if type(counts) not in (dict, type(None)):
            raise UnsafeError("a Counter is not made of a dict")
        result: collections.Counter[Any] = collections.Counter()
        keys, values = list(counts or ()), list((counts or {}).values())
        self.key_time.insert(keys, lambda part: dict.update(result, zip(keys[part], values[part], strict=True)))
        return result

    def _check_place(self, storage: Storage, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> None:
        """Check that a tensor lies within its storage and has no more values, unless a few are repeated."""
        numbers = _numbers((offset, *size, *stride))
        if not isinstance(storage, Storage) or len(size) != len(stride):
            raise UnsafeError("a tensor has no storage, or a size and stride of other lengths")
        count, most = math.prod(size), storage.content.nbytes() // dtype.itemsize
        if count > most:
            self._expanded -= count
            if self._expanded < 0:
                raise UnsafeError("a tensor is larger than its storage")
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if (last >= most) if count else (offset > most):
            raise UnsafeError("a tensor reaches beyond its storage")
        if max(numbers) >= 2**62:
            raise UnsafeError("a tensor has too large a size or stride")

    def _new_tensor(
        self, storage: Storage, dtype: torch.dtype, place: tuple[Any, Any, Any], grad: Any, metadata: Any
    ) -> Tensor:
        offset, size, stride = place
        self._check_place(storage, dtype, offset, size, stride)
        tensor = torch.empty(0, dtype=dtype)
        tensor.set_(storage.content, offset, size, stride)
        if metadata:  # of a view by `conj` or by `imag` after it
            if not (type(metadata) is dict and {*metadata} <= {"conj", "neg"}):
                raise UnsafeError("a tensor has unknown metadata")
            set_tensor_metadata(tensor, {name: bool(value) for name, value in metadata.items()})
        return tensor.requires_grad_(_truth(grad))

    def _tensor(
        self, storage: Storage, offset: Any, size: Any, stride: Any, grad: Any, _: Any, metadata: Any = None
    ) -> Tensor:
        if storage.dtype is None:
            raise UnsafeError("a tensor has no type")
        return self._new_tensor(storage, storage.dtype, (offset, size, stride), grad, metadata)

    def _newer_tensor(
        self, storage: Storage, offset: Any, size: Any, stride: Any, grad: Any, _: Any, dtype: Any, metadata: Any = None
    ) -> Tensor:
        """A tensor whose type has no storage type of its own."""
        if not isinstance(dtype, torch.dtype) or storage.dtype is not None:
            raise UnsafeError("a tensor has no type")
        return self._new_tensor(storage, dtype, (offset, size, stride), grad, metadata)

    def _with_attributes(self, function: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
        """A tensor on which attributes were set. Subclasses of Tensor are refused."""
        if type(arguments) is not tuple or self.functions.get(getattr(function, "name", "")) is None:
            raise UnsafeError("a tensor is built by a value that is not a function")
        tensor = self.functions[function.name](*arguments)
        if type(tensor) is not self.types.get(getattr(kind, "name", "")):
            raise UnsafeError("a tensor is of another class than stated")
        result: Tensor = _set_attributes(tensor, state)
        return result

    def _sparse(self, layout: Any, parts: Any) -> Tensor:
        if not (3 <= len(parts) <= 4 and all(isinstance(part, Tensor) for part in parts[:2])):
            raise UnsafeError("a sparse tensor has no indices")
        if layout is torch.sparse_coo:
            indices, values, size, *coalesced = parts
            size = torch.Size(_numbers(size))
            is_coalesced = bool(coalesced and coalesced[0])
            return torch.sparse_coo_tensor(indices, values, size, check_invariants=True, is_coalesced=is_coalesced)
        if layout not in _COMPRESSED:
            raise UnsafeError("a sparse tensor has an unknown layout")
        compressed, plain, values, size = parts
        size = torch.Size(_numbers(size))
        return torch.sparse_compressed_tensor(compressed, plain, values, size, layout=layout, check_invariants=True)

    def _quantised(
        self, storage: Storage, offset: Any, size: Any, stride: Any, parameters: Any, grad: Any, _: Any
    ) -> Tensor:
        if storage.dtype not in (torch.qint8, torch.quint8, torch.qint32):
            raise UnsafeError("a quantised tensor is of another type")
        self._check_place(storage, storage.dtype, offset, size, stride)
        return quantised(storage.content, storage.dtype, offset, size, stride, parameters).requires_grad_(_truth(grad))


def _bytearray(content: Any = b"") -> bytearray:
    if type(content) is not bytes:  # a number would be a size
        raise UnsafeError("a bytearray is not made of bytes")
    return bytearray(content)


def _parameter(tensor: Tensor, grad: Any, *_: Any) -> nn.Parameter:
    if type(tensor) is not Tensor:
        raise UnsafeError("a parameter is not made of a tensor")
    return nn.Parameter(tensor, _truth(grad))


def _set_attributes(tensor: Tensor, state: Any) -> Any:
    """Set attributes that a user has set on a tensor; those of torch's own are refused."""
    if type(state) is not dict or any(type(name) is not str or hasattr(nn.Parameter, name) for name in state):
        raise UnsafeError("it sets attributes")
    vars(tensor).update(state)
    return tensor


def _meta(dtype: Any, size: Any, stride: Any, grad: Any) -> Tensor:
    _numbers((*size, *stride))
    return torch.empty_strided(size, stride, dtype=dtype, device="meta", requires_grad=_truth(grad))


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise UnsafeError("requires_grad of a tensor is not a truth value")
    return value


def _numbers(values: Any) -> tuple[int, ...]:
    """Sizes, strides and offsets."""
    if not all(type(value) is int and 0 <= value < 2**63 for value in values):
        raise UnsafeError("a tensor's size, stride or offset is not a number, or it is negative")
    return tuple(values)


def _latin(text: str, encoding: str) -> bytes:
    """The bytes that a pickle holds as text."""
    if encoding != "latin1":
        raise UnsafeError("it names a codec")
    return text.encode("latin1")
