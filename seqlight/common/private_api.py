"""Uses of torch, Lightning and jsonargparse that their authors do not promise to keep.

Every attribute with an underscore, every replaced method and every message that is parsed is here, in one function
each. Its docstring says what it relies on and why there is no public way. `tests/common/test_private_api.py` has one
test for each function: if a new version of a library breaks an assumption, the test with its name fails.

Nothing here imports Lightning or jsonargparse: cells and tasks import this module, and do not need them.
"""

import copy
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table

if TYPE_CHECKING:
    import lightning.pytorch as pl

# ------------------------------------------------------------------------------------------------ torch


# The names under which `torch.save` pickles the functions that rebuild tensors and parameters.
REBUILD_TENSOR, REBUILD_PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether hooks run when the module is called. torch can register hooks and remove them, but not list them."""
    return bool(module._forward_pre_hooks or module._forward_hooks)


def own_members(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The parameters, buffers and children of the module itself, by name.

    `named_parameters(recurse=False)` takes ten times as long, and this is part of each call of a kernel.
    """
    return module._parameters, module._buffers, module._modules


def shallow_copy(module: nn.Module) -> Any:
    """A module with the same tensors. Its tensors can be replaced while others use `module`.

    `copy.copy` alone shares the dictionaries of parameters, and `copy.deepcopy` copies the tensors.
    """
    replica = copy.copy(module)
    for kind in ("_parameters", "_buffers", "_modules"):
        vars(replica)[kind] = dict(vars(module)[kind])
    for name, child in module._modules.items():
        replica._modules[name] = None if child is None else shallow_copy(child)
    return replica


def version_of(tensor: Tensor) -> int:
    """A number that grows with each change in place; the one trace of a change that leaves the values equal."""
    return tensor._version


def is_mutable(operation: Any) -> bool:
    """Whether an operation that `TorchDispatchMode` hands over changes an argument in place."""
    return bool(operation._schema.is_mutable)


def decomposition_of(operation: Any) -> Any:
    """A function that computes an operation by simpler ones; None if torch has none.

    The public `torch.export.default_decompositions` gives those for export alone, and takes a second to make.
    """
    return decomposition_table.get(operation)


def is_functorch_active() -> bool:
    """Whether `torch.func` transforms the code that calls this. torch has no public question for that."""
    return bool(torch._C._are_functorch_transforms_active())


_FOUND, _ONE = torch.zeros(()), torch.ones(())  # made once: to make them takes longer than the check


def are_all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all values of CPU tensors are finite, in one pass over them.

    This is the function that `GradScaler` checks gradients with. It multiplies the tensors by 1 on the way.
    `torch.nn.utils.get_total_norm` takes four times as long.
    """
    torch._amp_foreach_non_finite_check_and_unscale_(list(tensors), _FOUND, _ONE)
    if not _FOUND.item():
        return True
    _FOUND.zero_()
    return False


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch could not get memory on the CPU. It raises a RuntimeError, told from others by its text."""
    return "DefaultCPUAllocator" in str(error)


def is_process_lost(error: Exception) -> bool:
    """Whether a collective operation failed since another process has ended. The backends say so in their texts."""
    return bool(re.search(r"gloo/transport|NCCL|Connection (closed|reset) by peer|Broken pipe", str(error)))


# ----------------------------------------------------------------------------------------------- Lightning


class NotInEveryStep:
    """Mixin for callbacks without hooks inside a training step; it comes first among the base classes.

    Lightning calls every hook that is callable, empty ones too, ten times a step for each callback.
    """

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None


class FastHookName:
    """Mixin for a LightningModule; it comes first among the base classes.

    Lightning sets `_current_fx_name` on the module fifty times a step. `nn.Module.__setattr__` looks through
    parameters and submodules each time, which takes a tenth of a small model's step.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute."""
        if name == "_current_fx_name":
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)


def call_after(module: "pl.LightningModule", hook: str, function: Callable[[], None]) -> Callable[[], None]:
    """Call a function after each call of a module's hook; returns a function that ends this.

    The hook is replaced on the object. A callback's hook of the same name runs before the module's, which may still
    change the state that a checkpoint is to hold.
    """
    original = getattr(module, hook)

    def replacement(*args: Any) -> None:
        original(*args)
        function()

    setattr(module, hook, replacement)
    return lambda: vars(module).pop(hook, None) and None


def is_validation_next(trainer: "pl.Trainer") -> bool:
    """Whether Lightning validates after the current batch. The rule has six cases, and no public name."""
    loop = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]


def begin_next_epoch(trainer: "pl.Trainer") -> None:
    """Begin with the epoch after the one that a checkpoint was saved at the end of.

    With `max_steps`, Lightning 2.6 would end that epoch a second time, and count it twice.
    """
    loop = trainer.fit_loop
    if loop.restarting:
        loop._restarting = loop.epoch_loop.restarting = False
        loop.reset_restart_stage()
        loop.epoch_progress.increment_completed()


def keep_file_name(checkpoint: Any) -> None:
    """Let a ModelCheckpoint overwrite a file of its name, as `enable_version_counter=False` does when it is made."""
    checkpoint._enable_version_counter = False


def show_in_progress_bar(trainer: "pl.Trainer", values: dict[str, float]) -> None:
    """Show values in the progress bar. `LightningModule.log` takes a quarter of a small model's step.

    `progress_bar_metrics` gives the dictionary itself, and not a copy.
    """
    trainer.progress_bar_metrics.update(values)


def rank_of(rank_zero_only: Any) -> int:
    """The rank of this process before there is a Trainer: an attribute that Lightning sets on its decorator."""
    return int(rank_zero_only.rank)


def subcommand_parser(cli: Any, subcommand: str) -> Any:
    """The parser of a LightningCLI's subcommand, whose defaults depend on the other arguments."""
    return cli._subcommand_parsers[subcommand]


def is_raised_in(error: Exception, folder: str) -> bool:
    """Whether an error was raised by a file in a folder. Lightning raises ValueError, TypeError and others."""
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(folder)


def is_deliberate(error: Exception, package: str) -> bool:
    """Whether the last frame of an error is a `raise` statement of a package: a check, not a mistake in its code."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    inside = os.path.dirname(str(sys.modules[package].__file__)) in last.filename
    return inside and (last.line or "").startswith("raise ")


def is_raised_while_restoring(error: Exception) -> bool:
    """Whether Lightning raised an error when it restored a checkpoint, from the name of its file for that."""
    return any(
        frame.filename.endswith("checkpoint_connector.py") for frame in traceback.extract_tb(error.__traceback__)
    )


# -------------------------------------------------------------------------------------------- jsonargparse


def bound_class(value: Any) -> Any:
    """`functools.partial(cls, **arguments)` for what jsonargparse makes of a flag that names a class to call later.

    It gives a partial of its own function, with the class as the last positional argument. Anything else is
    given back as it is.
    """
    if isinstance(value, functools.partial) and value.args and isinstance(value.args[-1], type):
        return functools.partial(value.args[-1], **value.keywords)
    return value


# The functions below read the text of a jsonargparse.ArgumentError, which has no attributes for what it says.


def error_key(message: str) -> str:
    """The full name of the argument that an error is about, as `data.task`; empty if it names none."""
    return ".".join(re.findall(r'Parser key "([^"]+)"', message))


def unaccepted_option(message: str) -> str | None:
    """The name of an argument that a class does not take."""
    return _first(r"Option '([^']+)' is not accepted", message)


def is_not_a_configuration(message: str) -> bool:
    """Whether a file given as configuration holds something else."""
    return "Unexpected config" in message


def is_not_a_class_path(message: str) -> bool:
    """Whether the name of a class was expected, and something of another form was given."""
    return "Unexpected import path format" in message


def unknown_class(message: str) -> str | None:
    """The name of a class that was not found."""
    return _first(r"(?:Expected a dot import path string: |Expected a path but )(\S+)", message)


def import_failure(message: str) -> str | None:
    """Why a class could not be imported."""
    return _first(
        r"(No module named \S+|module '[^']+' has no attribute '[^']+'|Importing '[^']+' is not allowed)", message
    )


def callable_refusal(message: str) -> str | None:
    """Why a value can't be used where a class or function is expected."""
    return _first(r"expects a function or a callable class: (.*?)\.* Got value", message)


def given_value(message: str) -> str:
    """The value that was given. Of nested values, the last one in the text is that of the argument itself."""
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
    """How much memory torch could not get, from the text of its error."""
    return _first(r"DefaultCPUAllocator: .*?(you tried to allocate \d+ bytes)", message)


def informative_lines(message: str) -> list[str]:
    """The lines of an error, without those that only say that a type of a union did not fit."""
    noise = ("Does not validate", "Subtypes:", "Errors:", "Expected a <class 'NoneType'>", "Given value",
             "Problem with given class_path")  # fmt: skip
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith(noise)] or lines[:1]


def _first(pattern: str, message: str) -> str | None:
    found = re.search(pattern, message, re.MULTILINE)
    return None if found is None else found[1]
