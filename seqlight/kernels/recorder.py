"""Record torch operations as scalar expressions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqlight.common.private_torch import TorchDispatchMode, decomposition_of, is_mutable, tree_leaves, tree_map
from seqlight.kernels.integers import EXACT, as_type, is_bool, largest
from seqlight.kernels.labels import ANY_COLUMN, ANY_ROW, SUM_COLUMN, SUM_ROW, Labels, pack, unpack
from seqlight.kernels.operations import CASTS, CONSTANTS, ELEMENTWISE, LINEAR, MOVES, SYNONYMS


class UnsupportedUpdateError(Exception):
    """An `update` can't be written as one expression per unit; the message names the operation that prevents it."""


LEAVES = ("constant", "input_gate", "hidden_gate", "state", "parameter", "grad")


class ExpressionRecorder(TorchDispatchMode):
    """Run torch operations, and record the expression that each tensor element holds.

    Each element has a label: the number of its expression, its sequence (row) and its unit (column). A constant
    belongs to any sequence and unit.
    """

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.size = size
        self.dtype = dtype
        self.nodes: list[tuple[str, tuple[Any, ...]]] = []
        self._largest: list[float] = []  # absolute value of each expression
        self._numbers: dict[tuple[str, tuple[Any, ...]], int] = {}
        self._labels = Labels()
        self._arguments: list[tuple[Tensor, Tensor]] = []
        self._forbidden: set[int] = set()
        self._own_integers = False  # whether torch's decompositions make integers, which are small

    def node(self, operation: str, *operands: Any) -> int:
        """The number of an expression; equal expressions have the same number."""
        key = (operation, operands)
        if key not in self._numbers:
            self._numbers[key] = len(self.nodes)
            self.nodes.append(key)
            self._largest.append(largest(operation, operands, self._largest))
        return self._numbers[key]

    def constant(self, value: float) -> int:
        """The number of a constant. The key is its text, because NaN != NaN and -0.0 == 0.0."""
        return self.node("constant", repr(float(value)))

    def add_argument(self, tensor: Tensor, kind: str, first: int, *, per_sequence: bool = True) -> int:
        """Label an argument of `update`: each block of H columns is a leaf. Returns the number of blocks."""
        width = tensor.shape[1] if per_sequence else tensor.numel()
        units = torch.arange(width)
        columns = units % self.size if per_sequence or width > 1 else torch.tensor([ANY_COLUMN])
        num_blocks = max(1, width // self.size)
        leaves = torch.tensor([self.node(kind, first + block) for block in range(num_blocks)])
        rows = torch.arange(len(tensor))[:, None] if per_sequence else torch.tensor(ANY_ROW)
        labels = pack(leaves[units // self.size], rows, columns)
        labels = labels.expand_as(tensor.reshape(-1, width)).reshape(tensor.shape)
        self._labels.write(tensor, labels)
        self._arguments.append((tensor, labels.clone()))
        return num_blocks

    def forbid(self, tensor: Tensor) -> None:
        """Refuse an `update` that reads this tensor: the kernel would keep its present values as constants."""
        self._forbidden.add(tensor.untyped_storage().data_ptr())

    def check_arguments_unchanged(self) -> None:
        """Refuse an `update` that wrote into its arguments."""
        for tensor, labels in self._arguments:
            if not torch.equal(self._read(tensor), labels):
                raise UnsupportedUpdateError("update() changes its arguments in place")

    def is_recorded(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on an argument of `update`."""
        return self._labels.has(tensor)

    def blocks(self, value: Tensor, *, of_parameter: bool = False) -> tuple[int, ...]:
        """The expression of each block of H columns; refuse blocks whose units or sequences differ.

        A parameter's gradient can be a sum over sequences or units: the loop over time computes such sums.
        """
        numbers, rows, columns = unpack(self._read(value))
        width = value.shape[-1] if value.ndim == 2 else max(1, value.numel())
        units = torch.arange(width).view((-1,) if value.ndim == 2 else value.shape or ())
        own_row = torch.arange(len(value))[:, None] if value.ndim == 2 else torch.tensor(SUM_ROW)
        if not ((rows == own_row) | (rows == ANY_ROW)).all():
            raise UnsupportedUpdateError("update() mixes the sequences of a batch")
        summed = (columns == SUM_COLUMN) if of_parameter else torch.tensor(False)
        if not ((columns == units % self.size) | (columns == ANY_COLUMN) | summed).all():
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
            raise UnsupportedUpdateError("update() reads a tensor's value in Python, for example in an if")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise UnsupportedUpdateError(f"torch.{name}, which is random")
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if any(tensor.untyped_storage().data_ptr() in self._forbidden for tensor in tensors):
            raise UnsupportedUpdateError("update() reads the weights of the gates")
        if not any(self._labels.has(tensor) for tensor in tensors):
            return func(*args, **kwargs)  # a constant; it gets labels when a labelled tensor meets it
        if func.namespace not in ("aten", "prims") or func is torch.ops.aten.view.dtype:
            raise UnsupportedUpdateError(f"{func.namespace}::{name}")
        if any(isinstance(leaf, complex) or (isinstance(leaf, Tensor) and leaf.is_complex()) for leaf in leaves):
            raise UnsupportedUpdateError(f"torch.{name}, which has complex numbers")
        in_place = is_mutable(func)
        base = name.removesuffix("_") if in_place else name
        base = SYNONYMS.get(base, base)
        if args and all(is_bool(part) for part in args[:2]):
            base = {"add": "logical_or", "mul": "logical_and"}.get(base, base)
        labels = self._result(func, base, args, kwargs)
        if labels is None and not in_place:
            decomposition = decomposition_of(func)
            if decomposition is not None and name not in CONSTANTS:
                before, self._own_integers = self._own_integers, True
                try:
                    with self:
                        return decomposition(*args, **kwargs)
                except UnsupportedUpdateError as error:
                    # Name the operation that the author wrote, not a part of it.
                    whole = f"torch.{name.lstrip('_')}" if str(error).startswith("torch.") else str(error)
                    raise UnsupportedUpdateError(whole) from error
                finally:
                    self._own_integers = before
        result = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for output in outputs:
            if output.dtype == torch.int64 and not base.startswith("logical"):
                numbers = [] if labels is None else unpack(labels)[0].unique().tolist()
                if self._own_integers or (numbers and all(self._largest[number] <= EXACT for number in numbers)):
                    continue
            if output.dtype not in (self.dtype, torch.bool) and name not in CONSTANTS:
                raise UnsupportedUpdateError(f"torch.{name.lstrip('_')}, which gives {output.dtype}, not {self.dtype}")
        if labels is not None:
            [output] = outputs
            self._labels.write(output, labels)
        elif name not in CONSTANTS and not (
            outputs and all(self._labels.has(output) for output in outputs) and not in_place
        ):
            raise UnsupportedUpdateError(f"torch.{name.lstrip('_')}")
        return result

    def _result(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor | None:
        """The labels of the operation's result; None if it is a view, a constant, or unknown."""
        if name in ELEMENTWISE:
            operands = list(args[: ELEMENTWISE[name]])
            settings = {key for key, value in kwargs.items() if value is not None} - {"alpha"}
            if len(args) != ELEMENTWISE[name] or settings:
                return None
            if kwargs.get("alpha", 1) != 1:
                operands[1] = self._placeholder(self._elementwise("mul", [operands[1], kwargs["alpha"]]))
            if name == "pow" and not isinstance(operands[1], Tensor):
                return self._power(operands[0], operands[1])
            return self._elementwise(name, operands)
        if name == "rsub":
            alpha = args[2] if len(args) > 2 else kwargs.get("alpha", 1)
            other = self._placeholder(self._elementwise("mul", [args[0], alpha])) if alpha != 1 else args[0]
            return self._elementwise("sub", [args[1], other])
        if name in ("clamp", "clamp_min", "clamp_max"):
            return self._clamp(name, *args, **kwargs)
        if name == "masked_fill":
            return self._elementwise("where", [args[1], as_type(args[2], args[0]), args[0]])
        if name in ("copy", "fill", "zero"):
            source = as_type(args[1], args[0]) if name != "zero" else 0.0
            if isinstance(source, Tensor) and source.dtype != args[0].dtype:
                raise UnsupportedUpdateError(f"a conversion from {source.dtype} to {args[0].dtype}")
            return self._labels_of(source).expand(args[0].shape)
        if name in CASTS:
            return self._cast(args[0], args[1] if len(args) > 1 else kwargs.get("dtype"))
        if name in MOVES:
            arguments = tree_map(lambda leaf: self._read(leaf) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
            if name == "constant_pad_nd":
                value = as_type(args[2] if len(args) > 2 else kwargs.get("value", 0), args[0])
                padding = int(pack(torch.tensor(self.constant(value)), ANY_ROW, ANY_COLUMN))
                return torch.constant_pad_nd(arguments[0][0], args[1], padding)
            moved: Tensor = func(*arguments[0], **{key: arguments[1][key] for key in kwargs if key != "memory_format"})
            return moved
        if name == "sum":
            return self._sum(*args, **kwargs)
        return None

    def _elementwise(self, operation: str, operands: Sequence[Tensor | float]) -> Tensor:
        labels = torch.broadcast_tensors(*(self._labels_of(operand) for operand in operands))
        numbers, rows, columns = zip(*(unpack(part) for part in labels), strict=True)
        linear = LINEAR.get(operation, set())
        for positions, total in ((rows, SUM_ROW), (columns, SUM_COLUMN)):
            summed = [bool((part == total).any()) for part in positions]
            if not any(summed):
                continue
            # Allowed: the negative or a multiple of a sum, and the sum or difference of two sums.
            allowed = len(positions) == 1 or all(summed) == (operation in ("add", "sub"))
            if not allowed or any(total and i not in linear for i, total in enumerate(summed)):
                raise UnsupportedUpdateError("a parameter's gradient that is not a sum over sequences")
        if any((part < 0).any() for part in numbers):
            raise UnsupportedUpdateError("update() reads memory that it has not written")
        # One number for each combination of operands: `torch.unique` of columns takes ten times as long.
        powers = [len(self.nodes) ** power for power in reversed(range(len(numbers)))]
        codes = torch.stack(numbers).mul(torch.tensor(powers).view(-1, *[1] * numbers[0].ndim)).sum(0)
        codes, inverse = torch.unique(codes, return_inverse=True)
        combinations = [[code // power % len(self.nodes) for power in powers] for code in codes.tolist()]
        made = torch.tensor([self.node(operation, *parts) for parts in combinations])
        return pack(
            made[inverse].view(labels[0].shape),
            _merge(rows, ANY_ROW, "sequences of a batch"),
            _merge(columns, ANY_COLUMN, "units"),
        )

    def _placeholder(self, labels: Tensor) -> Tensor:
        """A tensor that has these labels, and no meaningful values."""
        tensor = torch.empty(labels.shape)
        self._labels.write(tensor, labels)
        return tensor

    def _power(self, base: Tensor, exponent: float) -> Tensor | None:
        if exponent in (2, 3):
            square = self._elementwise("mul", [base, base])
            if exponent == 2:
                return square
            return self._elementwise("mul", [self._placeholder(square), base])
        if exponent == 1:
            return self._read(base)
        simple = {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}.get(exponent)
        return self._elementwise(simple, [base]) if simple else self._elementwise("pow", [base, exponent])

    def _clamp(self, name: str, value: Tensor, first: Any = None, second: Any = None, **kwargs: Any) -> Tensor:
        low = kwargs.get("min", first if name != "clamp_max" else None)
        high = kwargs.get("max", second if name == "clamp" else (first if name == "clamp_max" else None))
        for operation, bound in (("maximum", low), ("minimum", high)):
            if bound is not None:
                value = self._placeholder(self._elementwise(operation, [value, bound]))
        return self._read(value)

    def _cast(self, value: Tensor, dtype: torch.dtype | None) -> Tensor:
        if dtype is not None and dtype != value.dtype and not (value.dtype == torch.bool and dtype.is_floating_point):
            raise UnsupportedUpdateError(f"a conversion from {value.dtype} to {dtype}")
        return self._read(value)

    def _sum(self, value: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        """Sums over the batch, or over the units for a parameter that all units share. The loop computes them."""
        labels = self._read(value)
        dims = range(value.ndim) if not dim and dim != 0 else [dim] if isinstance(dim, int) else dim
        for axis in sorted((axis % value.ndim for axis in dims), reverse=True):
            if labels.shape[axis] > 1:
                numbers, rows, columns = unpack(labels)
                first = [part.narrow(axis, 0, 1) for part in (numbers, rows, columns)]
                count = labels.shape[axis]
                if (numbers != first[0]).any():
                    raise UnsupportedUpdateError("torch.sum")
                over_rows = (rows != first[1]).any() and not (columns != first[2]).any()
                over_columns = (columns != first[2]).any() and not (rows != first[1]).any() and count == self.size
                if over_rows:
                    first[1] = torch.full_like(first[1], SUM_ROW)
                elif over_columns:
                    first[2] = torch.full_like(first[2], SUM_COLUMN)
                else:
                    raise UnsupportedUpdateError("torch.sum")
                labels = pack(*first)
            if not keepdim:
                labels = labels.squeeze(axis)
        return labels

    def _labels_of(self, operand: Tensor | float) -> Tensor:
        if isinstance(operand, Tensor):
            return self._read(operand)
        return pack(torch.tensor(self.constant(operand)), torch.tensor(ANY_ROW), torch.tensor(ANY_COLUMN))

    def _read(self, tensor: Tensor) -> Tensor:
        """The labels of a tensor. An unknown tensor is a constant."""
        if not self._labels.has(tensor):
            if tensor.requires_grad:
                raise UnsupportedUpdateError("a parameter that does not belong to the cell")
            # Label the whole memory, because `update` can read another view of it later.
            memory = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
            values, inverse = torch.unique(memory, return_inverse=True)
            numbers = torch.tensor([self.constant(value) for value in values.tolist()], dtype=torch.int64)
            self._labels.write(memory, pack(numbers[inverse], ANY_ROW, ANY_COLUMN))
        return self._labels.read(tensor)


def _merge(positions: Sequence[Tensor], anything: int, what: str) -> Tensor:
    """The rows or columns of a result from those of its operands, which must agree."""
    merged = positions[0]
    for other in positions[1:]:
        if ((merged != other) & (merged != anything) & (other != anything)).any():
            raise UnsupportedUpdateError(f"update() mixes the {what}")
        merged = torch.where(merged == anything, other, merged)
    return merged
