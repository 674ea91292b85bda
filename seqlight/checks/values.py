"""Properties of a cell's results: shapes, dtypes, and that they depend on a sequence's own past only."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from seqlight.cells.state import State, check_state
from seqlight.cells.step_check import check_step
from seqlight.checks.case import Case, PropertyError, Subject, expect_equal, initial_state, name_results
from seqlight.checks.gradients import gradients
from seqlight.common.private_torch import version_of
from seqlight.recurrent.layer import RecurrentLayer
from seqlight.recurrent.unroll import unroll


def first_step(subject: Subject, case: Case) -> None:
    """Check that the cell can be made and can take a step."""
    cell = subject.cell(case)
    cell(subject.inputs(case)[:, 0], initial_state(cell, case))


def shapes_and_dtypes(subject: Subject, case: Case) -> None:
    """Check that output and states are tensors (B, H) of the inputs' dtype, and the number of states is constant."""
    cell = subject.cell(case)
    state = initial_state(cell, case)
    check_state(cell, "initial_state()", state, case.batch_size)
    _expect_dtype("initial_state()", state, case)
    for step, now in enumerate(subject.inputs(case).unbind(1)):
        output, state = check_step(cell, cell(now, state), len(state), case.batch_size)
        _expect_dtype(f"step {step}", (output, *state), case)


def _expect_dtype(where: str, tensors: State, case: Case) -> None:
    if wrong := [tensor.dtype for tensor in tensors if tensor.dtype != case.dtype]:
        raise PropertyError(f"{where} gives {wrong[0]}, but inputs and parameters are {case.dtype}")


def arguments_unchanged(subject: Subject, case: Case) -> None:
    """Check that a step changes neither its inputs nor its state in place."""
    cell = subject.cell(case)
    state = initial_state(cell, case)
    with torch.no_grad():
        for step, now in enumerate(subject.inputs(case).unbind(1)):
            arguments = {"inputs": now} | {f"state {index}": part for index, part in enumerate(state)}
            before = {name: (tensor.clone(), version_of(tensor)) for name, tensor in arguments.items()}
            _, state = cell(now, state)
            for name, tensor in arguments.items():
                value, version = before[name]
                if version_of(tensor) != version or not torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=True):
                    error = (tensor - value).abs().max().item()
                    raise PropertyError(f"step {step} changes {name} in place", error)


def deterministic(subject: Subject, case: Case) -> None:
    """Check that a second run in evaluation mode gives exactly the same results with another seed of torch."""
    cell, inputs = subject.cell(case), subject.inputs(case)
    results = []
    for seed in (0, 1):
        torch.default_generator.manual_seed(seed)
        results.append(name_results(*unroll(cell, inputs)))
    expect_equal("second run", results[1], results[0], exact=True)


def batched_is_one_by_one(subject: Subject, case: Case) -> None:
    """Check that a batch gives the results of its sequences alone, and that in training none changes the others."""
    cell, inputs = subject.cell(case), subject.inputs(case)
    full = torch.full((case.batch_size,), case.num_steps)
    alone = _one_by_one(lambda sequence: unroll(cell, sequence), inputs, full)
    expect_equal("batched", name_results(*unroll(cell, inputs)), alone)

    # Dropout draws numbers for the whole batch, so compare two batches of one size and seed: only sequence 0 differs.
    cell.train()
    others = torch.cat((subject.inputs(case, seed=2)[:1], inputs[1:]))
    results = []
    for batch in (inputs, others):
        torch.default_generator.manual_seed(0)
        outputs, state = unroll(cell, batch)
        results.append(name_results(outputs[1:], tuple(part[1:] for part in state)))
    expect_equal("another sequence 0, in training mode, changes the others", results[1], results[0])


def whole_is_chunks(subject: Subject, case: Case) -> None:
    """Check that a whole run equals single steps and chunks that pass on the state, with other runs in between."""
    cell, inputs = subject.cell(case), subject.inputs(case)
    whole = name_results(*RecurrentLayer(cell, backend="eager")(inputs))
    between = subject.inputs(Case(case.batch_size + 1, 2, case.dtype), seed=2)
    for size in (1, 2):
        outputs, state = [], initial_state(cell, case)
        for chunk in inputs.split(size, 1):
            output, state = unroll(cell, chunk, state)
            outputs.append(output)
            unroll(cell, between)  # another run
            initial_state(cell, case)  # the beginning of another run
        where = "step by step" if size == 1 else f"in chunks of {size} steps"
        expect_equal(where, name_results(torch.cat(outputs, 1), state), whole)


def padding_never_matters(subject: Subject, case: Case) -> None:
    """Check that padded sequences give the values and gradients of sequences alone, in both directions."""
    cell, inputs = subject.cell(case), subject.inputs(case)
    padding = torch.arange(case.num_steps) >= case.ragged[:, None]
    for reverse in (False, True):
        layer = RecurrentLayer(cell, reverse=reverse, backend="eager")
        clean = inputs.clone().requires_grad_()
        alone = _one_by_one(layer, clean, case.ragged)
        alone |= gradients(cell, clean, alone)
        for filler in (0.0, torch.nan):
            padded = inputs.masked_fill(padding[:, :, None], filler).requires_grad_()
            results = name_results(*layer(padded, case.ragged))
            results |= gradients(cell, padded, results)
            direction = "backwards" if reverse else "forwards"
            where = f"{direction}, lengths {case.ragged.tolist()}, padded with {filler}"
            expect_equal(where, results, alone)


def _one_by_one(run: Callable[[Tensor], tuple[Tensor, State]], inputs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    """The results of a batch (B, T, F), computed from one sequence at a time, without padding."""
    outputs, states = [], []
    for row, length in enumerate(lengths.tolist()):
        output, state = run(inputs[row : row + 1, :length])
        outputs.append(functional.pad(output, (0, 0, 0, inputs.shape[1] - length)))
        states.append(state)
    return name_results(torch.cat(outputs), tuple(torch.cat(parts) for parts in zip(*states, strict=True)))
