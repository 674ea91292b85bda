"""One test for each function of `seqlight.common.private_api`, of the same name.

Each checks the function's assumption. If a test fails after an update of torch, Lightning or jsonargparse, the new
version has changed what the function of the same name uses.
"""

import functools
import inspect
import io
import pickletools
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import jsonargparse
import lightning
import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch.autograd.gradcheck import GradcheckError

from seqlight import SequenceClassifier, SumSign, SyntheticSequences
from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.length_accuracy import AccuracyByLength
from seqlight.callbacks.predictions import PredictionWriter
from seqlight.callbacks.progress_bar import TimedProgressBar
from seqlight.callbacks.run_description import RunDescription
from seqlight.callbacks.tensorboard_figures import TensorBoardFigures
from seqlight.checkpoints.resume import ResumeCheckpoint
from seqlight.common import private_api
from seqlight.data.loader import SequenceLoader

OPTIONS = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:The number of training batches")


def test_each_function_has_a_test():
    own = {
        name for name, value in vars(private_api).items() if getattr(value, "__module__", "") == private_api.__name__
    }
    missing = [name for name in own if f"test_{name}" not in globals() and not name.startswith("_")]
    assert not missing


def train(*callbacks, module=None, validates=True, **options):
    options = {"max_epochs": 1, "enable_checkpointing": False, "num_sanity_val_steps": 0, **OPTIONS, **options}
    trainer = pl.Trainer(callbacks=list(callbacks), **options)
    module = module or SequenceClassifier(input_size=1)
    data = SyntheticSequences(SumSign(), num_train=96, num_val=32)
    trainer.fit(module, data.train_dataloader(), data.val_dataloader() if validates else None)
    return trainer


class ModuleWithHook(SequenceClassifier):
    """A module whose own hook appends to a list."""

    calls: ClassVar[list[str]] = []

    def on_train_batch_end(self, *args):
        super().on_train_batch_end(*args)
        self.calls.append("hook")


# torch


def names_in_pickle(value):
    file = io.BytesIO()
    torch.save(value, file)
    with zipfile.ZipFile(file) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        opcodes = list(pickletools.genops(archive.read(name)))
    return {argument for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"}


def with_note(tensor):
    tensor.note = 1
    return tensor


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore::DeprecationWarning", "ignore:TypedStorage:UserWarning")
def test_rebuild():
    values = {
        "tensor": torch.zeros(2),
        "tensor of a newer type": torch.zeros(2, dtype=torch.uint16),
        "tensor with attributes": with_note(torch.zeros(2)),
        "parameter": nn.Parameter(torch.zeros(2)),
        "parameter with attributes": with_note(nn.Parameter(torch.zeros(2))),
        "sparse": torch.eye(2).to_sparse(),
        "quantised": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
        "meta": torch.zeros(2, device="meta"),
    }
    assert {*values} == {*private_api.REBUILD}
    for name, value in values.items():
        assert private_api.REBUILD[name] in names_in_pickle(value), name


def test_new_dtypes():
    assert {torch.float8_e4m3fn, torch.uint16, torch.uint64} <= private_api.NEW_DTYPES
    assert not {torch.float32, torch.int64, torch.bfloat16} & private_api.NEW_DTYPES


def test_set_tensor_metadata():
    tensor = torch.tensor([1 + 2j])
    private_api.set_tensor_metadata(tensor, {"conj": True})
    assert tensor.is_conj()
    assert tensor.item() == 1 - 2j


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore::DeprecationWarning", "ignore:TypedStorage:UserWarning")
def test_quantised():
    expected = torch.quantize_per_tensor(torch.tensor([0.1, -0.3]), 0.1, 3, torch.qint8)
    content = expected.int_repr().untyped_storage()
    found = private_api.quantised(content, torch.qint8, 0, (2,), (1,), (torch.per_tensor_affine, 0.1, 3))
    assert torch.equal(found.int_repr(), expected.int_repr())
    assert torch.equal(found.dequantize(), expected.dequantize())


def test_is_parameter_registration():
    class Counter(torch.overrides.TorchFunctionMode):
        count = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            Counter.count += private_api.is_parameter_registration(func)
            return func(*args, **(kwargs or {}))

    with Counter():
        nn.Sequential(nn.Linear(2, 3), nn.LSTM(2, 3), nn.BatchNorm1d(4))
    assert Counter.count == 2 + 4 + 2


def test_limit_imports():
    before = dict(jsonargparse._common.parsing_settings)
    restore = private_api.limit_imports(["collections"])
    try:
        assert jsonargparse._util.import_object("collections.Counter") is not None
        with pytest.raises(ValueError, match="is not allowed"):
            jsonargparse._util.import_object("decimal.Decimal")
    finally:
        restore()
    assert jsonargparse._common.parsing_settings == before


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"])
@pytest.mark.parametrize("of_all", [False, True], ids=["own", "global"])
def test_has_hooks(kind, of_all):
    module = nn.Linear(2, 2)
    assert not private_api.has_hooks(module)
    where = (nn.modules.module, f"register_module_{kind}") if of_all else (module, f"register_{kind}")
    handle = getattr(*where)(lambda *_: None)
    assert private_api.has_hooks(module)
    handle.remove()
    assert not private_api.has_hooks(module)


def test_own_members():
    module = nn.BatchNorm1d(3)
    module.child = nn.Linear(1, 1)
    parameters, buffers, children = private_api.own_members(module)
    assert parameters == dict(module.named_parameters(recurse=False))
    assert buffers == dict(module.named_buffers(recurse=False))
    assert children == dict(module.named_children())


def test_shallow_copy():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    replica = private_api.shallow_copy(module)
    assert replica[0].weight is module[0].weight
    replica[0].weight = nn.Parameter(torch.zeros(2, 2))
    replica[1].running_mean = torch.ones(2)
    assert module[0].weight.any()
    assert not module[1].running_mean.any()


def test_uncompiled():
    module = nn.Linear(2, 2)
    assert private_api.uncompiled(module) is module
    assert private_api.uncompiled(torch.compile(module, backend="eager")) is module


def test_separate_call():
    module = nn.Linear(2, 2)
    module.compile(backend="eager")
    replica = private_api.shallow_copy(module)
    vars(replica).update(vars(module))
    private_api.separate_call(replica)
    replica.register_forward_pre_hook(lambda *_: 1 / 0)
    replica.register_forward_hook(lambda *_: 1 / 0)
    assert not private_api.has_hooks(module)
    with pytest.raises(ZeroDivisionError):  # the compiled call of the original has no such hook
        replica(torch.ones(2))


def test_module_internals():
    module = nn.Linear(2, 2)
    module.own = 5
    assert {"training", "_parameters", "_buffers", "_modules"} <= private_api.module_internals()
    assert not {"own", "in_features", "weight"} & private_api.module_internals()


def test_version_of():
    tensor = torch.zeros(2)
    before = private_api.version_of(tensor)
    tensor.add_(0)
    assert private_api.version_of(tensor) > before


class Seen(private_api.TorchDispatchMode):
    """The operations that run in this context, by name."""

    def __init__(self):
        super().__init__()
        self.operations = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations[func.overloadpacket.__name__] = func
        return func(*args, **(kwargs or {}))


def test_is_mutable():
    with Seen() as seen:
        torch.zeros(2).add(1).mul_(2)
    assert not private_api.is_mutable(seen.operations["add"])
    assert private_api.is_mutable(seen.operations["mul_"])


def test_decomposition_of():
    with Seen() as seen:
        nn.functional.silu(torch.ones(2))
        torch.ones(2).add(1)
    decomposition = private_api.decomposition_of(seen.operations["silu"])
    torch.testing.assert_close(decomposition(torch.ones(2)), torch.ones(2) * torch.ones(2).sigmoid())
    assert private_api.decomposition_of(torch.ops.aten.mm.default) is None


def test_is_transformed():
    seen = []
    torch.func.vmap(lambda value: seen.append(private_api.is_transformed()) or value)(torch.zeros(2))
    with torch.autograd.forward_ad.dual_level():
        seen.append(private_api.is_transformed())
    assert seen == [True, True]
    assert not private_api.is_transformed()


def test_is_batched():
    seen, leaf = [], torch.zeros(2, requires_grad=True)
    twice = 2 * leaf
    twice.register_hook(lambda grad: seen.append(private_api.is_batched(grad)))
    torch.autograd.grad(twice, leaf, torch.ones(2), retain_graph=True)
    torch.autograd.grad(twice, leaf, torch.eye(2), is_grads_batched=True, retain_graph=True)
    torch.func.vmap(lambda grad: seen.append(private_api.is_batched(grad)) or grad)(torch.eye(2))
    assert seen == [False, True, True]


def test_unobserved():
    packed = []
    hooks = torch.autograd.graph.saved_tensors_hooks(packed.append, lambda value: value)
    with Seen() as seen, hooks:
        with private_api.unobserved():
            torch.zeros(2, requires_grad=True).exp()
        assert not seen.operations
        assert not packed
        torch.zeros(2, requires_grad=True).exp()
    assert seen.operations
    assert packed


def test_without_function_modes():
    with torch.device("meta"):
        with private_api.without_function_modes():
            assert torch.zeros(2).is_cpu
        assert torch.zeros(2).is_meta


def test_without_compiler():
    @functools.partial(private_api.without_compiler, reason="it is outside")
    def outside(value):
        return value if torch.compiler.is_compiling() else 2 * value

    def function(value):
        return outside(value + 1) + 1

    assert torch.compile(function, backend="eager")(torch.ones(())) == 5
    torch._dynamo.reset()
    with pytest.raises(RuntimeError, match="it is outside"):
        torch.compile(function, backend="eager", fullgraph=True)(torch.ones(()))
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf"), float("-inf")])
def test_are_all_finite(value, dtype):
    tensors = [torch.ones(3, dtype=dtype), torch.tensor([0.5, value], dtype=dtype)]
    before = [tensor.clone() for tensor in tensors]
    for _ in range(2):  # a non-finite value is not remembered
        assert private_api.are_all_finite(tensors) == (value == 1.0)
    assert all(torch.equal(a, b) or value != value for a, b in zip(tensors, before, strict=True))
    assert private_api.are_all_finite([torch.ones(1)])


def test_norms_of():
    tensors = [torch.full((2, 2), 1e30), torch.tensor([3.0, 4.0])]
    assert [norm.item() for norm in private_api.norms_of(tensors, torch.float64)] == pytest.approx([2e30, 5.0])


def test_takes_found_inf():
    weight = torch.ones(2, requires_grad=True)
    for other in (torch.optim.Adam([weight], fused=False), torch.optim.RMSprop([weight])):
        assert not private_api.takes_found_inf(other)
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        optimizer = kind([weight], lr=0.1, fused=True)
        assert private_api.takes_found_inf(optimizer)
        for found_inf in (0.0, 1.0):
            before, weight.grad = weight.detach().clone(), torch.ones(2)
            optimizer.found_inf = torch.tensor(found_inf)
            optimizer.step()
            assert torch.equal(weight, before) == (found_inf == 1)
        if kind is not torch.optim.SGD:
            assert optimizer.state[weight]["step"] == 1


def test_needs_values():
    with pytest.raises((NotImplementedError, RuntimeError)) as caught:
        torch.zeros(2, device="meta").sum().item()
    assert private_api.needs_values(caught.value)
    assert not private_api.needs_values(RuntimeError("size mismatch"))


class WrongGradient(torch.autograd.Function):
    """The square, with a gradient that is too large."""

    @staticmethod
    def forward(ctx, value):
        ctx.save_for_backward(value)
        return value**2

    @staticmethod
    def backward(ctx, gradient):
        return 4 * ctx.saved_tensors[0] * gradient


def test_gradcheck_values():
    with pytest.raises(GradcheckError) as caught:
        torch.autograd.gradcheck(WrongGradient.apply, torch.ones(1).double().requires_grad_(), fast_mode=True)
    numerical, analytical = private_api.gradcheck_values(caught.value)
    assert analytical == pytest.approx(2 * numerical)
    assert private_api.gradcheck_values(ValueError("other")) is None


def test_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert private_api.is_out_of_memory(caught.value)
    assert private_api.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not private_api.is_out_of_memory(RuntimeError("size mismatch"))


def test_is_process_lost():
    # The texts of gloo and NCCL. tests/training/test_distributed.py and tests/checkpoints/test_kill_distributed.py
    # end real processes.
    for text in ("[gloo/transport/tcp/pair.cc:534] Connection closed by peer", "NCCL error", "Broken pipe"):
        assert private_api.is_process_lost(RuntimeError(text))
    assert not private_api.is_process_lost(RuntimeError("size mismatch"))


# Lightning


@pytest.mark.parametrize(
    "kind",
    [
        *(BestCheckpoint, TimedProgressBar, ResumeCheckpoint, RunDescription),
        *(TensorBoardFigures, AccuracyByLength, PredictionWriter),
    ],
)
def test_NotInEveryStep(kind):  # noqa: N802
    hooks = [name for name in vars(private_api.NotInEveryStep) if name.startswith("on_")]
    assert len(hooks) == 5
    for name in hooks:
        assert getattr(kind, name) is None
        # A later Lightning could give one of these hooks something to do.
        base = next(base for base in kind.__mro__ if base.__module__.startswith("lightning"))
        assert getattr(base, name) is getattr(callbacks.Callback, name)


def test_NotInEveryStep_is_accepted_by_a_trainer():  # noqa: N802
    class Recorder(private_api.NotInEveryStep, pl.Callback):
        steps = 0

        def on_train_batch_end(self, *args):
            self.steps += 1

    recorder = Recorder()
    train(recorder)
    assert recorder.steps == 3


def test_FastHookName():  # noqa: N802
    names = []

    class Module(private_api.FastHookName, pl.LightningModule):
        def on_fit_start(self):
            names.append(self._current_fx_name)

        def training_step(self, batch, batch_index):
            names.append(self._current_fx_name)
            return self.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    module.weight = nn.Parameter(torch.ones(1))
    train(module=module, validates=False)
    assert set(names) == {"on_fit_start", "training_step"}
    assert "_current_fx_name" in inspect.getsource(pl.LightningModule)


def test_call_after():
    calls = ModuleWithHook.calls

    class Saver(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            self.end = private_api.call_after(pl_module, "on_train_batch_end", lambda: calls.append("after"))

        def on_train_batch_end(self, *args):
            calls.append("callback")

        def on_train_end(self, trainer, pl_module):
            self.end()

    module = ModuleWithHook(input_size=1)
    train(Saver(), module=module)
    assert calls == ["callback", "hook", "after"] * 3
    assert module.on_train_batch_end.__func__ is ModuleWithHook.on_train_batch_end


def test_is_validation_next():
    expected, seen = [], []

    class Recorder(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            seen.append(private_api.is_validation_next(trainer))
            expected.append(False)

        def on_validation_start(self, *args):
            expected[-1] = True

    train(Recorder(), max_epochs=2, val_check_interval=2)
    assert seen == expected == [False, True, False] * 2


def test_begin_next_epoch(tmp_path):
    epochs = []

    class Saver(pl.Callback):
        def on_train_epoch_end(self, trainer, *args):
            trainer.save_checkpoint(tmp_path / "end.ckpt")

    class Recorder(pl.Callback):
        def on_train_start(self, trainer, *args):
            private_api.begin_next_epoch(trainer)

        def on_train_epoch_start(self, trainer, *args):
            epochs.append(trainer.current_epoch)

    train(Saver(), max_epochs=-1, max_steps=3)
    trainer = pl.Trainer(callbacks=[Recorder()], max_epochs=-1, max_steps=9, enable_checkpointing=False, **OPTIONS)
    data = SyntheticSequences(SumSign(), num_train=96, num_val=32)
    trainer.fit(SequenceClassifier(input_size=1), data, ckpt_path=tmp_path / "end.ckpt", weights_only=True)
    assert epochs == [1, 2]
    assert trainer.global_step == 9


def test_completed_epochs(tmp_path):
    counts = {}

    class Saver(pl.Callback):
        def save(self, trainer, name):
            trainer.save_checkpoint(tmp_path / "state.ckpt")
            checkpoint = torch.load(tmp_path / "state.ckpt", weights_only=True)
            counts.setdefault(name, []).append(private_api.completed_epochs(checkpoint))

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 0:
                self.save(trainer, "within an epoch")

        def on_train_epoch_end(self, trainer, pl_module):
            self.save(trainer, "at its end")

        def on_train_end(self, trainer, pl_module):
            self.save(trainer, "at the end of training")

    train(Saver(), max_epochs=2)
    assert counts == {"within an epoch": [0, 1], "at its end": [1, 2], "at the end of training": [2]}


def test_lambda_schedule_state():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    state = private_api.lambda_schedule_state(3, 0.5)
    ignored = ("_get_lr_called_within_step", "_is_initial")
    assert {name: value for name, value in scheduler.state_dict().items() if name not in ignored} == state


def test_keep_file_name(tmp_path):
    for keeps in (True, False):
        folder = tmp_path / str(keeps)
        for _ in range(2):
            saver = callbacks.ModelCheckpoint(folder, "name")
            if keeps:
                private_api.keep_file_name(saver)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
                train(saver, enable_checkpointing=True)
        assert len(list(folder.iterdir())) == (1 if keeps else 2)


def test_show_in_progress_bar():
    shown = []

    class Recorder(callbacks.ProgressBar):
        def on_train_batch_end(self, trainer, pl_module, *args):
            private_api.show_in_progress_bar(trainer, {"own": 1.5})
            shown.append(self.get_metrics(trainer, pl_module)["own"])

    train(Recorder(), enable_progress_bar=True)
    assert shown == [1.5] * 3


def test_subcommand_parser(command_line_state, monkeypatch):
    monkeypatch.setattr("sys.argv", ["seqlight"])

    class Parsed(Exception):  # noqa: N818
        pass

    class Cli(LightningCLI):
        def parse_arguments(self, parser, args):
            private_api.subcommand_parser(self, "fit").set_defaults({"trainer.max_epochs": 7})
            super().parse_arguments(parser, args)
            raise Parsed(self.config.fit.trainer.max_epochs)

    with pytest.raises(Parsed, match="7"):
        Cli(SequenceClassifier, SyntheticSequences, args=["fit", "--data.task=seqlight.SumSign"])


def test_is_raised_in():
    folder = str(Path(lightning.__file__).parent)
    with pytest.raises(ValueError, match="val_check_interval") as caught:
        train(val_check_interval=1000)
    assert private_api.is_raised_in(caught.value, folder)
    with pytest.raises(ValueError, match="own") as caught:
        raise ValueError("own")
    assert not private_api.is_raised_in(caught.value, folder)


def test_is_raised_while_restoring(tmp_path):
    class Forgetful(pl.Callback):
        def state_dict(self):
            return {"count": 1}

        def load_state_dict(self, state_dict):
            raise KeyError("number")

    trainer = train(Forgetful())
    trainer.save_checkpoint(tmp_path / "good.ckpt")
    trainer = pl.Trainer(max_epochs=2, enable_checkpointing=False, callbacks=[Forgetful()], **OPTIONS)
    data = SyntheticSequences(SumSign(), num_train=96, num_val=32)
    with pytest.raises(KeyError) as caught:
        trainer.fit(SequenceClassifier(input_size=1), data, ckpt_path=tmp_path / "good.ckpt", weights_only=True)
    assert private_api.is_raised_while_restoring(caught.value)
    assert not private_api.is_raised_while_restoring(ValueError())


def test_EpochFromTrainer(monkeypatch):  # noqa: N802
    epochs = []
    monkeypatch.setattr(SequenceLoader, "set_epoch", lambda self, epoch: epochs.append((self.shuffle, epoch)))
    train(max_epochs=2)
    assert [epoch for shuffles, epoch in epochs if shuffles] == [0, 1]


# jsonargparse


class Part:
    """A class for a flag."""

    def __init__(self, size: int, depth: int = 1):
        self.size, self.depth = size, depth


class OtherPart(Part):
    """Another one."""


def parse(*arguments):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--part", type=Callable[[int], Part])
    parser.add_argument("--whole", type=Part)
    parser.add_argument("--count", type=int | None)
    parser.add_argument("--choice", type=Literal["one", "two"])
    return parser, parser.parse_args(list(arguments))


def message_of(*arguments):
    with pytest.raises(jsonargparse.ArgumentError) as caught:
        parse(*arguments)
    return str(caught.value)


NAME = f"{__name__}.OtherPart"


def test_bound_class():
    parser, config = parse(f"--part={NAME}", "--part.depth=3")
    bound = private_api.bound_class(parser.instantiate_classes(config).part)
    assert isinstance(bound, functools.partial)
    assert (bound.func, bound.args, bound.keywords) == (OtherPart, (), {"depth": 3})
    assert private_api.bound_class(5) == 5


def test_import_paths_noted():
    noted = []
    with private_api.import_paths_noted(noted.append):
        parser, config = parse(f"--part={NAME}")
        parser.instantiate_classes(config)
    assert NAME in noted
    del noted[:]
    parse(f"--part={NAME}")
    assert noted == []


def test_error_key():
    assert private_api.error_key(message_of("--count=many")) == "count"
    assert private_api.error_key("no key") == ""


def test_unaccepted_option():
    assert private_api.unaccepted_option(message_of(f"--whole={NAME}", "--whole.colour=3")) == "colour"


def test_is_not_a_configuration(tmp_path):
    (tmp_path / "text.yaml").write_text("just a text")
    assert private_api.is_not_a_configuration(message_of(f"--config={tmp_path / 'text.yaml'}"))
    assert not private_api.is_not_a_configuration(message_of("--count=many"))


def test_is_not_a_class_path():
    assert private_api.is_not_a_class_path(message_of("--whole=file.csv/x"))
    assert not private_api.is_not_a_class_path(message_of("--count=many"))


def test_unknown_class():
    assert private_api.unknown_class(message_of("--whole=NoSuchPart")) == "NoSuchPart"


def test_import_failure():
    assert private_api.import_failure(message_of("--whole=no_such_module.Part")) == "No module named 'no_such_module'"


def test_callable_refusal():
    refusal = private_api.callable_refusal(message_of("--part=builtins.len"))
    assert refusal is None or "len" in refusal


def test_given_value():
    assert private_api.given_value(message_of("--count=many")) == "many"
    assert private_api.given_value(message_of(f"--whole={NAME}", "--whole.size=large")) == "large"


def test_literal_choices():
    assert private_api.literal_choices(message_of("--choice=three")) == "one, two"


def test_expected_types():
    assert private_api.expected_types(message_of("--count=many")) == ["int"]


def test_allocation_failure():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert private_api.allocation_failure(str(caught.value)) == f"you tried to allocate {2**62} bytes"


def test_informative_lines():
    lines = private_api.informative_lines(message_of("--count=many"))
    assert lines
    assert not any(line.startswith(("Does not validate", "Subtypes")) for line in lines)


def test_classes_keep_own_defaults():
    class Base:
        pass

    class One(Base):
        def __init__(self, size: int = 1):
            pass

    class Two(Base):
        def __init__(self, size: int = 2):
            pass

    globals().update(One=One, Two=Two)
    for cls in (One, Two):
        cls.__qualname__ = cls.__name__
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=Base)
    words = [f"--part={__name__}.One", "--part.size=5", f"--part={__name__}.Two"]
    assert parser.parse_args(words).part.init_args.size == 5
    with private_api.classes_keep_own_defaults():
        assert parser.parse_args(words).part.init_args.size == 2
        assert parser.parse_args([*words, "--part.size=3", words[-1]]).part.init_args.size == 3


def test_has_writer(tmp_path):
    logger = pl.loggers.TensorBoardLogger(tmp_path)
    assert not private_api.has_writer(logger)
    logger.experiment.close()
    assert private_api.has_writer(logger)


def test_event_file_named_after(tmp_path):
    for number, seconds in enumerate((0, 5e9)):
        with private_api.event_file_named_after(seconds):
            torch.utils.tensorboard.SummaryWriter(str(tmp_path / str(number))).close()
        [path] = tmp_path.glob(f"{number}/*")
        named = int(path.name.split(".")[3])
        assert path.name.startswith("events.out.tfevents.")
        assert named == 5e9 if seconds else abs(named - time.time()) < 100
