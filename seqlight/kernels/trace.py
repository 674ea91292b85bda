"""A cell's `update` and its vector-Jacobian product as scalar expressions for one unit of one sequence."""

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqlight.cells.cell import GatedCell
from seqlight.cells.state import State
from seqlight.cells.step_check import check_next_state
from seqlight.common.private_api import own_members, shallow_copy
from seqlight.kernels.expressions import LEAVES, Shadow, UnsupportedUpdateError

AFFINE = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Program:
    """Expressions that share their parts.

    Attributes:
        nodes: (operation, operands) each; operands are numbers of earlier nodes, or for the leaves "constant",
            "input_gate", "hidden_gate", "state", "parameter" and "grad" a value or an index.
        next_state: the node of each next state.
        grad_input_gates: the node of the gradient by each input gate.
        grad_hidden_gates: the same by each hidden gate; none without recurrent weights.
        grad_state: the same by each state, through `update` alone.
        grad_parameters: the same by each block of H parameters, for one sequence and step.
    """

    nodes: tuple[tuple[str, tuple[Any, ...]], ...]
    next_state: tuple[int, ...]
    grad_input_gates: tuple[int, ...]
    grad_hidden_gates: tuple[int, ...]
    grad_state: tuple[int, ...]
    grad_parameters: tuple[int, ...]


def own_tensors(cell: GatedCell) -> dict[str, Tensor]:
    """The parameters and buffers that `update` may read besides the gates, by name."""
    parameters, buffers, children = own_members(cell)
    if not children:  # as below, at a tenth of the time
        own = [*parameters.items(), *buffers.items()]
        return {name: tensor for name, tensor in own if tensor is not None and name not in AFFINE}
    affine = {id(getattr(cell, name, None)) for name in AFFINE}
    tensors = [*cell.named_parameters(), *cell.named_buffers()]
    return {name: tensor for name, tensor in tensors if id(tensor) not in affine}


def trace_update(cell: GatedCell, dtype: torch.dtype) -> Program:
    """The expressions of `cell.update` and of its vector-Jacobian product.

    Raises:
        UnsupportedUpdateError: if `update` is not elementwise over units and sequences, is random, depends on
            the batch size, or uses an operation that has no expression here.
    """
    try:
        program, again = _trace(cell, dtype, 2, 1.0), _trace(cell, dtype, 3, -0.7)
    except RuntimeError as error:
        raise UnsupportedUpdateError(f"update() can't be traced: {str(error).splitlines()[0]}") from error
    # What is drawn at random, counted in Python, or taken from the batch size or past torch from a parameter differs.
    if again != program:
        raise UnsupportedUpdateError("update() gives other expressions when it is called again with another batch")
    return program


class _Update(nn.Module):
    """`cell.update` as a module's call, for `torch.func.functional_call`."""

    def __init__(self, cell: GatedCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, input_gates: Tensor, hidden_gates: Tensor, state: State) -> State:
        return self.cell.update(input_gates, hidden_gates, state)


def _trace(cell: GatedCell, dtype: torch.dtype, batch_size: int, scale: float) -> Program:
    """One trace, with the values of all that `update` reads times `scale`."""
    size, num_gates, num_states = cell.hidden_size, cell.num_gates, len(cell.state_names)

    def leaf(*shape: int) -> Tensor:
        return torch.linspace(0.1 * scale, 0.9 * scale, math.prod(shape), dtype=dtype).view(shape).requires_grad_()

    # Whatever mode the cell is first used in.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        input_gates = leaf(batch_size, cell.num_input_gates * size)
        hidden_gates = leaf(batch_size, num_gates * size if cell.recurrent else 0)
        state = tuple(leaf(batch_size, size) for _ in range(num_states))
        grads = tuple(leaf(batch_size, size).detach() for _ in range(num_states))
        own = {}
        for name, tensor in own_tensors(cell).items():
            if not tensor.is_floating_point() or (tensor.numel() > 1 and tensor.numel() % size):
                raise UnsupportedUpdateError(f"{name} of shape {tuple(tensor.shape)}, which is not (H,)")
            if tensor.ndim > 0 and tensor.dtype != dtype:
                raise UnsupportedUpdateError(f"{name} of {tensor.dtype} among {dtype}")
            own[name] = (scale * tensor.detach().to("cpu", dtype)).requires_grad_()

        shadow = Shadow(size, dtype)
        for name in AFFINE:
            if isinstance(weight := getattr(cell, name, None), Tensor):
                shadow.forbid(weight)
        shadow.mark(input_gates, "input_gate", 0)
        if cell.recurrent:
            shadow.mark(hidden_gates, "hidden_gate", 0)
        for index in range(num_states):
            shadow.mark(state[index], "state", index)
            shadow.mark(grads[index], "grad", index)
        num_blocks = 0
        for tensor in own.values():
            num_blocks += shadow.mark(tensor, "parameter", num_blocks, per_sequence=False)

        with shadow:
            wrapped = {f"cell.{name}": tensor for name, tensor in own.items()}
            arguments = (input_gates, hidden_gates, state)
            next_state = torch.func.functional_call(_Update(shallow_copy(cell)), wrapped, arguments)
            check_next_state(cell, next_state, batch_size)
            leaves = [input_gates, *state, *own.values(), hidden_gates]
            used = [(new, grad) for new, grad in zip(next_state, grads, strict=True) if new.requires_grad]
            found: Sequence[Tensor | None] = [None] * len(leaves)
            if used:
                outputs, output_grads = zip(*used, strict=True)
                found = torch.autograd.grad(outputs, leaves, output_grads, allow_unused=True)

    def blocks(value: Tensor | None, count: int, *, of_parameter: bool = False) -> tuple[int, ...]:
        """The expression of each block of H columns."""
        zeros = (shadow.constant(0.0),) * count
        return zeros if value is None else shadow.blocks(value, of_parameter=of_parameter)

    of_gates, of_state, of_own = found[0], found[1 : 1 + num_states], found[1 + num_states : 1 + num_states + len(own)]
    roots = (
        tuple(node for new in next_state for node in shadow.blocks(new)),
        blocks(of_gates, cell.num_input_gates),
        blocks(found[-1], num_gates) if cell.recurrent else (),
        tuple(node for grad in of_state for node in blocks(grad, 1)),
        tuple(
            node
            for tensor, grad in zip(own.values(), of_own, strict=True)
            for node in blocks(grad, max(1, tensor.numel() // size), of_parameter=True)
        ),
    )
    shadow.check_leaves()
    return _live_program(shadow.nodes, roots)


def reachable(
    nodes: Sequence[tuple[str, tuple[Any, ...]]], roots: Iterable[int], stop: Container[int] = ()
) -> set[int]:
    """The numbers of the nodes that the roots are computed from, and of the roots; nothing beyond those of `stop`."""
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
    """The nodes that the roots need, numbered anew, so that two traces compare equal."""
    live = reachable(nodes, [node for group in roots for node in group])
    numbers = {node: number for number, node in enumerate(sorted(live))}
    kept = []
    for node in sorted(live):
        operation, operands = nodes[node]
        kept.append((operation, operands if operation in LEAVES else tuple(numbers[part] for part in operands)))
    return Program(tuple(kept), *(tuple(numbers[node] for node in group) for group in roots))
