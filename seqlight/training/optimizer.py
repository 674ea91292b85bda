"""The optimizer of a training: its class and arguments, and its groups of parameters."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqlight.common.private_jsonargparse import bound_class
from seqlight.common.private_torch import without_function_modes

# From parameters, or groups of them, and a learning rate.
MakeOptimizer = Callable[[Iterable[Any], float], Optimizer]


# Classes of torch.optim that can't train a classifier.
UNUSABLE = {
    Optimizer: "it is the base class",
    torch.optim.LBFGS: "it calls a closure several times in a step, and each step is checked with one loss",
    torch.optim.Muon: "it is for matrices only",
    torch.optim.SparseAdam: "it is for sparse gradients only",
}


def check_optimizer(make: Any) -> None:
    """Check a class of optimizers, or a `functools.partial` of it, without making an optimizer.

    To make the first one, torch imports its compiler, which takes a second: `check_step` does that before training.

    Raises:
        TypeError: if it is something else, or has unknown arguments.
        ValueError: if it can't train a classifier, or has a learning rate.
    """
    cls, arguments = _class_and_arguments(make)
    if cls in UNUSABLE:
        raise ValueError(f"optimizer must be a class that can train the model; {cls.__name__} can't: {UNUSABLE[cls]}")
    if "lr" in arguments:
        raise ValueError("optimizer must get its learning rate from `learning_rate`, not from lr")
    try:
        inspect.signature(cls).bind([], 0.01, **arguments)
    except TypeError as error:
        raise TypeError(
            f"optimizer must be made from parameters and a learning rate: {cls.__name__}: {error}"
        ) from None


def check_step(make: MakeOptimizer, device: torch.device) -> None:
    """Check that the optimizer can take a step of a matrix and a vector on a device.

    Raises:
        ValueError: if it can't, as for arguments that are out of range.
    """
    cls, arguments = _class_and_arguments(make)
    try:
        _take_step(cls, arguments, device)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        blamed = {name: value for name, value in arguments.items() if name in reason.split()} or arguments
        given = ", ".join(f"{name}={value!r}" for name, value in blamed.items())
        name = f"{cls.__name__}({given})" if given else cls.__name__
        raise ValueError(f"optimizer must be one that can train the model; {name} can't: {reason}") from error


def class_of(make: MakeOptimizer) -> type[Optimizer]:
    """The class of the optimizer."""
    cls: type[Optimizer] = _class_and_arguments(make)[0]
    return cls


def make_optimizer(make: MakeOptimizer, module: nn.Module, learning_rate: float, *, fused: bool) -> Optimizer:
    """An optimizer of a module's parameters.

    Only matrices have weight decay, and other tensors with at least two dimensions. So biases, the parameters of norms,
    and a cell's own vectors are in a second group without it. If there is no weight decay, there is one group.

    Args:
        make: a class, or a `functools.partial` of it.
        module: the module.
        learning_rate: the learning rate.
        fused: whether the fused implementation is used, if the class has one for these arguments and this device.
    """
    cls, arguments = _class_and_arguments(make)
    defaults = _defaults(cls)
    arguments = {name: _like(value, defaults.get(name)) for name, value in arguments.items()}
    parameters = list(module.parameters())
    if fused and _can_fuse(cls, arguments, parameters):
        arguments["fused"] = True
    decay = arguments.get("weight_decay", defaults.get("weight_decay", 0))
    groups: Any = _split(parameters) if decay else []
    if len(groups) == 2:
        groups = [{"params": groups[0]}, {"params": groups[1], "weight_decay": 0.0}]
    optimizer: Optimizer = cls(groups if len(groups) == 2 else parameters, learning_rate, **arguments)
    return optimizer


def moved_state(state: dict[str, Any], optimizer: Optimizer, module: nn.Module) -> dict[str, Any]:
    """The state of an optimizer of the same class, for one with other arguments.

    Args:
        state: the `state_dict` of the optimizer.
        optimizer: the other optimizer, from `make_optimizer`.
        module: the module of both.

    Returns:
        The `state_dict`, with the other optimizer's arguments.
    """
    groups = _split(list(module.parameters())) if len(state["param_groups"]) > 1 else [list(module.parameters())]
    names = [name for group in state["param_groups"] for name in group["params"]]
    by_parameter = dict(zip((id(each) for group in groups for each in group), names, strict=True))
    now = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = {place: state["state"].get(by_parameter[id(parameter)]) for place, parameter in enumerate(now)}
    return {
        "state": {place: each for place, each in kept.items() if each is not None},
        "param_groups": optimizer.state_dict()["param_groups"],
    }


def _split(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters with weight decay and those without; one list if there is only one kind."""
    kinds = [[each for each in parameters if (each.ndim >= 2) is decays] for decays in (True, False)]
    return [kind for kind in kinds if kind]


def _class_and_arguments(make: Any) -> tuple[Any, dict[str, Any]]:
    bound = bound_class(make)
    bound = bound if isinstance(bound, functools.partial) else functools.partial(bound) if callable(bound) else None
    if bound is None or bound.args or not (isinstance(bound.func, type) and issubclass(bound.func, Optimizer)):
        raise TypeError(
            "optimizer must be a class such as torch.optim.AdamW, or functools.partial(AdamW, weight_decay=0.01); "
            f"got {make!r}"
        )
    return bound.func, dict(bound.keywords)


def _defaults(cls: type[Optimizer]) -> dict[str, Any]:
    """The arguments besides parameters and learning rate, with their defaults."""
    return {each.name: each.default for each in list(inspect.signature(cls).parameters.values())[2:]}


def _like(value: Any, default: Any) -> Any:
    """A tuple if the default is one: in a checkpoint it is a list."""
    return tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value


def _can_fuse(cls: type[Optimizer], arguments: dict[str, Any], parameters: Sequence[Tensor]) -> bool:
    """Whether the class has a fused implementation, and the user has not chosen another one."""
    chosen = arguments.get("fused") is not None or any(map(arguments.get, ("foreach", "differentiable", "capturable")))
    if not cls.__module__.startswith("torch.optim.") or "fused" not in _defaults(cls) or chosen:
        return False
    if cls in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):  # on all devices
        return True
    try:
        _take_step(cls, {**arguments, "fused": True}, parameters[0].device)
    except Exception:
        return False
    return True


def _take_step(cls: Any, arguments: dict[str, Any], device: torch.device) -> None:
    with without_function_modes():
        parameters = [nn.Parameter(torch.zeros(size, device=device)) for size in ((2, 2), (2,))]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        defaults = _defaults(cls)
        arguments = {name: _like(value, defaults.get(name)) for name, value in arguments.items()}
        cls([{"params": [parameter]} for parameter in parameters], 0.01, **arguments).step()
