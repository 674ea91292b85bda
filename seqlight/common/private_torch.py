"""Uses of private parts of torch, which can change in any version.

Each attribute with an underscore, replaced method and parsed message has one function here. Its docstring states the
assumption, and why there is no public way. Each function has one test in
`tests/common/test_private_torch.py`: if a new version breaks an assumption, the test with its name
fails.
"""

import contextlib
import copy
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch.overrides import _pop_mode, _push_mode
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves as tree_leaves
from torch.utils._pytree import tree_map as tree_map

# The names under which `torch.save` pickles the functions that rebuild tensors and parameters.
REBUILD = {
    "tensor": "torch._utils _rebuild_tensor_v2",
    "tensor of a newer type": "torch._utils _rebuild_tensor_v3",
    "tensor with attributes": "torch._tensor _rebuild_from_type_v2",
    "parameter": "torch._utils _rebuild_parameter",
    "parameter with attributes": "torch._utils _rebuild_parameter_with_state",
    "sparse": "torch._utils _rebuild_sparse_tensor",
    "quantised": "torch._utils _rebuild_qtensor",
    "meta": "torch._utils _rebuild_meta_tensor_no_storage",
}
# The types of tensors that `torch.save` saves with bytes of no type.
NEW_DTYPES: frozenset[torch.dtype] = frozenset(torch.storage._new_dtypes())


def set_tensor_metadata(tensor: Tensor, metadata: dict[str, bool]) -> None:
    """Mark a tensor as the conjugate or the negative of its values, as `torch.save` states for such views."""
    torch._utils.set_tensor_metadata(tensor, metadata)


def quantised(
    content: torch.UntypedStorage, dtype: torch.dtype, offset: int, size: Any, stride: Any, parameters: Any
) -> Tensor:
    """A quantised tensor of stored values. The public functions round numbers; none takes the values themselves."""
    storage = torch.storage.TypedStorage(wrap_storage=content, dtype=dtype, _internal=True)
    tensor: Tensor = torch._utils._rebuild_qtensor(storage, offset, size, stride, parameters, False, {})
    return tensor


_FOR_ALL_MODULES = (
    nn.modules.module._global_forward_pre_hooks,
    nn.modules.module._global_forward_hooks,
    nn.modules.module._global_backward_pre_hooks,
    nn.modules.module._global_backward_hooks,
)


def has_hooks(module: nn.Module) -> bool:
    """Whether calling the module runs hooks: its own, or those for all modules. torch has no public list of them."""
    forward = module._forward_pre_hooks or module._forward_hooks
    return bool(forward or module._backward_pre_hooks or module._backward_hooks or any(_FOR_ALL_MODULES))


def own_members(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The parameters, buffers and children of the module itself, by name.

    `named_parameters(recurse=False)` takes ten times as long, and each call of a kernel needs this.
    """
    return module._parameters, module._buffers, module._modules


def shallow_copy(module: nn.Module) -> Any:
    """A copy of a module that shares its tensors. Replacing tensors of the copy does not change `module`.

    `copy.copy` alone shares the dictionaries of parameters, and `copy.deepcopy` copies the tensors.
    """
    replica = copy.copy(module)
    for kind in ("_parameters", "_buffers", "_modules"):
        vars(replica)[kind] = dict(vars(module)[kind])
    for name, child in module._modules.items():
        replica._modules[name] = None if child is None else shallow_copy(child)
    return replica


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that `torch.compile(module)` wraps; the module itself if it is not such a wrapper."""
    return getattr(module, "_orig_mod", module)


def separate_call(replica: nn.Module) -> None:
    """Separate the calls of a copied module from its original: own hooks, and no code that was compiled for it."""
    vars(replica).pop("_compiled_call_impl", None)
    for hooks in ("_forward_pre_hooks", "_forward_hooks"):
        vars(replica)[hooks] = vars(replica)[hooks].copy()


def module_internals() -> set[str]:
    """The names of the attributes that `nn.Module` itself sets on a module."""
    return {*vars(nn.Module())}


def version_of(tensor: Tensor) -> int:
    """A number that grows with each in-place change: the only sign of a change that leaves the values equal."""
    return tensor._version


def is_mutable(operation: Any) -> bool:
    """Whether an operation that `TorchDispatchMode` intercepts changes an argument in place."""
    return bool(operation._schema.is_mutable)


def decomposition_of(operation: Any) -> Any:
    """A function that computes an operation with simpler ones; None if torch has none.

    The public `torch.export.default_decompositions` returns those for export only, and takes a second to build.
    """
    return decomposition_table.get(operation)


def is_transformed() -> bool:
    """Whether `torch.func` or forward-mode differentiation transforms the calling code. No public function tells."""
    return bool(torch._C._are_functorch_transforms_active()) or torch.autograd.forward_ad._current_level >= 0


def is_batched(tensor: Tensor) -> bool:
    """Whether `vmap` has added a dimension that the shape does not show, as `is_grads_batched=True` does."""
    functions = torch._C._functorch
    return functions.is_batchedtensor(tensor) or functions.is_legacy_batchedtensor(tensor)


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Hide operations from the caller's dispatch modes and saved-tensor hooks, such as those of activation checkpoints.

    Checkpoints count operations and saved tensors, and a layer runs some at its first call only. Only the innermost
    pair of hooks is called. torch has no public way to leave a dispatch mode that somebody else has entered.
    """
    nothing = contextlib.nullcontext()
    modes = _disable_current_modes() if torch._C._len_torch_dispatch_stack() else nothing
    # torch.func refuses hooks.
    hooks = nothing if is_transformed() else torch.autograd.graph.saved_tensors_hooks(_same, _same)
    with modes, hooks:
        yield


def _same(value: Any) -> Any:
    return value


@contextlib.contextmanager
def without_function_modes() -> Iterator[None]:
    """Leave the caller's function modes, such as a default device. torch has no public way to do that.

    `torch.device("cpu")` inside `torch.device("cuda")` covers only the outermost of nested operations.
    """
    modes = [_pop_mode() for _ in range(torch._C._len_torch_function_stack())]
    try:
        yield
    finally:
        for mode in reversed(modes):
            _push_mode(mode)


def is_exporting() -> bool:
    """Whether torch.export traces a model.

    The public function of the same name is always true in what torch.compile of torch 2.11 traces.
    """
    return bool(torch.compiler._is_exporting_flag)


def without_compiler(function: Any, reason: str) -> Any:
    """A function that `torch.compile` calls as it is, outside its graph, with all that the function calls.

    With `fullgraph=True`, torch shows the reason in its error. The public `torch.compiler.disable` is the same, but
    imports the compiler at once, which takes a second.
    """
    disabled: Any = torch._disable_dynamo(function)
    disabled._torchdynamo_disable = True
    disabled._torchdynamo_disable_msg = reason
    return disabled


class _Flags(threading.local):
    """Arguments of the check for finite values, created once for each thread: this takes longer than the check."""

    def __init__(self) -> None:
        self.found = torch.zeros((), dtype=torch.float32, device="cpu")
        self.one = torch.ones_like(self.found)


_flags = _Flags()


def are_all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all values of CPU tensors are finite, in one pass.

    `GradScaler` checks gradients with this function of torch. It also multiplies the tensors by 1.
    `torch.nn.utils.get_total_norm` takes four times as long.
    """
    found = _flags.found
    torch._amp_foreach_non_finite_check_and_unscale_(list(tensors), found, _flags.one)
    if not found.item():
        return True
    found.zero_()
    return False


def norms_of(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The norm of each tensor, computed in another dtype, in few kernels; `get_total_norm` has no dtype."""
    return list(torch._foreach_norm(list(tensors), 2, dtype=dtype))


def takes_found_inf(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer skips its step on the device if its `found_inf` is 1, as for a GradScaler.

    That tensor of one float is read within the step, so the CPU does not wait for it.
    """
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def is_parameter_registration(function: Any) -> bool:
    """Whether a call that `TorchFunctionMode` intercepts is made by `nn.Module.register_parameter`, once each time.

    It reads `grad_fn`. torch's own hook for registrations is called for all threads of a process.
    """
    return getattr(function, "__self__", None) is Tensor.grad_fn


def needs_values(error: Exception) -> bool:
    """Whether a computation failed because a tensor on the "meta" device has no values."""
    return isinstance(error, NotImplementedError) or "meta tensors" in str(error)


def gradcheck_values(error: Exception) -> tuple[float, float] | None:
    """The numerical and the analytical derivative in a GradcheckError of fast mode; None if it is about other things.

    The error holds them in its text only.
    """
    found = re.search(r"numerical:(\S+)\s+analytical:(\S+)", str(error))
    return None if found is None else (float(found[1]), float(found[2]))


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch could not get memory. On CPU and MPS, the RuntimeError differs from others by its text only."""
    return isinstance(error, torch.OutOfMemoryError) or bool(
        re.search("DefaultCPUAllocator|MPS backend out of memory", str(error))
    )


def allocation_failure(message: str) -> str | None:
    """The amount of memory that torch could not get, from the text of its error."""
    found = re.search(r"DefaultCPUAllocator: .*?(you tried to allocate \d+ bytes)", message)
    return None if found is None else found[1]


def is_process_lost(error: Exception) -> bool:
    """Whether a collective operation failed because another process has ended. The error's text names the cause."""
    return bool(re.search(r"gloo/transport|NCCL|Connection (closed|reset) by peer|Broken pipe", str(error)))


def add_summary(writer: Any, summary: Any, step: int | None = None) -> None:
    """Write a TensorBoard summary with a `SummaryWriter`, which opens a new file if its file is closed.

    The public methods do this too, but write one value each, and make pictures with pyplot.
    """
    writer._get_file_writer().add_summary(summary, step)
