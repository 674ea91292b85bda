"""Refusals: an `update` that no kernel can express."""

import pytest
import torch
from torch.nn import functional

from seqlight import GatedCell, RecurrentLayer, unroll
from seqlight.recurrent.kernel_backend import KernelWarning


def update_with(change):
    class Unusual(GatedCell):
        num_gates = 1

        def update(self, input_gates, hidden_gates, state):
            return (change(self, torch.tanh(input_gates + hidden_gates), state[0]),)

    return Unusual


REFUSED = {
    "units": (lambda cell, new, old: new.roll(1, -1), "mixes the units"),
    "product": (lambda cell, new, old: new @ torch.eye(5), "torch.mm"),
    "norm": (lambda cell, new, old: functional.layer_norm(new, (5,)), "torch"),
    "random": (lambda cell, new, old: new * torch.rand_like(new), "torch.rand"),
    "cumulative": (lambda cell, new, old: new.cumsum(-1), "torch.cumsum"),
    "softmax": (lambda cell, new, old: new.softmax(-1), "torch"),
    "detached-mean": (lambda cell, new, old: new.detach().mean(-1, keepdim=True).expand_as(new), "mixes the units"),
    "integers": (lambda cell, new, old: new * ~(old > 0).int(), "a conversion from torch.bool to torch.int32"),
    "bits": (lambda cell, new, old: new * ((old > 0) | 2), "which gives torch.int64"),
    "cast": (lambda cell, new, old: new * torch.zeros_like(old, dtype=torch.int64).copy_(old), "a conversion from"),
    "view": (lambda cell, new, old: new + old.view(torch.int32), "view"),
    "precision": (lambda cell, new, old: (new.double() * 0.1).float(), "a conversion from"),
    "affine": (lambda cell, new, old: new / (1 + cell.weight_hh.norm()), "reads the weights of the gates"),
    "numpy": (lambda cell, new, old: new * float(old.detach().numpy().max()), "gives different expressions"),
    "uneven": (lambda cell, new, old: torch.cat((new[:, :2], old[:, 2:]), -1), "treats units"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_operation_is_named_and_runs_in_the_loop(name):
    change, message = REFUSED[name]
    cell = update_with(change)(2, 5)
    inputs = torch.randn(3, 4, 2)
    layer = RecurrentLayer(cell)
    with torch.no_grad():
        torch.manual_seed(3)
        with pytest.warns(KernelWarning, match=f"Unusual runs without a kernel.*{message}"):
            outputs, _ = layer(inputs)
        torch.manual_seed(3)
        torch.testing.assert_close(outputs, unroll(cell, inputs)[0])
    with pytest.raises(ValueError, match=f"backend='kernel' can't serve Unusual: .*{message}"):
        RecurrentLayer(cell, backend="kernel")(inputs)


def test_in_place_update_is_refused():
    with pytest.raises(ValueError, match=r"can't serve Unusual: .*in-place"):
        RecurrentLayer(update_with(lambda cell, new, old: old.add_(new))(2, 5), backend="kernel")(torch.randn(3, 4, 2))
