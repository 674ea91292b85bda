"""Reading files of `torch.save` as data.

Such a file is a zip archive of one pickle and the bytes of each storage. torch's own `weights_only` lets a pickle
take any amount of memory (`bytearray(10**10)`) and import codecs, and trusts the sizes that it states. The
instructions below can only make plain values, and tensors that are no larger than their bytes.
"""

import collections
import io
import math
import pickletools
import struct
import sys
import zipfile
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqlight.common.private_api import REBUILD_PARAMETER, REBUILD_TENSOR

_MOST_ENTRIES = 20_000  # one for each tensor, and a few more; zipfile takes a second for 100 000
_MOST_LEVELS = 100  # lists within lists
_DTYPES = {
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
    "torch ShortStorage": torch.int16,
}


class ArchiveError(ValueError):
    """A file that `torch.save` did not write, or that is damaged."""


class UnsafeError(ArchiveError):
    """A file that holds more than tensors and plain values, or that would take much more memory than its size."""


class _Name(NamedTuple):
    """The name of a class or function in a pickle. It is looked up in the tables below, and never imported."""

    name: str


class _Storage(NamedTuple):
    """The values of one storage, flat."""

    values: Tensor


def unpack(content: bytes) -> Any:
    """Read the value that was given to `torch.save`; tensors are on the CPU.

    Args:
        content: the bytes of the file.

    Raises:
        ArchiveError: if the file is damaged, or `torch.save` did not write it.
        UnsafeError: if it holds more than plain data.
    """
    if content.count(b"PK\x01\x02") > _MOST_ENTRIES:
        raise UnsafeError("it has too many entries")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise UnsafeError("it is compressed")
            if sum(entry.file_size for entry in entries) > len(content) or len(set(names)) < len(names):
                raise UnsafeError("its entries overlap")
            if (broken := archive.testzip()) is not None:
                raise ArchiveError(f"{broken!r} in it is damaged")
            return _Reader(archive).read()
    except ArchiveError:
        raise
    except (zipfile.BadZipFile, struct.error, ArithmeticError, AttributeError, EOFError, LookupError, OSError,
            RuntimeError, TypeError, ValueError) as error:  # fmt: skip
        raise ArchiveError("it is damaged, or torch.save did not write it") from error


class _Reader:
    """Run the instructions of a pickle that `torch.save` writes for plain data."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        [pickle] = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        self.archive, self.folder = archive, pickle.removesuffix("data.pkl")
        order = f"{self.folder}byteorder"
        if order in archive.namelist() and archive.read(order).decode() != sys.byteorder:
            raise ArchiveError(f"it was written by a machine that is not {sys.byteorder}-endian")
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}
        self.allowance = 0  # bytes and numbers that functions may still make

    def read(self) -> Any:
        pickle = self.archive.read(f"{self.folder}data.pkl")
        self.allowance = len(pickle)
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name in _VALUES:
                self.stack.append(_VALUES[opcode.name](argument))
            elif opcode.name in _INSTRUCTIONS:
                _INSTRUCTIONS[opcode.name](self, argument)
            else:
                raise UnsafeError(f"unexpected instruction {opcode.name}")
        [value] = self.stack
        _check_tree(value, 4 * len(pickle))
        return value

    def pop(self, size: int | None = None) -> list[Any]:
        """Remove and return the last `size` values, or the values since the last mark."""
        start = self.marks.pop() if size is None else len(self.stack) - size
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise UnsafeError("it appends to a value that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, collections.OrderedDict):
            raise UnsafeError("it sets items of a value that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Many larger integers share a hash.
            if not (isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**61 - 1)):
                raise UnsafeError("keys of a dict must be strings or integers")
            target[key] = value

    def set_metadata(self) -> None:
        """Set the modules' versions in a `state_dict`, the only attribute that a value can have."""
        state = self.stack.pop()
        if (
            type(self.stack[-1]) is not collections.OrderedDict
            or type(state) is not dict
            or set(state) != {"_metadata"}
        ):
            raise UnsafeError("it sets attributes")
        vars(self.stack[-1]).update(state)

    def name(self, name: str) -> None:
        if name not in _FUNCTIONS and name not in _DTYPES:
            raise UnsafeError(f"it names {name.replace(' ', '.')!r}")
        self.stack.append(_Name(name))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not (isinstance(function, _Name) and function.name in _FUNCTIONS and type(arguments) is tuple):
            raise UnsafeError("it calls a value that is not a function")
        self.allowance -= sum(len(each) for each in arguments if isinstance(each, str | dict))
        if self.allowance < 0:
            raise UnsafeError("it would make more data than it holds")
        self.stack.append(_FUNCTIONS[function.name](*arguments))

    def storage(self) -> None:
        """Read the storage for `("storage", type, key, device, number of values)`."""
        _, kind, key, _, size = self.stack.pop()
        if key not in self.storages:
            dtype = _DTYPES[kind.name]
            content = bytearray(self.archive.read(f"{self.folder}data/{key}"))
            # torch aligns the copy for its kernels.
            values = torch.frombuffer(content, dtype=dtype).clone() if content else torch.empty(0, dtype=dtype)
            self.storages[key] = _Storage(values)
        found = self.storages[key]
        if found.values.dtype != _DTYPES[kind.name] or len(found.values) != size:
            raise UnsafeError("a storage does not have the stated type and size")
        self.stack.append(found)


def _tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool, *_: Any
) -> Tensor:
    """Make a tensor, as torch's `_rebuild_tensor_v2` without hooks. It has at most as many values as its storage."""
    if math.prod(size) > len(storage.values):
        raise UnsafeError("a tensor is larger than its storage")
    storage.values.as_strided(size, stride, offset)  # raises if `set_` would make the storage larger
    tensor = torch.empty(0, dtype=storage.values.dtype)
    tensor.set_(storage.values.untyped_storage(), offset, size, stride)
    return tensor.requires_grad_(bool(requires_grad))


def _parameter(tensor: Tensor, requires_grad: bool, *_: Any) -> torch.nn.Parameter:
    return torch.nn.Parameter(tensor, bool(requires_grad))


def _latin(text: str, encoding: str) -> bytes:
    """The bytes that a pickle holds as text."""
    if encoding != "latin1":
        raise UnsafeError("it names a codec")
    return text.encode("latin1")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections Counter": lambda counts: collections.Counter(dict(counts)),  # milestones of a MultiStepLR
    "collections OrderedDict": lambda: collections.OrderedDict(),
    REBUILD_TENSOR: _tensor,
    REBUILD_PARAMETER: _parameter,
    "_codecs encode": _latin,
}

_VALUES: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), lambda value: value),
}

_INSTRUCTIONS: dict[str, Callable[[_Reader, Any], Any]] = {
    "PROTO": lambda reader, _: None,
    "STOP": lambda reader, _: None,
    "MARK": lambda reader, _: reader.marks.append(len(reader.stack)),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda reader, place: reader.memo.update({place: reader.stack[-1]})),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda reader, place: reader.stack.append(reader.memo[place])),
    "TUPLE": lambda reader, _: reader.stack.append(tuple(reader.pop())),
    "TUPLE1": lambda reader, _: reader.stack.append(tuple(reader.pop(1))),
    "TUPLE2": lambda reader, _: reader.stack.append(tuple(reader.pop(2))),
    "TUPLE3": lambda reader, _: reader.stack.append(tuple(reader.pop(3))),
    "APPEND": lambda reader, _: reader.append(reader.pop(1)),
    "APPENDS": lambda reader, _: reader.append(reader.pop()),
    "SETITEM": lambda reader, _: reader.set_items(reader.pop(2)),
    "SETITEMS": lambda reader, _: reader.set_items(reader.pop()),
    "GLOBAL": lambda reader, name: reader.name(name),
    "REDUCE": lambda reader, _: reader.call(),
    "BUILD": lambda reader, _: reader.set_metadata(),
    "BINPERSID": lambda reader, _: reader.storage(),
}


def _check_tree(value: Any, most: int) -> None:
    """Check for plain data with at most `most` parts: a list can be in itself, or in many lists.

    Raises:
        UnsafeError: if it is not.
    """
    waiting, seen = [(value, 0)], 0
    while waiting:
        value, level = waiting.pop()
        parts: Collection[Any] = ()
        if isinstance(value, dict):
            parts = [*value.values(), *getattr(value, "__dict__", {}).values()]
        elif type(value) in (list, tuple):
            parts = value
        elif not (value is None or isinstance(value, bool | int | float | str | bytes | Tensor)):
            raise UnsafeError("it holds more than tensors and plain values")
        seen += len(parts)
        if seen > most or level > _MOST_LEVELS:
            raise UnsafeError("its values are nested too deeply")
        waiting.extend((part, level + 1) for part in parts)
