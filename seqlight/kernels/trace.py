"""Trace a cell's `update` and its vector-Jacobian product into scalar expressions for one unit of one sequence."""

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State
from seqlight.cells.step_check import check_next_state
from seqlight.common.private_torch import own_members, shallow_copy, unobserved, without_function_modes
from seqlight.kernels.memory import ChangingUpdateError, memory_of
from seqlight.kernels.recorder import LEAVES, ExpressionRecorder, UnsupportedUpdateError

AFFINE = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_AFFINE = set(AFFINE)
# Functions that read a tensor's values in Python, unseen by torch's dispatcher.
_READING = {"numpy", "tolist", "__array__", "__dlpack__"}


@dataclass(frozen=True)
class Program:
    """An `update` and its vector-Jacobian product, as scalar expressions that share their parts.

    Attributes:
        nodes: one (operation, operands) pair each. The operands are numbers of earlier nodes; those of the leaves
            "constant", "input_gate", "hidden_gate", "state", "parameter" and "grad" are a value or an index.
        next_state: the node of each next state.
        grad_input_gates: the node of the gradient by each input gate.
        grad_hidden_gates: the node of the gradient by each hidden gate; empty without recurrent weights.
        grad_state: the node of the gradient by each state, through `update` only.
        grad_parameters: the node of the gradient by each block of H parameters, for one sequence and step.
    """

    nodes: tuple[tuple[str, tuple[Any, ...]], ...]
    next_state: tuple[int, ...]
    grad_input_gates: tuple[int, ...]
    grad_hidden_gates: tuple[int, ...]
    grad_state: tuple[int, ...]
    grad_parameters: tuple[int, ...]


def own_tensors(cell: GatedCell) -> dict[str, Tensor]:
    """The parameters and buffers that `update` can read besides the gates, by name."""
    parameters, buffers, children = own_members(cell)
    if children:  # ten times slower
        tensors = [*cell.named_parameters(), *cell.named_buffers()]
        affine = [getattr(cell, name, None) for name in AFFINE]
    else:
        tensors = [*parameters.items(), *buffers.items()]
        affine = [parameters.get(name) for name in AFFINE]
    found: dict[str, Tensor] = {}
    seen = {id(None), *map(id, affine)}
    for name, tensor in tensors:
        if id(tensor) not in seen:  # a tensor can have several names
            seen.add(id(tensor))
            found[name] = tensor
    return found


def tensor_layout(cell: GatedCell) -> tuple[Any, ...]:
    """The names, ties, shapes and types of all parameters and buffers, on which a Program depends; not their values.

    A cell that has the weights of the gates only has an empty layout.
    """
    parameters, buffers, children = own_members(cell)
    if children:
        tensors = [*cell.named_parameters(remove_duplicate=False), *cell.named_buffers(remove_duplicate=False)]
    elif not buffers and parameters.keys() <= _AFFINE:
        return ()
    else:
        tensors = [*parameters.items(), *buffers.items()]
    numbers: dict[int, int] = {}  # tensors with the same number are one tensor
    return tuple(
        (name, numbers.setdefault(id(tensor), len(numbers)), tensor.shape, tensor.dtype, tensor.device)
        for name, tensor in tensors
        if tensor is not None
    )


def trace_update(cell: GatedCell, dtype: torch.dtype) -> Program:
    """Trace `cell.update` and its vector-Jacobian product.

    Raises:
        UnsupportedUpdateError: if `update` is not elementwise over units and sequences, is random, depends on
            the batch size, or uses an operation that a kernel does not have.
    """
    try:
        with unobserved(), without_function_modes():
            program, again = _trace(cell, dtype, 2, 1.0), _trace(cell, dtype, 3, -0.7)
            without_grad = [_trace(cell, dtype, size, 0.4, grad=False) for size in (1, 67)]
    except UnsupportedUpdateError:
        raise
    except Exception as error:  # any error of `update` on a traced tensor; if it is the cell's own, the loop raises it
        message = str(error).partition("\n")[0]
        raise UnsupportedUpdateError(f"update() can't be traced: {type(error).__name__}: {message}") from error
    # The two differ if `update` uses Python state, the batch size, or values read outside torch.
    if again != program:
        raise UnsupportedUpdateError("update() gives different expressions when it is called with another batch")
    alone = _live_program(program.nodes, (program.next_state, (), (), (), ()))
    if any(other != alone for other in without_grad):
        raise UnsupportedUpdateError("update() gives different expressions with another batch or without gradients")
    return program


class _Update(nn.Module):
    """A module whose call is `cell.update`, for `torch.func.functional_call`. It refuses an `update` with memory."""

    def __init__(self, cell: GatedCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, input_gates: Tensor, hidden_gates: Tensor, state: State) -> State:
        before = memory_of(self.cell)
        next_state = self.cell.update(input_gates, hidden_gates, state)
        after = memory_of(self.cell)
        for name, new in after.items():
            if before.get(name) != new:
                raise ChangingUpdateError(f"update() changes {name}, which would be constant in a kernel")
        return next_state


class _NoReading(TorchFunctionMode):
    """Refuse functions that read the values of recorded tensors in Python."""

    def __init__(self, recorder: ExpressionRecorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", None) in _READING and self._recorder.is_recorded(args[0]):
            raise UnsupportedUpdateError("update() reads a tensor's value in Python, for example in an if")
        return func(*args, **(kwargs or {}))


def _trace(cell: GatedCell, dtype: torch.dtype, batch_size: int, scale: float, *, grad: bool = True) -> Program:
    """Trace once; all values that `update` reads are multiplied by `scale`. Without `grad`, trace `update` alone."""
    size, num_gates, num_states = cell.hidden_size, cell.num_gates, len(cell.state_names)

    def leaf(*shape: int) -> Tensor:
        values = torch.linspace(0.1 * scale, 0.9 * scale, math.prod(shape), dtype=dtype)
        return values.view(shape).requires_grad_(grad)

    # The first use of the cell can be in any of these modes. Anomaly detection looks at the traced gradients.
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(grad),
        torch.autocast("cpu", enabled=False),
        torch.autograd.set_detect_anomaly(False),
    ):
        input_gates = leaf(batch_size, cell.num_input_gates * size)
        hidden_gates = leaf(batch_size, num_gates * size if cell.recurrent else 0)
        state = tuple(leaf(batch_size, size) for _ in range(num_states))
        grads = tuple(leaf(batch_size, size).detach() for _ in range(num_states))
        own = {}
        for name, tensor in own_tensors(cell).items():
            if not tensor.is_floating_point() or (tensor.numel() > 1 and tensor.numel() % size):
                raise UnsupportedUpdateError(
                    f"{name} must have floating-point values, one or a multiple of H, "
                    f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
                )
            if tensor.ndim > 0 and tensor.dtype != dtype:
                raise UnsupportedUpdateError(f"{name} must be {dtype}, got {tensor.dtype}")
            own[name] = (scale * tensor.detach().to("cpu", dtype)).requires_grad_(grad)

        recorder = ExpressionRecorder(size, dtype)
        for name in AFFINE:
            if isinstance(weight := getattr(cell, name, None), Tensor):
                recorder.forbid(weight)
        recorder.add_argument(input_gates, "input_gate", 0)
        if cell.recurrent:
            recorder.add_argument(hidden_gates, "hidden_gate", 0)
        for index in range(num_states):
            recorder.add_argument(state[index], "state", index)
            recorder.add_argument(grads[index], "grad", index)
        num_blocks = 0
        for tensor in own.values():
            num_blocks += recorder.add_argument(tensor, "parameter", num_blocks, per_sequence=False)

        with recorder, _NoReading(recorder):
            wrapped = {f"cell.{name}": tensor for name, tensor in own.items()}
            arguments = (input_gates, hidden_gates, state)
            next_state = torch.func.functional_call(_Update(shallow_copy(cell)), wrapped, arguments)
            check_next_state(cell, next_state, batch_size)
            leaves = [input_gates, *state, *own.values(), hidden_gates]
            used = [(new, by) for new, by in zip(next_state, grads, strict=True) if new.requires_grad]
            found: Sequence[Tensor | None] = [None] * len(leaves)
            if used:
                outputs, output_grads = zip(*used, strict=True)
                found = torch.autograd.grad(outputs, leaves, output_grads, allow_unused=True)

    def blocks(value: Tensor | None, count: int, *, of_parameter: bool = False) -> tuple[int, ...]:
        """The expression of each block of H columns; 0 if there is no gradient."""
        zeros = (recorder.constant(0.0),) * count
        return zeros if value is None else recorder.blocks(value, of_parameter=of_parameter)

    recorder.check_arguments_unchanged()
    next_nodes = tuple(node for new in next_state for node in recorder.blocks(new))
    if not grad:
        return _live_program(recorder.nodes, (next_nodes, (), (), (), ()))
    grad_input_gates, *others, grad_hidden_gates = found
    grad_state, grad_own = others[:num_states], others[num_states:]
    roots = (
        next_nodes,
        blocks(grad_input_gates, cell.num_input_gates),
        blocks(grad_hidden_gates, num_gates) if cell.recurrent else (),
        tuple(node for by in grad_state for node in blocks(by, 1)),
        tuple(
            node
            for tensor, by in zip(own.values(), grad_own, strict=True)
            for node in blocks(by, max(1, tensor.numel() // size), of_parameter=True)
        ),
    )
    return _live_program(recorder.nodes, roots)


def reachable(
    nodes: Sequence[tuple[str, tuple[Any, ...]]], roots: Iterable[int], stop: Container[int] = ()
) -> set[int]:
    """The numbers of the roots and of the nodes that they are computed from; operands of `stop` nodes are left out."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            operation, operands = nodes[node]
            if operation not in LEAVES and node not in stop:
                waiting.extend(operands)
    return found


def _live_program(nodes: Sequence[tuple[str, tuple[Any, ...]]], roots: tuple[tuple[int, ...], ...]) -> Program:
    """The nodes that the roots need, renumbered so that two traces compare equal."""
    live = reachable(nodes, [node for group in roots for node in group])
    numbers = {node: number for number, node in enumerate(sorted(live))}
    kept = []
    for node in sorted(live):
        operation, operands = nodes[node]
        kept.append((operation, operands if operation in LEAVES else tuple(numbers[part] for part in operands)))
    return Program(tuple(kept), *(tuple(numbers[node] for node in group) for group in roots))
