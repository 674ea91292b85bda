"""Gate activations, read out of the expressions of a cell's `update`."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from seqlight.cells.cell import GatedCell
from seqlight.kernels.expressions import LEAVES, LINEAR
from seqlight.kernels.trace import Program, own_tensors, reachable, trace_update


def gate_activations(
    cell: GatedCell,
    input_gates: Float[Tensor, "batch time gates"],
    hidden_gates: Float[Tensor, "batch time hidden_gates"],
    state: tuple[Float[Tensor, "batch time hidden"], ...],
) -> tuple[Float[Tensor, "batch time hidden"], ...]:
    """What `update` makes of each gate before it mixes it with others: for an LSTM sigmoid(i), sigmoid(f), tanh(g) ...

    A gate that goes into the next state as it is gives its pre-activation.

    Args:
        cell: whose gates they are.
        input_gates: W_ih x_t + b_ih, (B, T, G*H).
        hidden_gates: W_hh h_(t-1) + b_hh, (B, T, G*H); (B, T, 0) if the cell is not `recurrent`.
        state: the states before each step, (B, T, H).

    Raises:
        UnsupportedUpdateError: if `update` can't be traced.
    """
    # Expressions are the same in any type, and not every type can be traced.
    program = trace_update(cell, torch.promote_types(cell.weight_ih.dtype, torch.float32))
    size = cell.hidden_size
    leaves = {("input_gate", gate): part for gate, part in enumerate(input_gates.split(size, -1))}
    if cell.recurrent:
        leaves |= {("hidden_gate", gate): part for gate, part in enumerate(hidden_gates.split(size, -1))}
    leaves |= {("state", index): part for index, part in enumerate(state)}
    own = [block for tensor in own_tensors(cell).values() for block in tensor.flatten().split(size)]
    leaves |= {("parameter", index): block for index, block in enumerate(own)}

    nodes = [activation_node(program, gate) for gate in range(cell.num_gates)]
    values = evaluate(program, {node for node in nodes if node is not None}, leaves)
    plain = pre_activations(cell, input_gates, hidden_gates)
    return tuple(before if node is None else values[node] for node, before in zip(nodes, plain, strict=True))


def pre_activations(
    cell: GatedCell,
    input_gates: Float[Tensor, "batch time gates"],
    hidden_gates: Float[Tensor, "batch time hidden_gates"],
) -> tuple[Float[Tensor, "batch time hidden"], ...]:
    """The sum of both affine maps for each gate, (B, T, H) each."""
    gates = input_gates + hidden_gates if cell.recurrent else input_gates
    return tuple(gates.chunk(cell.num_gates, -1))


def activation_node(program: Program, gate: int) -> int | None:
    """The node of a gate's activation; None if the gate goes into the next state as it is.

    The way leads from the gate through what is linear in it to where functions of that alone begin. Those
    of them that the rest of `update` reads are activations of the gate, and the first one is taken, without
    what is linear at its end: z where 1 - z is read.
    """
    forward = sorted(reachable(program.nodes, program.next_state))
    linear = {node for node in forward if program.nodes[node] in (("input_gate", (gate,)), ("hidden_gate", (gate,)))}
    for node in forward:
        operation, operands = program.nodes[node]
        # Beyond a state it is the state's way and no longer the gate's.
        if node not in program.next_state and linear & {operands[place] for place in LINEAR.get(operation, ())}:
            linear.add(node)
    for start in sorted(linear):
        functions = _functions_of(program, start, forward)
        read = {
            operand
            for node in forward
            if node not in functions and program.nodes[node][0] not in LEAVES
            for operand in program.nodes[node][1]
        }
        for node in sorted(functions & (read | {*program.next_state})):
            while node != start:
                operation, operands = program.nodes[node]
                inner = [place for place, operand in enumerate(operands) if operand in functions]
                if len(inner) > 1 or inner[0] not in LINEAR.get(operation, ()):
                    return node
                node = operands[inner[0]]
    return None


def evaluate(program: Program, wanted: Iterable[int], leaves: Mapping[tuple[str, int], Tensor]) -> dict[int, Tensor]:
    """The values of the nodes that are wanted and of those that they need, given the leaves'."""
    example = next(iter(leaves.values()))
    values: dict[int, Tensor] = {}
    for node in sorted(reachable(program.nodes, wanted)):
        operation, operands = program.nodes[node]
        if operation == "constant":
            values[node] = example.new_tensor(float(operands[0]))
        elif operation in LEAVES:
            values[node] = leaves[operation, operands[0]]
        else:
            first, *others = (values[operand] for operand in operands)
            if operation == "where":
                first = first != 0  # conditions are numbers, as all else
            values[node] = getattr(torch, operation)(first, *others).to(example.dtype)
    return values


def _functions_of(program: Program, start: int, among: Iterable[int]) -> set[int]:
    """The node `start`, and those that are computed from it, constants and parameters alone."""
    functions, constants = {start}, set()
    for node in among:
        operation, operands = program.nodes[node]
        if operation in ("constant", "parameter"):
            constants.add(node)
        elif operation not in LEAVES and (functions | constants).issuperset(operands):
            (constants if constants.issuperset(operands) else functions).add(node)
    return functions
