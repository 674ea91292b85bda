"""Layers and models in `torch.compile` and `torch.export`."""

import copy
import inspect
import itertools
from functools import partial

import pytest
import torch

import seqlight
from seqlight import ElmanCell, GRUCell, LayerNormLSTMCell, LSTMCell, RecurrentCell, RecurrentStack, SequenceClassifier
from seqlight.kernels.autograd import Kernel
from tests.kernels.cells import Peephole

# The compiler looks at the gradients of tensors that are no leaves.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
RAGGED = torch.tensor([3, 1, 2])


@pytest.fixture(autouse=True)
def _new_compiler(without_type_checks):
    """Forget what earlier tests compiled."""
    yield
    torch._dynamo.reset()


def train(run, model, *arguments):
    """The results of a run, and the gradients of a loss of them."""
    model.zero_grad()
    outputs, final = run(*arguments)
    (outputs.square().sum() + sum(part.sin().sum() for state in final for part in state)).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return outputs.detach(), [tuple(part.detach() for part in state) for state in final], gradients


SHORT = [
    (LSTMCell, "auto", True),
    (LSTMCell, "torch", True),
    (LSTMCell, "kernel", False),
    (GRUCell, "torch", False),
    (Peephole, "auto", True),
    (Peephole, "eager", False),
    (LayerNormLSTMCell, "auto", True),
]
LIBRARY = [
    cell
    for cell in (getattr(seqlight, name) for name in seqlight.__all__)
    if isinstance(cell, type) and issubclass(cell, RecurrentCell) and not inspect.isabstract(cell)
]
ALL = [
    case
    for case in itertools.product(LIBRARY, ("auto", "eager", "torch", "kernel"), (False, True))
    if case not in SHORT
    and (case[1] != "torch" or case[0] in (ElmanCell, LSTMCell, GRUCell))
    and (case[1] != "kernel" or case[0] is not LayerNormLSTMCell)
]


@pytest.mark.parametrize(
    ("cell", "backend", "ragged"), [*SHORT, *(pytest.param(*case, marks=pytest.mark.long) for case in ALL)]
)
def test_compiled_stack_equals_the_stack(cell, backend, ragged):
    """In training and evaluation. The compiler runs its graphs as they are; a code generator would be torch's part."""
    stack = RecurrentStack(partial(cell, hidden_size=4), 2, bidirectional=backend == "auto", backend=backend)
    compiled = torch.compile(copy.deepcopy(stack), backend="aot_eager")
    inputs, lengths = torch.randn(3, 3, 2), RAGGED if ragged else None
    for mode in (True, False):
        stack.train(mode)
        compiled.train(mode)
        found = train(compiled, compiled._orig_mod, inputs, lengths)
        torch.testing.assert_close(found, train(stack, stack, inputs, lengths))
    if backend in ("auto", "kernel") and cell is not LayerNormLSTMCell:
        made = compiled._orig_mod.layers[0]._kernels._made.values()
        assert [type(kernel) for kernel in made] == [Kernel, Kernel]  # in training and in evaluation


@pytest.mark.filterwarnings("ignore")  # of torch's code generator
@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_default_model_compiles(compiler):
    model = SequenceClassifier(input_size=1)
    compiled, inputs = torch.compile(copy.deepcopy(model), backend=compiler), torch.randn(3, 3, 1)
    for lengths in (None, RAGGED):
        torch.testing.assert_close(compiled(inputs, lengths), model(inputs, lengths))
    model(inputs).sum().backward()
    compiled(inputs).sum().backward()
    for found, expected in zip(compiled.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


def test_whole_graph_needs_the_loop():
    inputs = torch.randn(3, 3, 2)
    for backend in ("eager", "auto"):
        stack = RecurrentStack(GRUCell, 2, backend=backend)
        compiled = torch.compile(stack, backend="eager", fullgraph=True)
        if backend == "eager":
            torch.testing.assert_close(compiled(inputs), stack(inputs))
        else:
            with pytest.raises(RuntimeError, match='recurrent layer with `backend="eager"` only'):
                compiled(inputs)


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.long)])
def test_exported_stack_equals_the_stack(strict):
    stack, inputs = RecurrentStack(Peephole, 2), torch.randn(3, 3, 2)
    exported = torch.export.export(stack, (inputs,), strict=strict).module()
    torch.testing.assert_close(exported(inputs), stack(inputs))
