"""The property that a cell's kernel is what the loop is."""

import warnings

from seqlight.kernels.function import Kernel
from seqlight.properties.case import Case, Subject, expect_equal, name_results
from seqlight.properties.gradients import gradients
from seqlight.recurrent.kernel_backend import Kernels
from seqlight.recurrent.layer import Backend, RecurrentLayer


def why_no_kernel(subject: Subject, case: Case) -> str | None:
    """Why no kernel can serve the cell; None if one can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Kernels().find(subject.cell(case), subject.inputs(case))
    return None if isinstance(found, Kernel) else found


def eager_is_kernel(subject: Subject, case: Case) -> str | None:
    """The generated kernel gives the loop's values and gradients; says why if there is none."""
    if reason := why_no_kernel(subject, case):
        return f"no kernel: {reason}"
    cell = subject.cell(case)
    backends: tuple[Backend, Backend] = ("kernel", "eager")
    for reverse in (False, True):
        layers = [RecurrentLayer(cell, reverse=reverse, backend=backend) for backend in backends]
        for lengths in (None, case.ragged):
            results = []
            for layer in layers:
                inputs = subject.inputs(case).requires_grad_()
                values = name_results(*layer(inputs, lengths))
                results.append(values | gradients(cell, inputs, values))
            direction = "backwards" if reverse else "forwards"
            expect_equal(direction + ("" if lengths is None else f", lengths {lengths.tolist()}"), *results)
    return None
