"""Print a traced update as C++."""

from dataclasses import dataclass

from seqlight.kernels.trace import Program, reachable

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_TEXT = {
    **{name: f"{{}} {sign} {{}}" for name, sign in _INFIX.items()},
    **{name: f"truth({{}} {sign} {{}})" for name, sign in _COMPARISONS.items()},
    "neg": "-{}",
    "reciprocal": "reciprocal({})",
    "exp": "exponential({})",
    "expm1": "exponential_minus_1({})",
    "log": "logarithm({})",
    "log1p": "logarithm_plus_1({})",
    "log2": "logarithm({}) * real(1.4426950408889634)",
    "sqrt": "std::sqrt({})",
    "rsqrt": "reciprocal_root({})",
    "abs": "std::fabs({})",
    "sgn": "sign({})",
    "sin": "std::sin({})",
    "cos": "std::cos({})",
    "erf": "std::erf({})",
    "tanh": "hyperbolic_tangent({})",
    "sigmoid": "sigmoid({})",
    "relu": "relu({})",
    "floor": "std::floor({})",
    "round": "std::nearbyint({})",
    "trunc": "std::trunc({})",
    "isnan": "truth({0} != {0})",
    "logical_not": "truth({} == 0)",
    "logical_and": "truth(({} != 0) & ({} != 0))",
    "logical_or": "truth(({} != 0) | ({} != 0))",
    "pow": "std::pow({}, {})",
    "maximum": "maximum({}, {})",
    "minimum": "minimum({}, {})",
    "where": "choose({}, {}, {})",
}
# Cheaper to compute again in the backward pass than to store and load.
_CHEAP = {*_INFIX, *_COMPARISONS, "neg", "relu", "abs", "sgn", "maximum", "minimum", "where"} - {"div"} | {
    "logical_not",
    "logical_and",
    "logical_or",
}


@dataclass(frozen=True)
class Source:
    """The C++ source of a cell, and the sizes that its caller needs.

    Attributes:
        text: the source of the cell's library, which includes elementwise.h and cell.h.
        loop: the source of the loop's library, which is the same for all cells.
        num_saved: the number of values per unit and step that are saved for the backward pass.
        num_sums: the number of rows of H that the backward pass sums over all steps: gradients by the input gates,
            by the hidden gates if these differ, and by the parameters.
        same_gate_gradients: whether the gradients by input gates and by hidden gates are the same expressions.
    """

    text: str
    loop: str
    num_saved: int
    num_sums: int
    same_gate_gradients: bool


def print_cpp(program: Program, real: str, *, recurrent: bool, output_state: int = 0) -> Source:
    """Print the source for numbers of type `real`, "float" or "double"."""
    num_input_gates, num_states = len(program.grad_input_gates), len(program.next_state)
    num_gates = len(program.grad_hidden_gates) if recurrent else num_input_gates
    saved = _choose_saved(program)
    same = not recurrent or program.grad_hidden_gates == program.grad_input_gates

    inputs = {"input_gate": "input_gates[{} * H + j]", "hidden_gate": "hidden_gates[{} * H + j]"}
    common = {"state": "before[{} * plane + j]", "parameter": "parameters[{} * H + j]", "constant": "real({})"}
    forward = _body(
        program,
        _named_leaves(program, {**inputs, **common}),
        [(f"after[{s} * plane + j] =", node) for s, node in enumerate(program.next_state)],
    )
    saving = _body(
        program,
        _named_leaves(program, {**inputs, **common}),
        [(f"after[{s} * plane + j] =", node) for s, node in enumerate(program.next_state)]
        + [(f"saved[{i} * H + j] =", node) for i, node in enumerate(saved)],
    )

    stored = {node: f"after[{s} * plane + j]" for s, node in enumerate(program.next_state)}
    stored |= {node: f"saved[{i} * H + j]" for i, node in enumerate(saved)}
    stored |= _named_leaves(program, {**common, "grad": "grad_{}"})
    by_input = [(f"by_input[{gate} * H + j] =", node) for gate, node in enumerate(program.grad_input_gates)]
    by_hidden = [(f"by_hidden[{gate} * H + j] =", node) for gate, node in enumerate(program.grad_hidden_gates)]
    gates = by_input if same else by_input + by_hidden
    to_sum = [node for _, node in gates] + list(program.grad_parameters)
    backward = _body(
        program,
        stored,
        gates
        + [(f"grad[{s} * grad_plane + j] =", node) for s, node in enumerate(program.grad_state)]
        + [(f"sums[{i} * H + j] +=", node) for i, node in enumerate(to_sum)],
    )
    grads = [f"const real grad_{s} = grad[{s} * grad_plane + j];" for s in range(num_states)]
    grads[output_state] = grads[output_state].replace(";", " + (grad_outputs ? grad_outputs[j] : 0);")
    backward = "".join(f"        {line}\n" for line in grads) + backward
    text = f"""#define REAL {real}
#include "elementwise.h"

// Rows are sequences, j is a unit of H.
struct Cell {{
  static constexpr long num_gates = {num_gates}, num_input_gates = {num_input_gates}, num_states = {num_states};
  static constexpr long num_parameters = {len(program.grad_parameters)};
  static constexpr long num_saved = {len(saved)}, num_sums = {len(to_sum)};
  static constexpr bool recurrent = {_bool(recurrent)}, same_gate_gradients = {_bool(same)};

  static void forward(long rows, long H, const real *input_gates, long input_row, const real *hidden_gates,
                      long hidden_row, const real *parameters, const real *before, real *after, long plane) {{
    for (; rows > 0; rows--, input_gates += input_row, hidden_gates += hidden_row, before += H, after += H)
#pragma GCC ivdep
      for (long j = 0; j < H; j++) {{
{forward}      }}
  }}

  static void forward_saving(long rows, long H, const real *input_gates, long input_row, const real *hidden_gates,
                             long hidden_row, const real *parameters, const real *before, real *after, long plane,
                             real *saved) {{
    for (; rows > 0; rows--, input_gates += input_row, hidden_gates += hidden_row, before += H, after += H,
                     saved += num_saved * H)
#pragma GCC ivdep
      for (long j = 0; j < H; j++) {{
{saving}      }}
  }}

  static void backward(long rows, long H, const real *parameters, const real *before, const real *after, long plane,
                       const real *saved, const real *grad_outputs, real *by_input, real *by_hidden, real *grad,
                       long grad_row, long grad_plane, real *sums) {{
    for (; rows > 0; rows--, before += H, after += H, saved += num_saved * H, grad_outputs += grad_outputs ? H : 0,
                     by_input += num_input_gates * H, by_hidden += num_gates * H, grad += grad_row)
#pragma GCC ivdep
      for (long j = 0; j < H; j++) {{
{backward}      }}
  }}
}};

#include "cell.h"

static const CellInterface cell = interface_of<Cell>();
EXPORTED const CellInterface *seqlight_cell() {{ return &cell; }}
"""
    return Source(text, f'#define REAL {real}\n#include "recurrence.h"\n', len(saved), len(to_sum), same)


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _named_leaves(program: Program, names: dict[str, str]) -> dict[int, str]:
    """The C++ text of each leaf; `names` has a format for each kind of leaf."""
    special = {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}
    return {
        number: names[kind].format(special.get(operands[0], operands[0]))
        for number, (kind, operands) in enumerate(program.nodes)
        if kind in names
    }


def _body(program: Program, named: dict[int, str], results: list[tuple[str, int]]) -> str:
    """Statements that compute the results. Nodes in `named` are read by their text, not computed.

    All values are read before the first result is written, so a result can overwrite an input.
    """
    needed = reachable(program.nodes, (node for _, node in results), stop=named)
    lines = []
    for node in sorted(needed):
        operation, operands = program.nodes[node]
        if operation == "constant":
            continue
        text = named.get(node) or _TEXT[operation].format(*(_name(program, named, part) for part in operands))
        lines.append(f"const real v{node} = {text};")
    lines += [f"{target} {_name(program, named, node)};" for target, node in results]
    return "".join(f"        {line}\n" for line in lines)


def _name(program: Program, named: dict[int, str], node: int) -> str:
    return named[node] if program.nodes[node][0] == "constant" else f"v{node}"


def _choose_saved(program: Program) -> tuple[int, ...]:
    """The values of the forward pass that are saved for the backward pass.

    The backward pass's expressions read some values of the forward pass. All of these are saved, except for states
    and parameters, which the backward pass can read anyway, and values that are cheap to compute from the others.
    """
    computed = set(reachable(program.nodes, program.next_state))
    # Some gates are read only by the backward pass, for example in an autograd function that the author wrote.
    computed |= {number for number, (kind, _) in enumerate(program.nodes) if kind in ("input_gate", "hidden_gate")}
    roots = (*program.grad_input_gates, *program.grad_hidden_gates, *program.grad_state, *program.grad_parameters)
    available = {number for number, (kind, _) in enumerate(program.nodes) if kind in ("constant", "state", "parameter")}
    available |= set(program.next_state)
    saved = {node for node in reachable(program.nodes, roots, stop=computed) if node in computed} - available

    def is_cheap(node: int, known: set[int]) -> bool:
        operation, operands = program.nodes[node]
        return node in known or (operation in _CHEAP and all(is_cheap(part, known) for part in operands))

    for node in sorted(saved, reverse=True):
        if is_cheap(node, (saved | available) - {node}):
            saved.remove(node)
    return tuple(sorted(saved))
