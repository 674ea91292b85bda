"""Properties of a cell as a module: copies of it, its state_dict, its graph."""

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
    """A cell that has been used can be copied and pickled, and its copies give what it gives."""
    cell, inputs = subject.cell(case), subject.inputs(case)
    results = name_results(*unroll(cell, inputs))
    for name, make in {"copy.deepcopy": copy.deepcopy, "pickle": lambda cell: pickle.loads(pickle.dumps(cell))}.items():
        try:
            copied = make(cell)
        except Exception as error:
            raise PropertyError(f"{name}: {type(error).__name__}: {error}") from error
        expect_equal(name, name_results(*unroll(copied, inputs)), results)


def state_dict(subject: Subject, case: Case) -> None:
    """What `state_dict` gives, saved and read again as data, makes another cell give the same."""
    cell, inputs = subject.cell(case), subject.inputs(case)
    results = name_results(*unroll(cell, inputs))
    file = io.BytesIO()
    torch.save(cell.state_dict(), file)
    file.seek(0)
    other = subject.cell(case, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    expect_equal("another cell with this state_dict", name_results(*unroll(other, inputs)), results)


def export_of_a_step(subject: Subject, case: Case) -> None:
    """torch.export takes a step, for any batch size, and gives the same numbers for another one."""
    cell = subject.cell(case)
    any_batch = {0: torch.export.Dim.AUTO}
    # Clones: one tensor given twice would be one argument of the graph.
    state = tuple(part.clone() for part in initial_state(cell, case))
    shapes: Any = (any_batch, (any_batch,) * len(state))
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # torch logs and prints at length what it then raises
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
