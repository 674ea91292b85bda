"""Properties of a cell as a module: copy, pickle, state_dict and export."""

import contextlib
import copy
import io
import logging
import pickle
import warnings
from typing import Any

import torch

from seqlight.checks.case import Case, PropertyError, Subject, expect_equal, initial_state, name_results
from seqlight.recurrent.unroll import unroll


def deepcopy_and_pickle(subject: Subject, case: Case) -> None:
    """Check that a cell that has run can be copied and pickled, and that its copies give the same results."""
    cell, inputs = subject.cell(case), subject.inputs(case)
    results = name_results(*unroll(cell, inputs))
    for name, make in {"copy.deepcopy": copy.deepcopy, "pickle": lambda cell: pickle.loads(pickle.dumps(cell))}.items():
        try:
            copied = make(cell)
        except Exception as error:
            raise PropertyError(f"{name}: {type(error).__name__}: {error}") from error
        expect_equal(name, name_results(*unroll(copied, inputs)), results)


def state_dict(subject: Subject, case: Case) -> None:
    """Check that another cell gives the same results after it has loaded the saved `state_dict`."""
    cell, inputs = subject.cell(case), subject.inputs(case)
    results = name_results(*unroll(cell, inputs))
    file = io.BytesIO()
    torch.save(cell.state_dict(), file)
    file.seek(0)
    other = subject.cell(case, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    expect_equal("another cell with this state_dict", name_results(*unroll(other, inputs)), results)


def export_of_a_step(subject: Subject, case: Case) -> None:
    """Check that torch.export can export a step for any batch size, with the same results for another size."""
    cell = subject.cell(case)
    any_batch = {0: torch.export.Dim.AUTO}
    # Clones, because export makes one argument of a tensor that is passed twice.
    state = tuple(part.clone() for part in initial_state(cell, case))
    shapes: Any = (any_batch, (any_batch,) * len(state))
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # torch logs and prints at length before it raises
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            arguments = (subject.inputs(case)[:, 0], state)
            exported = torch.export.export(cell, arguments, dynamic_shapes=shapes).module()
    finally:
        logging.disable(level)
    other = Case(case.batch_size + 2, 1, case.dtype)
    now = subject.inputs(other, seed=2)[:, 0]
    results = []
    for step in (exported, cell):
        _, state = step(now, initial_state(cell, other))
        results.append(name_results(*step(now, state)))
    expect_equal("exported, two steps of another batch size", *results)
