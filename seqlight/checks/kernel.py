"""The property that a cell's kernel gives the same results as the loop."""

from torch import Tensor

from seqlight.cells.cell import RecurrentCell
from seqlight.checks.case import Case, Subject, expect_equal, name_results
from seqlight.checks.gradients import gradients
from seqlight.kernels.autograd import Kernel
from seqlight.recurrent.layer import RecurrentLayer


def kernel_layer(subject: Subject, cell: RecurrentCell) -> RecurrentLayer:
    """A layer that runs the cell's kernel. Layers of one subject share their kernels."""
    layer = RecurrentLayer(cell, backend="kernel")
    layer._kernels = subject.kernels
    return layer


def why_no_kernel(layer: RecurrentLayer, inputs: Tensor) -> str | None:
    """The reason why no kernel can serve; None if one can."""
    found = layer._kernels.find(layer.cell, inputs)
    return None if isinstance(found, Kernel) else found


def eager_is_kernel(subject: Subject, case: Case) -> str | None:
    """Check that the kernel gives the loop's values and gradients; return the reason if there is no kernel."""
    cell = subject.cell(case)
    layers = kernel_layer(subject, cell), RecurrentLayer(cell, backend="eager")
    if reason := why_no_kernel(layers[0], subject.inputs(case)):
        return f"no kernel: {reason}"
    for reverse in (False, True):
        for lengths in (None, case.ragged):
            results = []
            for layer in layers:
                layer.reverse = reverse
                inputs = subject.inputs(case).requires_grad_()
                values = name_results(*layer(inputs, lengths))
                results.append(values | gradients(cell, inputs, values))
            direction = "backwards" if reverse else "forwards"
            expect_equal(direction if lengths is None else f"{direction}, lengths {lengths.tolist()}", *results)
    cell.train()
    reason = why_no_kernel(layers[0], subject.inputs(case))
    return None if reason is None else f"no kernel in training: {reason}"
