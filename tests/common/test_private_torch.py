"""One test for each function of `seqlight.common.private_torch`, of the same name.

Each checks the function's assumption. A failure after an update of torch means that the new version
has changed what the function of the same name uses.
"""

import functools
import io
import pickletools
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import nn
from torch.autograd.gradcheck import GradcheckError
from torch.utils.tensorboard import SummaryWriter

from seqlight.common import private_torch
from tests.common.has_tests import functions_without_test


def test_each_function_has_a_test():
    assert not functions_without_test(private_torch, globals())


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
    assert {*values} == {*private_torch.REBUILD}
    for name, value in values.items():
        assert private_torch.REBUILD[name] in names_in_pickle(value), name


def test_new_dtypes():
    assert {torch.float8_e4m3fn, torch.uint16, torch.uint64} <= private_torch.NEW_DTYPES
    assert not {torch.float32, torch.int64, torch.bfloat16} & private_torch.NEW_DTYPES


def test_set_tensor_metadata():
    tensor = torch.tensor([1 + 2j])
    private_torch.set_tensor_metadata(tensor, {"conj": True})
    assert tensor.is_conj()
    assert tensor.item() == 1 - 2j


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore::DeprecationWarning", "ignore:TypedStorage:UserWarning")
def test_quantised():
    expected = torch.quantize_per_tensor(torch.tensor([0.1, -0.3]), 0.1, 3, torch.qint8)
    content = expected.int_repr().untyped_storage()
    found = private_torch.quantised(content, torch.qint8, 0, (2,), (1,), (torch.per_tensor_affine, 0.1, 3))
    assert torch.equal(found.int_repr(), expected.int_repr())
    assert torch.equal(found.dequantize(), expected.dequantize())


def test_is_parameter_registration():
    class Counter(torch.overrides.TorchFunctionMode):
        count = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            Counter.count += private_torch.is_parameter_registration(func)
            return func(*args, **(kwargs or {}))

    with Counter():
        nn.Sequential(nn.Linear(2, 3), nn.LSTM(2, 3), nn.BatchNorm1d(4))
    assert Counter.count == 2 + 4 + 2


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"])
@pytest.mark.parametrize("of_all", [False, True], ids=["own", "global"])
def test_has_hooks(kind, of_all):
    module = nn.Linear(2, 2)
    assert not private_torch.has_hooks(module)
    where = (nn.modules.module, f"register_module_{kind}") if of_all else (module, f"register_{kind}")
    handle = getattr(*where)(lambda *_: None)
    assert private_torch.has_hooks(module)
    handle.remove()
    assert not private_torch.has_hooks(module)


def test_own_members():
    module = nn.BatchNorm1d(3)
    module.child = nn.Linear(1, 1)
    parameters, buffers, children = private_torch.own_members(module)
    assert parameters == dict(module.named_parameters(recurse=False))
    assert buffers == dict(module.named_buffers(recurse=False))
    assert children == dict(module.named_children())


def test_shallow_copy():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    replica = private_torch.shallow_copy(module)
    assert replica[0].weight is module[0].weight
    replica[0].weight = nn.Parameter(torch.zeros(2, 2))
    replica[1].running_mean = torch.ones(2)
    assert module[0].weight.any()
    assert not module[1].running_mean.any()


def test_uncompiled():
    module = nn.Linear(2, 2)
    assert private_torch.uncompiled(module) is module
    assert private_torch.uncompiled(torch.compile(module, backend="eager")) is module


def test_separate_call():
    module = nn.Linear(2, 2)
    module.compile(backend="eager")
    replica = private_torch.shallow_copy(module)
    vars(replica).update(vars(module))
    private_torch.separate_call(replica)
    replica.register_forward_pre_hook(lambda *_: 1 / 0)
    replica.register_forward_hook(lambda *_: 1 / 0)
    assert not private_torch.has_hooks(module)
    with pytest.raises(ZeroDivisionError):  # the compiled call of the original has no such hook
        replica(torch.ones(2))


def test_module_internals():
    module = nn.Linear(2, 2)
    module.own = 5
    assert {"training", "_parameters", "_buffers", "_modules"} <= private_torch.module_internals()
    assert not {"own", "in_features", "weight"} & private_torch.module_internals()


def test_version_of():
    tensor = torch.zeros(2)
    before = private_torch.version_of(tensor)
    tensor.add_(0)
    assert private_torch.version_of(tensor) > before


class Seen(private_torch.TorchDispatchMode):
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
    assert not private_torch.is_mutable(seen.operations["add"])
    assert private_torch.is_mutable(seen.operations["mul_"])


def test_decomposition_of():
    with Seen() as seen:
        nn.functional.silu(torch.ones(2))
        torch.ones(2).add(1)
    decomposition = private_torch.decomposition_of(seen.operations["silu"])
    torch.testing.assert_close(decomposition(torch.ones(2)), torch.ones(2) * torch.ones(2).sigmoid())
    assert private_torch.decomposition_of(torch.ops.aten.mm.default) is None


def test_is_transformed():
    seen = []
    torch.func.vmap(lambda value: seen.append(private_torch.is_transformed()) or value)(torch.zeros(2))
    with torch.autograd.forward_ad.dual_level():
        seen.append(private_torch.is_transformed())
    assert seen == [True, True]
    assert not private_torch.is_transformed()


def test_is_batched():
    seen, leaf = [], torch.zeros(2, requires_grad=True)
    twice = 2 * leaf
    twice.register_hook(lambda grad: seen.append(private_torch.is_batched(grad)))
    torch.autograd.grad(twice, leaf, torch.ones(2), retain_graph=True)
    torch.autograd.grad(twice, leaf, torch.eye(2), is_grads_batched=True, retain_graph=True)
    torch.func.vmap(lambda grad: seen.append(private_torch.is_batched(grad)) or grad)(torch.eye(2))
    assert seen == [False, True, True]


def test_unobserved():
    packed = []
    hooks = torch.autograd.graph.saved_tensors_hooks(packed.append, lambda value: value)
    with Seen() as seen, hooks:
        with private_torch.unobserved():
            torch.zeros(2, requires_grad=True).exp()
        assert not seen.operations
        assert not packed
        torch.zeros(2, requires_grad=True).exp()
    assert seen.operations
    assert packed


def test_without_function_modes():
    with torch.device("meta"):
        with private_torch.without_function_modes():
            assert torch.zeros(2).is_cpu
        assert torch.zeros(2).is_meta


def test_is_exporting(without_type_checks):
    class Model(torch.nn.Module):
        def forward(self, inputs):
            return inputs + (10 if private_torch.is_exporting() else 1)

    model, inputs = Model(), torch.zeros(1)
    assert model(inputs) == 1
    assert torch.compile(model, backend="eager", fullgraph=True)(inputs) == 1
    for strict in (True, False):
        assert torch.export.export(model, (inputs,), strict=strict).module()(inputs) == 10


def test_without_compiler():
    @functools.partial(private_torch.without_compiler, reason="it is outside")
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
        assert private_torch.are_all_finite(tensors) == (value == 1.0)
    assert all(torch.equal(a, b) or value != value for a, b in zip(tensors, before, strict=True))
    assert private_torch.are_all_finite([torch.ones(1)])


def test_are_all_finite_in_two_threads():
    def answers(value):
        tensors = [torch.full((1000,), value)]
        return [private_torch.are_all_finite(tensors) for _ in range(3000)]

    with ThreadPoolExecutor(2) as pool:
        finite, infinite = pool.map(answers, (1.0, float("inf")))
    assert all(finite)
    assert not any(infinite)


def test_norms_of():
    tensors = [torch.full((2, 2), 1e30), torch.tensor([3.0, 4.0])]
    assert [norm.item() for norm in private_torch.norms_of(tensors, torch.float64)] == pytest.approx([2e30, 5.0])


def test_takes_found_inf():
    weight = torch.ones(2, requires_grad=True)
    for other in (torch.optim.Adam([weight], fused=False), torch.optim.RMSprop([weight])):
        assert not private_torch.takes_found_inf(other)
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        optimizer = kind([weight], lr=0.1, fused=True)
        assert private_torch.takes_found_inf(optimizer)
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
    assert private_torch.needs_values(caught.value)
    assert not private_torch.needs_values(RuntimeError("size mismatch"))


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
    numerical, analytical = private_torch.gradcheck_values(caught.value)
    assert analytical == pytest.approx(2 * numerical)
    assert private_torch.gradcheck_values(ValueError("other")) is None


def test_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert private_torch.is_out_of_memory(caught.value)
    assert private_torch.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not private_torch.is_out_of_memory(RuntimeError("size mismatch"))


def test_is_process_lost():
    # The texts of gloo and NCCL. tests/training/test_distributed.py and tests/checkpoints/test_kill_distributed.py
    # end real processes.
    for text in ("[gloo/transport/tcp/pair.cc:534] Connection closed by peer", "NCCL error", "Broken pipe"):
        assert private_torch.is_process_lost(RuntimeError(text))
    assert not private_torch.is_process_lost(RuntimeError("size mismatch"))


def test_allocation_failure():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert private_torch.allocation_failure(str(caught.value)) == f"you tried to allocate {2**62} bytes"


def test_add_summary(tmp_path):
    writer = SummaryWriter(tmp_path)
    for step in (1, 2):  # closed between them
        private_torch.add_summary(writer, Summary(value=[Summary.Value(tag="x", simple_value=step)]), step)
        writer.close()
    assert [(x.step, x.value) for x in EventAccumulator(str(tmp_path)).Reload().Scalars("x")] == [(1, 1.0), (2, 2.0)]
