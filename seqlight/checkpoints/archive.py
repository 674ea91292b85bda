"""Reading files of `torch.save` as data.

Such a file is a zip archive of one pickle and the bytes of each storage. torch's own `weights_only` lets a pickle
take any amount of memory (`bytearray(10**10)`) and import codecs, and trusts the sizes that it states. The
instructions below can only make the values of `rebuild.py`.
"""

import collections
import functools
import io
import pickletools
import struct
import sys
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from seqlight.checkpoints.plain_values import ArchiveError, UnsafeError, check_tree, most_parts
from seqlight.checkpoints.rebuild import CONSTANTS, STORAGES, Rebuilder, Storage

_MOST_ENTRIES = 20_000  # one for each tensor, and a few more; zipfile takes a second for 100 000


class _Name(NamedTuple):
    """The name of a class or function in a pickle. It is looked up in the tables below, and never imported."""

    name: str


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
        self.storages: dict[str, Storage] = {}
        self.rebuilder = Rebuilder()
        self.allowance = 0  # bytes and values that functions may still copy

    def read(self) -> Any:
        pickle = self.archive.read(f"{self.folder}data.pkl")
        self.allowance = 4 * len(pickle)
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name in _VALUES:
                self.stack.append(_VALUES[opcode.name](argument))
            elif opcode.name in _INSTRUCTIONS:
                _INSTRUCTIONS[opcode.name](self, argument)
            else:
                raise UnsafeError(f"unexpected instruction {opcode.name}")
        [value] = self.stack
        check_tree(value, most_parts(len(pickle)))
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
        if type(target) not in (dict, collections.OrderedDict, collections.Counter):
            raise UnsafeError("it sets items of a value that is not a dict")
        keys, values = items[::2], items[1::2]
        self.rebuilder.key_time.insert(keys, functools.partial(_insert, target, keys, values))

    def set_attributes(self) -> None:
        """Set attributes of an OrderedDict, as the modules' versions in a `state_dict`."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is not collections.OrderedDict or type(state) is not dict:
            raise UnsafeError("it sets attributes")
        if any(type(name) is not str or hasattr(target, name) for name in state):
            raise UnsafeError("it sets attributes")
        vars(target).update(state)

    def name(self, name: str) -> None:
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in STORAGES or name in self.rebuilder.functions or name in self.rebuilder.types:
            self.stack.append(_Name(name))
        else:
            raise UnsafeError(f"it names {name.replace(' ', '.')!r}")

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        functions = self.rebuilder.functions
        if not (isinstance(function, _Name) and function.name in functions and type(arguments) is tuple):
            raise UnsafeError("it calls a value that is not a function")
        self.allowance -= sum(len(each) for each in arguments if isinstance(each, str | bytes | dict | list | tuple))
        if self.allowance < 0:
            raise UnsafeError("it would make more data than it holds")
        self.stack.append(functions[function.name](*arguments))

    def storage(self) -> None:
        """Read the storage for `("storage", type, key, device, number of values)`."""
        what, kind, key, device, size = self.stack.pop()
        if what != "storage" or not (type(key) is type(device) is str and type(size) is int):
            raise UnsafeError("it refers to a value that is not a storage")
        dtype = STORAGES[kind.name]
        if key not in self.storages:
            content = bytearray(self.archive.read(f"{self.folder}data/{key}"))
            # torch aligns the copy for its kernels.
            values = torch.frombuffer(content, dtype=torch.uint8).clone() if content else torch.empty(0)
            self.storages[key] = Storage(values.untyped_storage(), dtype)
        found = self.storages[key]
        if found.dtype != dtype or found.content.nbytes() != size * (1 if dtype is None else dtype.itemsize):
            raise UnsafeError("a storage does not have the stated type and size")
        self.stack.append(found)


def _insert(target: dict[Any, Any], keys: list[Any], values: list[Any], part: slice) -> None:
    for key, value in zip(keys[part], values[part], strict=True):
        target[key] = value  # noqa: PERF403 # `update` of a Counter would count the pairs


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
    "BUILD": lambda reader, _: reader.set_attributes(),
    "BINPERSID": lambda reader, _: reader.storage(),
}
