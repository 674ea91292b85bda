"""Uses of private parts of torch, Lightning and jsonargparse, which can change in any version.

Each attribute with an underscore, replaced method and parsed message has one function here. Its docstring states the
assumption, and why there is no public way. `tests/common/test_private_api.py` has one test for each function: if a new
version of a library breaks an assumption, the test with the function's name fails.

Nothing here imports Lightning or jsonargparse, because cells and tasks import this module and do not need them.
"""

import contextlib
import copy
import functools
import importlib
import os
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch.overrides import _pop_mode, _push_mode
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves as tree_leaves
from torch.utils._pytree import tree_map as tree_map

if TYPE_CHECKING:
    import lightning.pytorch as pl

# ------------------------------------------------------------------------------------------------ torch


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


def without_compiler(function: Any, reason: str) -> Any:
    """A function that `torch.compile` calls as it is, outside its graph, with all that the function calls.

    With `fullgraph=True`, torch shows the reason in its error. The public `torch.compiler.disable` is the same, but
    imports the compiler at once, which takes a second.
    """
    disabled: Any = torch._disable_dynamo(function)
    disabled._torchdynamo_disable = True
    disabled._torchdynamo_disable_msg = reason
    return disabled


_FOUND, _ONE = torch.zeros(()), torch.ones(())  # created once: this takes longer than the check


def are_all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all values of CPU tensors are finite, in one pass.

    `GradScaler` checks gradients with this function of torch. It also multiplies the tensors by 1.
    `torch.nn.utils.get_total_norm` takes four times as long.
    """
    torch._amp_foreach_non_finite_check_and_unscale_(list(tensors), _FOUND, _ONE)
    if not _FOUND.item():
        return True
    _FOUND.zero_()
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


def is_process_lost(error: Exception) -> bool:
    """Whether a collective operation failed because another process has ended. The error's text names the cause."""
    return bool(re.search(r"gloo/transport|NCCL|Connection (closed|reset) by peer|Broken pipe", str(error)))


# ----------------------------------------------------------------------------------------------- Lightning


class NotInEveryStep:
    """Mixin for callbacks without hooks inside a training step. It must be the first base class.

    Lightning makes ten hook calls per step for each callback, even if the hooks are empty.
    """

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None


class EpochFromTrainer:
    """Mixin for a loader that needs the number of the epoch, for its order.

    Lightning calls `set_epoch` on a loader's `sampler`, which is the loader itself here. If there is a sampler, it also
    looks for a `batch_sampler`.
    """

    batch_sampler = None

    @property
    def sampler(self) -> Any:
        """The loader."""
        return self


class FastHookName:
    """Mixin for a LightningModule. It must be the first base class.

    Lightning sets `_current_fx_name` on the module fifty times per step. `nn.Module.__setattr__` searches parameters
    and submodules each time, which takes a tenth of a small model's step.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute."""
        if name == "_current_fx_name":
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)


def call_after(module: "pl.LightningModule", hook: str, function: Callable[[], None]) -> Callable[[], None]:
    """Call a function after each call of a module's hook; returns a function that ends this.

    The hook is replaced on the object. A callback's hook of the same name runs before the module's, which can still
    change the state that a checkpoint saves.
    """
    original, replaced = getattr(module, hook), vars(module).get(hook)

    def replacement(*args: Any) -> None:
        original(*args)
        function()

    def restore() -> None:
        if replaced is None:
            vars(module).pop(hook, None)
        else:
            setattr(module, hook, replaced)

    setattr(module, hook, replacement)
    return restore


def is_validation_next(trainer: "pl.Trainer") -> bool:
    """Whether Lightning validates after the current batch. It has no public function for this rule of six cases."""
    loop = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]


def begin_next_epoch(trainer: "pl.Trainer") -> None:
    """Continue with the next epoch if a checkpoint was saved at the end of one.

    With `max_steps`, Lightning 2.6 would end the saved epoch a second time, and count it twice.
    """
    loop = trainer.fit_loop
    if loop.restarting:
        loop._restarting = loop.epoch_loop.restarting = False
        loop.reset_restart_stage()
        loop.epoch_progress.increment_completed()


def completed_epochs(checkpoint: dict[str, Any]) -> int:
    """The number of complete epochs in the loop state of a checkpoint.

    `checkpoint["epoch"]` does not tell whether the last one is complete. Raises LookupError or TypeError if the state
    has another form.
    """
    loop = checkpoint["loops"]["fit_loop"]
    begun, completed = (loop["epoch_progress"]["current"][name] for name in ("ready", "completed"))
    # Callbacks save after an epoch's batches, before the epoch counts as completed.
    return int(completed) + bool(begun > completed and loop["epoch_loop.batch_progress"]["is_last_batch"])


def lambda_schedule_state(step: int, learning_rate: float) -> dict[str, Any]:
    """The state of a LambdaLR scheduler at a step, as its `state_dict` gives it. torch has no way to set the step."""
    rates = [learning_rate]
    return {"base_lrs": rates, "_last_lr": rates, "lr_lambdas": [None], "last_epoch": step, "_step_count": step + 1}


def keep_file_name(checkpoint: Any) -> None:
    """Let a ModelCheckpoint overwrite its file, like `enable_version_counter=False` in its `__init__`."""
    checkpoint._enable_version_counter = False


def show_in_progress_bar(trainer: "pl.Trainer", values: dict[str, float]) -> None:
    """Show values in the progress bar. `LightningModule.log` takes a quarter of a small model's step.

    `progress_bar_metrics` is the dictionary itself, not a copy.
    """
    trainer.progress_bar_metrics.update(values)


def has_writer(logger: Any) -> bool:
    """Whether a TensorBoardLogger has begun its file. To read its `experiment` would begin one."""
    return logger._experiment is not None


@contextlib.contextmanager
def event_file_named_after(seconds: float) -> Iterator[None]:
    """Give TensorBoard's next file a name as of this time at least. Its name has the time, which can't be chosen."""
    from tensorboard.summary.writer import event_file_writer  # type: ignore[import-untyped]

    clock = event_file_writer.time
    times = iter([max(seconds, clock.time())])  # only the first is for the name
    event_file_writer.time = SimpleNamespace(time=lambda: next(times, None) or clock.time())
    try:
        yield
    finally:
        event_file_writer.time = clock


def subcommand_parser(cli: Any, subcommand: str) -> Any:
    """The parser of a LightningCLI's subcommand, whose defaults depend on the other arguments."""
    return cli._subcommand_parsers[subcommand]


def is_raised_in(error: Exception, folder: str) -> bool:
    """Whether code in a folder raised the error. Lightning's own errors are ValueError, TypeError and others."""
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(folder + os.sep)


def is_raised_while_restoring(error: Exception) -> bool:
    """Whether Lightning raised the error while it restored a checkpoint, from the file names in the traceback."""
    return any(
        frame.filename.endswith("checkpoint_connector.py") for frame in traceback.extract_tb(error.__traceback__)
    )


# -------------------------------------------------------------------------------------------- jsonargparse


def limit_imports(modules: Sequence[str]) -> Callable[[], None]:
    """Let values that are parsed name only these modules; returns a function that ends this.

    jsonargparse has these settings for the process, and no public way to restore them.
    """
    from jsonargparse import _common, set_parsing_settings

    before = dict(_common.parsing_settings)
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(modules))
    return lambda: _common.parsing_settings.update(before)


def bound_class(value: Any) -> Any:
    """`functools.partial(cls, **arguments)` for what jsonargparse makes of a flag that names a class to call later.

    jsonargparse makes a partial of its own function, with the class as the last positional argument. Any other value
    is returned unchanged.
    """
    if isinstance(value, functools.partial) and value.args and isinstance(value.args[-1], type):
        return functools.partial(value.args[-1], **value.keywords)
    return value


@contextlib.contextmanager
def classes_keep_own_defaults() -> Iterator[None]:
    """Let a class that replaces another one start with its own defaults, while arguments are parsed.

    jsonargparse keeps those arguments of the replaced class that the new class accepts too, and has no setting for it.
    """
    from jsonargparse import _typehints

    name = "discard_init_args_on_class_path_change"
    original = getattr(_typehints, name)

    def discard(parser: Any, replaced: Any, value: Any) -> None:
        if replaced and "init_args" in replaced and replaced["class_path"] != value["class_path"]:
            del replaced["init_args"]

    setattr(_typehints, name, discard)
    try:
        yield
    finally:
        setattr(_typehints, name, original)


@contextlib.contextmanager
def import_paths_noted(note: Callable[[str], None]) -> Iterator[None]:
    """Call a function with each import path in flags and configurations, before jsonargparse imports it.

    jsonargparse checks such a path, and no path that comes from code.
    """
    modules = [importlib.import_module(f"jsonargparse.{name}") for name in ("_util", "_typehints")]
    check = modules[0].check_import_path

    def check_and_note(path: str) -> None:
        check(path)
        note(path)

    for module in modules:
        vars(module)["check_import_path"] = check_and_note
    try:
        yield
    finally:
        for module in modules:
            vars(module)["check_import_path"] = check


# The functions below read the text of a jsonargparse.ArgumentError: it has no attributes for the details.


def error_key(message: str) -> str:
    """The full name of the argument in an error, such as `data.task`; empty if there is none."""
    return ".".join(re.findall(r'Parser key "([^"]+)"', message))


def unaccepted_option(message: str) -> str | None:
    """The name of an argument that a class does not take."""
    return _first(r"Option '([^']+)' is not accepted", message)


def is_not_a_configuration(message: str) -> bool:
    """Whether a file given as a configuration is none."""
    return "Unexpected config" in message


def is_not_a_class_path(message: str) -> bool:
    """Whether a class path was expected, and the value does not have that form."""
    return "Unexpected import path format" in message


def unknown_class(message: str) -> str | None:
    """The name of a class that was not found."""
    return _first(r"(?:Expected a dot import path string: |Expected a path but )(\S+)", message)


def import_failure(message: str) -> str | None:
    """The reason why a class could not be imported."""
    return _first(
        r"(No module named \S+|module '[^']+' has no attribute '[^']+'|Importing '[^']+' is not allowed)", message
    )


def callable_refusal(message: str) -> str | None:
    """The reason why a value was refused if a class or function is expected."""
    return _first(r"expects a function or a callable class: (.*?)\.* Got value", message)


def given_value(message: str) -> str:
    """The given value. If the text has several, the last one belongs to the argument itself."""
    value = _first(r"Got value: (\S+?)[.]?(?: Got value|$)", message)
    if value is None:
        value = (re.findall(r"Given value: (.*)", message) or [""])[-1]
    return re.sub(r"^NestedArg\(key='\w+', val='?(.*?)'?\)$", r"\1", value)


def literal_choices(message: str) -> str | None:
    """The choices of a `Literal`, with commas."""
    choices = _first(r"Expected a typing\.Literal\[(.*?)\]", message)
    return None if choices is None else choices.replace("'", "")


def expected_types(message: str) -> list[str]:
    """The names of the types that were expected, without None."""
    names = re.findall(r"Expected a <class '([^']+)'>", message)
    return [name for name in dict.fromkeys(names) if name != "NoneType"]


def allocation_failure(message: str) -> str | None:
    """The amount of memory that torch could not get, from the text of its error."""
    return _first(r"DefaultCPUAllocator: .*?(you tried to allocate \d+ bytes)", message)


def informative_lines(message: str) -> list[str]:
    """The lines of an error, without those about the types of a union that did not fit."""
    noise = ("Does not validate", "Subtypes:", "Errors:", "Expected a <class 'NoneType'>", "Given value",
             "Problem with given class_path")  # fmt: skip
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith(noise)] or lines[:1]


def _first(pattern: str, message: str) -> str | None:
    found = re.search(pattern, message, re.MULTILINE)
    return None if found is None else found[1]
