"""Operations of torch, run and noted as scalar expressions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from seqlight.common.private_api import decomposition_of, is_mutable


class UnsupportedUpdateError(Exception):
    """An `update` that can't be written as one expression per unit; the message says which operation is why."""


LEAVES = ("constant", "input_gate", "hidden_gate", "state", "parameter", "grad")

# torch's names of what is computed element by element, and how many operands each has.
ELEMENTWISE = {
    **dict.fromkeys(
        (
            "neg reciprocal exp expm1 log log1p log2 sqrt rsqrt abs sgn sin cos erf tanh sigmoid relu "
            "floor round trunc logical_not isnan"
        ).split(),
        1,
    ),
    **dict.fromkeys("add sub mul div pow maximum minimum eq ne lt le gt ge logical_and logical_or".split(), 2),
    "where": 3,
}
_SAME = {
    "sign": "sgn",
    "bitwise_not": "logical_not",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "__and__": "logical_and",
    "__or__": "logical_or",
    "true_divide": "div",
}
# The places of the operands that an operation is linear in: a sum over the batch may stand there.
LINEAR = {"neg": {0}, "mul": {0, 1}, "div": {0}, "add": {0, 1}, "sub": {0, 1}}
_MOVES = "cat stack clone slice_scatter select_scatter repeat flip roll index_select constant_pad_nd contiguous".split()
_CASTS = ("_to_copy", "convert_element_type")
_CONSTANTS = "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty".split()

_ANY_ROW, _SUM_ROW = 255, 254
_ANY_COLUMN, _SUM_COLUMN = 2**24 - 1, 2**24 - 2


class Shadow(TorchDispatchMode):
    """Runs torch's operations, and notes for each element of memory which expression it holds.

    An element's note is one integer: the number of its expression, the sequence (row) and the unit (column)
    that it is about; a constant is about any. A view needs no care, since it is a view of the same notes.
    """

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.size = size
        self.dtype = dtype
        self.nodes: list[tuple[str, tuple[Any, ...]]] = []
        self._numbers: dict[tuple[str, tuple[Any, ...]], int] = {}
        self._notes: dict[int, tuple[Any, Tensor]] = {}  # by address: storage, which stays taken, and its notes
        self._leaves: list[tuple[Tensor, Tensor]] = []
        self._forbidden: set[int] = set()

    def node(self, operation: str, *operands: Any) -> int:
        """The number of an expression; the same for the same expression."""
        key = (operation, operands)
        if key not in self._numbers:
            self._numbers[key] = len(self.nodes)
            self.nodes.append(key)
        return self._numbers[key]

    def constant(self, value: float) -> int:
        """The number of a constant; by its text, since NaN is not equal to itself, and -0 is to 0."""
        return self.node("constant", repr(float(value)))

    def mark(self, tensor: Tensor, kind: str, first: int, *, per_sequence: bool = True) -> int:
        """Note an input: blocks of H columns, each a leaf; gives the number of blocks."""
        width = tensor.shape[1] if per_sequence else tensor.numel()
        units = torch.arange(width)
        columns = units % self.size if per_sequence or width > 1 else torch.tensor([_ANY_COLUMN])
        num_blocks = max(1, width // self.size)
        leaves = torch.tensor([self.node(kind, first + block) for block in range(num_blocks)])
        rows = torch.arange(len(tensor))[:, None] if per_sequence else torch.tensor(_ANY_ROW)
        notes = (
            _pack(leaves[units // self.size], rows, columns).expand_as(tensor.reshape(-1, width)).reshape(tensor.shape)
        )
        self._write(tensor, notes)
        self._leaves.append((tensor, notes.clone()))
        return num_blocks

    def forbid(self, tensor: Tensor) -> None:
        """Refuse an `update` that reads this tensor, whose values a kernel would not see change."""
        self._forbidden.add(tensor.untyped_storage().data_ptr())

    def check_leaves(self) -> None:
        """Refuse an `update` that wrote into what it was given."""
        for tensor, notes in self._leaves:
            if not torch.equal(self._read(tensor), notes):
                raise UnsupportedUpdateError("update() changes its arguments in place")

    def blocks(self, value: Tensor, *, of_parameter: bool = False) -> tuple[int, ...]:
        """The expression of each block of H columns, if each is the same for every unit and sequence.

        The gradient of a parameter may be a sum over sequences, or units, that is still to be done.
        """
        numbers, rows, columns = _unpack(self._read(value))
        width = value.shape[-1] if value.ndim == 2 else max(1, value.numel())
        units = torch.arange(width).view((-1,) if value.ndim == 2 else value.shape or ())
        own_row = torch.arange(len(value))[:, None] if value.ndim == 2 else torch.tensor(_SUM_ROW)
        if not ((rows == own_row) | (rows == _ANY_ROW)).all():
            raise UnsupportedUpdateError("update() mixes the sequences of a batch")
        summed = (columns == _SUM_COLUMN) if of_parameter else torch.tensor(False)
        if not ((columns == units % self.size) | (columns == _ANY_COLUMN) | summed).all():
            raise UnsupportedUpdateError("update() mixes the units")
        found = []
        for block in numbers.reshape(-1, width).split(self.size, 1):
            if (block != block[0, 0]).any():
                raise UnsupportedUpdateError("update() treats units or sequences differently")
            found.append(int(block[0, 0]))
        return tuple(found)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            raise UnsupportedUpdateError("update() takes a tensor's value into Python, for an if, say")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise UnsupportedUpdateError(f"torch.{name}, which is random")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(tensor.untyped_storage().data_ptr() in self._forbidden for tensor in tensors):
            raise UnsupportedUpdateError("update() reads the weights of the gates")
        if not any(self._knows(tensor) for tensor in tensors):
            return func(*args, **kwargs)  # a constant, noted when it meets what is not
        if func.namespace not in ("aten", "prims") or func is torch.ops.aten.view.dtype:
            raise UnsupportedUpdateError(f"{func.namespace}::{name}")
        in_place = is_mutable(func)
        base = name.removesuffix("_") if in_place else name
        base = _SAME.get(base, base)
        if args and all(isinstance(part, Tensor) and part.dtype == torch.bool for part in args[:2]):
            base = {"add": "logical_or", "mul": "logical_and"}.get(base, base)
        notes = self._result(func, base, args, kwargs)
        if notes is None and not in_place:
            decomposition = decomposition_of(func)
            if decomposition is not None and name not in _CONSTANTS:
                try:
                    with self:
                        return decomposition(*args, **kwargs)
                except UnsupportedUpdateError as error:
                    # The author wrote the whole, not the part.
                    whole = f"torch.{name.lstrip('_')}" if str(error).startswith("torch.") else str(error)
                    raise UnsupportedUpdateError(whole) from error
        result = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for output in outputs:
            # Whole numbers are exact as they are, but not their bits.
            by_bits = base.startswith("logical") or name in _CASTS
            integers = not output.is_floating_point() and output.dtype != torch.bool
            if (integers and by_bits) or (output.is_floating_point() and output.dtype != self.dtype):
                raise UnsupportedUpdateError(f"torch.{name.lstrip('_')}, which gives {output.dtype} among {self.dtype}")
        if notes is not None:
            [output] = outputs
            self._write(output, notes)
        elif name not in _CONSTANTS and not (
            outputs and all(self._knows(output) for output in outputs) and not in_place
        ):
            raise UnsupportedUpdateError(f"torch.{name.lstrip('_')}")
        return result

    def _result(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor | None:
        """The notes of the operation's result; None if it is a view, a constant, or unknown."""
        if name in ELEMENTWISE:
            operands = list(args[: ELEMENTWISE[name]])
            settings = {key for key, value in kwargs.items() if value is not None} - {"alpha"}
            if len(args) != ELEMENTWISE[name] or settings:
                return None
            if kwargs.get("alpha", 1) != 1:
                operands[1] = self._carry(self._elementwise("mul", [operands[1], kwargs["alpha"]]))
            if name == "pow" and not isinstance(operands[1], Tensor):
                return self._power(operands[0], operands[1])
            return self._elementwise(name, operands)
        if name == "rsub":
            alpha = args[2] if len(args) > 2 else kwargs.get("alpha", 1)
            other = self._carry(self._elementwise("mul", [args[0], alpha])) if alpha != 1 else args[0]
            return self._elementwise("sub", [args[1], other])
        if name in ("clamp", "clamp_min", "clamp_max"):
            return self._clamp(name, *args, **kwargs)
        if name == "masked_fill":
            return self._elementwise("where", [args[1], args[2], args[0]])
        if name in ("copy", "fill", "zero"):
            source = args[1] if name != "zero" else 0.0
            if isinstance(source, Tensor) and source.dtype != args[0].dtype:
                raise UnsupportedUpdateError(f"a conversion from {source.dtype} to {args[0].dtype}")
            return self._notes_of(source).expand(args[0].shape)
        if name in _CASTS:
            return self._cast(args[0], args[1] if len(args) > 1 else kwargs.get("dtype"))
        if name in _MOVES:
            arguments = tree_map(lambda leaf: self._read(leaf) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
            if name == "constant_pad_nd":
                value = args[2] if len(args) > 2 else kwargs.get("value", 0)
                code = int(_pack(torch.tensor(self.constant(value)), _ANY_ROW, _ANY_COLUMN))
                return torch.constant_pad_nd(arguments[0][0], args[1], code)
            moved: Tensor = func(*arguments[0], **{key: arguments[1][key] for key in kwargs if key != "memory_format"})
            return moved
        if name == "sum":
            return self._sum(*args, **kwargs)
        return None

    def _elementwise(self, operation: str, operands: Sequence[Tensor | float]) -> Tensor:
        notes = torch.broadcast_tensors(*(self._notes_of(operand) for operand in operands))
        numbers, rows, columns = zip(*(_unpack(note) for note in notes), strict=True)
        linear = LINEAR.get(operation, set())
        for tags, total in ((rows, _SUM_ROW), (columns, _SUM_COLUMN)):
            summed = [bool((tag == total).any()) for tag in tags]
            if not any(summed):
                continue
            # Of a sum, minus it and its multiples; and the sum or difference of two.
            alone = len(tags) == 1 or all(summed) == (operation in ("add", "sub"))
            if not alone or any(total and i not in linear for i, total in enumerate(summed)):
                raise UnsupportedUpdateError("a parameter's gradient that is not a sum over sequences")
        combinations, inverse = torch.unique(torch.stack([n.flatten() for n in numbers]), dim=1, return_inverse=True)
        made = torch.tensor([self.node(operation, *parts) for parts in combinations.T.tolist()])
        return _pack(
            made[inverse].view(notes[0].shape),
            _agree(rows, _ANY_ROW, "sequences of a batch"),
            _agree(columns, _ANY_COLUMN, "units"),
        )

    def _carry(self, notes: Tensor) -> Tensor:
        """A tensor with these notes, and no values."""
        carrier = torch.empty(notes.shape)
        self._write(carrier, notes)
        return carrier

    def _power(self, base: Tensor, exponent: float) -> Tensor | None:
        if exponent in (2, 3):
            square = self._elementwise("mul", [base, base])
            if exponent == 2:
                return square
            return self._elementwise("mul", [self._carry(square), base])
        if exponent == 1:
            return self._read(base)
        simple = {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}.get(exponent)
        return self._elementwise(simple, [base]) if simple else self._elementwise("pow", [base, exponent])

    def _clamp(self, name: str, value: Tensor, first: Any = None, second: Any = None, **kwargs: Any) -> Tensor:
        low = kwargs.get("min", first if name != "clamp_max" else None)
        high = kwargs.get("max", second if name == "clamp" else (first if name == "clamp_max" else None))
        for operation, bound in (("maximum", low), ("minimum", high)):
            if bound is not None:
                value = self._carry(self._elementwise(operation, [value, bound]))
        return self._read(value)

    def _cast(self, value: Tensor, dtype: torch.dtype | None) -> Tensor:
        if dtype is not None and dtype != value.dtype and not (value.dtype == torch.bool and dtype.is_floating_point):
            raise UnsupportedUpdateError(f"a conversion from {value.dtype} to {dtype}")
        return self._read(value)

    def _sum(self, value: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        """Sums over the batch, or over all units for a parameter that all share; they stay to be done."""
        notes = self._read(value)
        dims = range(value.ndim) if not dim and dim != 0 else [dim] if isinstance(dim, int) else dim
        for axis in sorted((axis % value.ndim for axis in dims), reverse=True):
            if notes.shape[axis] > 1:
                numbers, rows, columns = _unpack(notes)
                first = [part.narrow(axis, 0, 1) for part in (numbers, rows, columns)]
                count = notes.shape[axis]
                if (numbers != first[0]).any():
                    raise UnsupportedUpdateError("torch.sum")
                over_rows = (rows != first[1]).any() and not (columns != first[2]).any()
                over_columns = (columns != first[2]).any() and not (rows != first[1]).any() and count == self.size
                if over_rows:
                    first[1] = torch.full_like(first[1], _SUM_ROW)
                elif over_columns:
                    first[2] = torch.full_like(first[2], _SUM_COLUMN)
                else:
                    raise UnsupportedUpdateError("torch.sum")
                notes = _pack(*first)
            if not keepdim:
                notes = notes.squeeze(axis)
        return notes

    def _knows(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._notes

    def _notes_of(self, operand: Tensor | float) -> Tensor:
        if isinstance(operand, Tensor):
            return self._read(operand)
        return _pack(torch.tensor(self.constant(operand)), torch.tensor(_ANY_ROW), torch.tensor(_ANY_COLUMN))

    def _read(self, tensor: Tensor) -> Tensor:
        """The notes of a tensor; of one not seen before, constants."""
        if not self._knows(tensor):
            if tensor.requires_grad:
                raise UnsupportedUpdateError("a parameter that is not the cell's own")
            # All of its memory: another view of it may be read later.
            memory = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
            values, inverse = torch.unique(memory, return_inverse=True)
            numbers = torch.tensor([self.constant(value) for value in values.tolist()], dtype=torch.int64)
            self._write(memory, _pack(numbers[inverse], _ANY_ROW, _ANY_COLUMN))
        return self._view(tensor)

    def _write(self, tensor: Tensor, notes: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._notes:
            size = storage.nbytes() // tensor.element_size()
            self._notes[storage.data_ptr()] = (storage, torch.full((size,), -1))
        self._view(tensor).copy_(notes)

    def _view(self, tensor: Tensor) -> Tensor:
        _, notes = self._notes[tensor.untyped_storage().data_ptr()]
        return notes.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _pack(numbers: Tensor, rows: Tensor | int, columns: Tensor | int) -> Tensor:
    return (numbers << 32) | (rows << 24) | columns


def _unpack(notes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return notes >> 32, (notes >> 24) & 0xFF, notes & 0xFFFFFF


def _agree(tags: Sequence[Tensor], anything: int, of_what: str) -> Tensor:
    """What row or column a result is about, given those of its operands."""
    agreed = tags[0]
    for tag in tags[1:]:
        if ((agreed != tag) & (agreed != anything) & (tag != anything)).any():
            raise UnsupportedUpdateError(f"update() mixes the {of_what}")
        agreed = torch.where(agreed == anything, tag, agreed)
    return agreed
