"""The backend that runs kernels generated from a cell's `update`."""

import enum
import functools
import types
import warnings
from abc import ABC
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqlight.cells.cell import GatedCell, RecurrentCell, has_plain_step, is_inherited
from seqlight.cells.regularised import RegularisedCell
from seqlight.cells.state import State
from seqlight.cells.step_check import check_next_state
from seqlight.common.private_torch import has_hooks, is_transformed, module_internals, own_members, unobserved
from seqlight.kernels.autograd import Kernel, make_kernel, run_kernel
from seqlight.kernels.build import BuildError
from seqlight.kernels.memory import ChangingUpdateError, is_users
from seqlight.kernels.recorder import UnsupportedUpdateError
from seqlight.kernels.trace import tensor_layout
from seqlight.recurrent.lengths import CheckedLengths, run_packed
from seqlight.recurrent.unroll import unroll

_MOST_KERNELS = 20  # of one cell; each takes half a second to build


class KernelWarning(UserWarning):
    """No kernel can serve a cell, so a slower backend runs it."""


class Kernels:
    """The kernels of one cell, each made when it is first needed.

    If the cell's configuration changes, a new kernel is made. Copies and pickles of this object are empty.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Kernel | str] = {}
        self._dtypes: dict[Any, tuple[torch.dtype, ...]] = {}
        self._changing: str | None = None
        self._reasons: set[str] = set()

    def __reduce__(self) -> Any:
        return Kernels, ()

    def find(self, cell: RecurrentCell, inputs: Tensor, *, warn: bool = False) -> Kernel | str:
        """The kernel that serves these inputs, or the reason why none does.

        With `warn`, warn once (`KernelWarning`) for each reason that concerns the cell, not the inputs.
        """
        dtype = torch.float32 if torch.is_autocast_enabled("cpu") else inputs.dtype
        reason = _refusal(cell, inputs, dtype)
        if reason is not None:
            return reason
        assert isinstance(cell, GatedCell)
        key: Any
        try:
            if not has_plain_step(cell):
                raise UnsupportedUpdateError("it overrides forward() or step(), or has hooks")
            _check_weights(cell)
            key = self._changing or (dtype, *_configuration(cell))
        except UnsupportedUpdateError as error:
            key = str(error)
        if key not in self._made:
            try:
                if isinstance(key, str):
                    raise UnsupportedUpdateError(key)
                if sum(isinstance(made, Kernel) for made in self._made.values()) >= _MOST_KERNELS:
                    raise ChangingUpdateError(
                        f"its attributes have had {_MOST_KERNELS} different values, each of which needs a kernel; "
                        "register one that changes often as a buffer"
                    )
                self._made[key] = make_kernel(cell, dtype)
                if key != (dtype, *_configuration(cell)):
                    raise ChangingUpdateError("update() changes an attribute of its class")
            except (UnsupportedUpdateError, BuildError) as error:
                self._made[key] = str(error)
                if isinstance(error, ChangingUpdateError):
                    # For good, because the loop changes the cell's configuration in each call.
                    self._changing = str(error)
                    self._made[self._changing] = self._changing
                if warn:
                    self.warn(cell, str(error))
        return self._made[key]

    def warn_of_loop(self, cell: RecurrentCell, inputs: Tensor, reason: str) -> None:
        """Warn once of the loop, unless that is expected: for a cell that is no GatedCell on a CPU, or a transform."""
        transformed = is_transformed() or torch.compiler.is_compiling()
        if not transformed and (isinstance(cell, GatedCell) or inputs.device.type != "cpu"):
            self.warn(cell, reason)

    def warn(self, cell: RecurrentCell, reason: str) -> None:
        """Warn (`KernelWarning`) that no kernel serves the cell, once for each reason."""
        if reason not in self._reasons:
            self._reasons.add(reason)
            inner = cell.cell if isinstance(cell, RegularisedCell) else cell
            message = f"{type(inner).__name__} runs without a kernel: same results, but slower ({reason})"
            warnings.warn(message, KernelWarning, stacklevel=3)

    def run(
        self,
        kernel: Kernel,
        cell: GatedCell,
        inputs: Float[Tensor, "batch time features"],
        state: State | None,
        lengths: CheckedLengths | None,
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """Outputs and final state, as `unroll` computes them."""
        if not torch.is_autocast_enabled("cpu"):
            return _run(kernel, cell, inputs, state, lengths)
        dtypes = self._eager_dtypes(cell, inputs, state, lengths)
        with torch.autocast("cpu", enabled=False):
            if state is not None:
                state = tuple(part.to(kernel.dtype) for part in state)
            outputs, final = _run(kernel, cell, inputs.to(kernel.dtype), state, lengths)
        return outputs.to(dtypes[0]), tuple(part.to(dtype) for part, dtype in zip(final, dtypes[1:], strict=True))

    def _eager_dtypes(
        self, cell: GatedCell, inputs: Tensor, state: State | None, lengths: CheckedLengths | None
    ) -> tuple[torch.dtype, ...]:
        """The dtypes of the output and states that `unroll` returns under the active autocast."""
        steps = min(inputs.shape[1], 2)
        state_dtypes = tuple(part.dtype for part in state or ())
        autocast_dtype = torch.get_autocast_dtype("cpu")
        key = (inputs.dtype, state_dtypes, steps, lengths is None, autocast_dtype, *_configuration(cell))
        if key not in self._dtypes:
            # The random state is kept, because a continued run comes here too.
            with torch.no_grad(), unobserved(), torch.random.fork_rng(devices=[]):
                first = None if state is None else tuple(part[:1] for part in state)
                output, final = unroll(
                    cell, inputs[:1, :steps], first, None if lengths is None else torch.ones(1).long()
                )
            self._dtypes[key] = (output.dtype, *(part.dtype for part in final))
        return self._dtypes[key]


def _refusal(cell: RecurrentCell, inputs: Tensor, dtype: torch.dtype) -> str | None:
    """The reason why no kernel can serve these inputs, for any `update`; None if there is no such reason."""
    if not isinstance(cell, GatedCell):
        return f"{type(cell).__name__} is not a GatedCell"
    if inputs.device.type != "cpu":
        return f"kernels run on the CPU, but the inputs are on {inputs.device}"
    if dtype not in (torch.float32, torch.float64) or cell.weight_ih.dtype != dtype:
        return (
            "inputs and weights of a kernel must both be float32 or both float64, "
            f"got {dtype} and {cell.weight_ih.dtype}"
        )
    if torch.compiler.is_compiling() or is_transformed():
        return "torch.export, torch.func and forward-mode differentiation can't trace a kernel"
    for tensor in (inputs, cell.weight_ih):
        if type(tensor) not in (Tensor, nn.Parameter):
            return f"a kernel reads plain tensors, got {type(tensor).__name__}"
    return None


def _check_weights(cell: GatedCell) -> None:
    """Check shape, dtype and device of the weights, because a kernel reads their memory unchecked.

    Raises:
        UnsupportedUpdateError: if one is wrong; the message names it.
    """
    if "parametrizations" in own_members(cell)[2]:
        raise UnsupportedUpdateError("its weights are parametrised, so they are computed at each step")
    rows, dtype = cell.num_gates * cell.hidden_size, cell.weight_ih.dtype
    shapes = {"weight_hh": (rows, cell.hidden_size), "bias_hh": (rows,)} if cell.recurrent else {}
    if is_inherited(cell, "project"):
        shapes |= {"weight_ih": (rows, cell.input_size), "bias_ih": (rows,)}
    for name, shape in shapes.items():
        weight = getattr(cell, name)
        if weight is None or weight.shape != shape or weight.dtype != dtype or not weight.is_cpu:
            got = "None" if weight is None else f"{weight.dtype} {tuple(weight.shape)} on {weight.device}"
            raise UnsupportedUpdateError(f"its {name} must be {dtype} {shape} on the CPU, got {got}")


_INTERNAL = module_internals()


def _configuration(cell: GatedCell) -> tuple[Any, ...]:
    """All that an `update` can depend on besides its tensors; a kernel is made for one such configuration.

    Variables of Python modules count as constants.

    Raises:
        UnsupportedUpdateError: if changes of an attribute can't be detected.
    """
    values: list[Any] = [tensor_layout(cell)]
    for module in cell.modules() if own_members(cell)[2] else (cell,):
        if module is not cell and has_hooks(module):
            raise UnsupportedUpdateError(f"its module {type(module).__name__} has hooks")
        values.append(module.training)
        for base, name, known, constant, changes in _class_attributes(type(module)):  # type: ignore[arg-type] # of Module's hash
            value = vars(base).get(name)
            values.append(constant if value is known and not changes else _constant(base, name, value))
        for name, value in vars(module).items():
            if name not in _INTERNAL:
                values.append(name)
                values.append(_constant(module, name, value))
    return tuple(values)


@functools.cache
def _class_attributes(cls: type) -> tuple[tuple[type, str, Any, Any, bool], ...]:
    """The class attributes and methods of a cell or submodule.

    Returns:
        For each its class, name, value and constant, and whether the constant can change while the value stays.

    Raises:
        UnsupportedUpdateError: if changes of an attribute can't be detected.
    """
    fixed = {RecurrentCell, GatedCell, ABC, nn.Module, object}
    return tuple(
        (base, name, value, _constant(base, name, value), _can_change(value))
        for base in cls.__mro__
        if base not in fixed and not base.__module__.startswith("torch.")
        for name, value in vars(base).items()
        if not (name.startswith("__") and name.endswith("__")) and not name.startswith("_abc_")
    )


def _enclosed(function: types.FunctionType) -> list[Any]:
    """The values of a function's closure, without the class that `super()` reads."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return [cell.cell_contents for name, cell in cells if name != "__class__"]


def _can_change(value: Any) -> bool:
    """Whether a class or function refers to values that can be replaced while it stays the same."""
    return (isinstance(value, types.FunctionType) and bool(_enclosed(value))) or (
        isinstance(value, type) and is_users(value)
    )


def _constant(owner: object, name: str, value: Any) -> Any:
    """A value to compare configurations by. It distinguishes -0.0 from 0.0, True from 1, and 1.0 from "1.0"."""
    kind = type(value)
    if kind is int or kind is str:
        return value
    if kind in (float, bool, complex):
        return kind, repr(value)
    if kind is tuple:
        return kind, *(_constant(owner, name, part) for part in value)
    if kind is functools.partial:
        parts = (value.func, *value.args, *(part for item in value.keywords.items() for part in item))
        return _constant(owner, name, parts)
    if isinstance(value, types.FunctionType) and is_users(value):
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        return value, *(_constant(owner, name, part) for part in (*defaults, *_enclosed(value)))
    if isinstance(value, type) and is_users(value) and not issubclass(value, nn.Module | enum.Enum):
        attributes = [(part, held) for part, held in vars(value).items() if not part.startswith("__")]
        return value, *(_constant(value, f"{name}.{part}", held) for part, held in attributes)
    if isinstance(value, types.MethodType):
        return value.__func__, _constant(owner, name, value.__self__)
    if value is owner:  # all its attributes are compared
        return id(value)
    if value is None or isinstance(value, _IMMUTABLE):
        return value
    raise UnsupportedUpdateError(
        f"its attribute {name} is a {kind.__name__}, whose changes can't be detected (register a tensor as a buffer)"
    )


_IMMUTABLE = (
    *(type, property, staticmethod, classmethod, types.FunctionType, types.BuiltinFunctionType),
    *(enum.Enum, torch.dtype, torch.device),
)


def _run(
    kernel: Kernel, cell: GatedCell, inputs: Tensor, state: State | None, lengths: CheckedLengths | None
) -> tuple[Tensor, State]:
    if state is None and not is_inherited(cell, "initial_state"):
        state = cell.initial_state(len(inputs), device=inputs.device, dtype=inputs.dtype)
        check_next_state(cell, state, len(inputs))
    if state is not None and any(part.dtype != kernel.dtype or part.device != inputs.device for part in state):
        got = ", ".join(f"{part.dtype} on {part.device}" for part in state)
        raise TypeError(f"the state must be {kernel.dtype} on {inputs.device} like the inputs, got {got}")
    if lengths is None:
        return run_kernel(kernel, cell, inputs, None, state)

    def step(data: Tensor, batch_sizes: Tensor, state: State | None) -> tuple[Tensor, State]:
        return run_kernel(kernel, cell, data, batch_sizes, state)

    return run_packed(step, inputs, lengths, state)
