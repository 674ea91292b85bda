"""Check the properties that a cell must have, on small cases first."""

import itertools
import os
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from seqlight.cells.cell import RecurrentCell
from seqlight.checks import copies, gradients, kernel, measures, values
from seqlight.checks.case import Case, PropertyError, Subject
from seqlight.checks.cell_report import CellError, CellReport, Row
from seqlight.common.tracebacks import is_in
from seqlight.common.validation import check_at_least


def _cases(
    batch_sizes: Iterable[int], steps: Iterable[int], dtypes: Iterable[torch.dtype] = (torch.float64,)
) -> list[Case]:
    return [Case(*sizes) for sizes in itertools.product(batch_sizes, steps, dtypes)]


_SMALL_FIRST = _cases((1, 2, 3), (1, 2, 5))


@dataclass(frozen=True)
class _Property:
    """A property of a cell.

    Attributes:
        name: the property's name.
        function: raises if the property does not hold; returns a remark if it can't be checked, or is measured.
        cases: the cases to check, smallest first.
        needs: the properties that must hold before this one is checked.
    """

    name: str
    function: Callable[[Subject, Case], str | None]
    cases: list[Case] = field(default_factory=lambda: _SMALL_FIRST)
    needs: tuple[str, ...] = ("deterministic",)


PROPERTIES = (
    _Property("first step", values.first_step, [Case(dtype=torch.float32)], ()),
    _Property(
        "shapes and dtypes kept",
        values.shapes_and_dtypes,
        _cases((1, 2, 3), (1, 2), (torch.float32, torch.float64)),
        ("first step",),
    ),
    _Property("arguments unchanged", values.arguments_unchanged, needs=("shapes and dtypes kept",)),
    _Property("deterministic", values.deterministic, needs=("arguments unchanged",)),
    _Property("batched = one by one", values.batched_is_one_by_one, _cases((2, 3), (1, 2, 5))),
    _Property("whole = steps = chunks", values.whole_is_chunks, needs=("batched = one by one",)),
    _Property("gradients finite", gradients.finite_gradients),
    _Property("parameters used", gradients.parameters_used, [Case(3, 5)]),
    _Property("gradcheck", gradients.gradcheck, _cases((1, 2), (1, 3)), ("gradients finite",)),
    _Property(
        "padding never matters", values.padding_never_matters, needs=("batched = one by one", "gradients finite")
    ),
    _Property(
        "eager = kernel",
        kernel.eager_is_kernel,
        [Case(1, 1), Case(1, 2), Case(2, 2), Case(3, 5), Case(3, 5, torch.float32)],
        ("batched = one by one", "gradients finite"),
    ),
    _Property("deepcopy and pickle", copies.deepcopy_and_pickle, [Case(1, 1), Case(1, 2)]),
    _Property("state_dict", copies.state_dict, [Case(1, 1), Case(1, 2)]),
    _Property("export of a step", copies.export_of_a_step, [Case(2, 1)], ("whole = steps = chunks",)),
)
MEASURES = (
    _Property("gradient at lag", measures.gradient_by_lag, [Case(16, 101)], ("gradients finite",)),
    _Property(
        "time per step",
        measures.time_per_step,
        [Case(32, 10, torch.float32)],
        ("batched = one by one", "gradients finite"),
    ),
)


def check_cell(cell: Callable[[int], RecurrentCell], *, input_size: int = 3, measure: bool = False) -> CellReport:
    """Check that a cell has the properties that recurrent layers rely on: one line in a test.

    Each property is checked on small batches (B 1, 2, 3) of short sequences (T 1, 2, 5) in turn, so that a failure
    shows the smallest case. The state of torch's random generator does not change.

    Args:
        cell: makes a cell from its input size, as for `RecurrentStack`: `partial(LeakyCell, hidden_size=16)`.
        input_size: the number of input features F.
        measure: whether to measure how gradients decay with the time lag, and the time per step; takes 0.3 s more.

    Returns:
        The result for each property; printed, it is a table.

    Raises:
        CellError: if a property does not hold; it is an AssertionError.
        TypeError: if `cell` is not callable.
        ValueError: if `input_size` is below 1.
    """
    if not callable(cell) or isinstance(cell, nn.Module):
        raise TypeError(
            f"cell must make a cell from its input size, as partial(GRUCell, hidden_size=64) does; got {cell!r}"
        )
    check_at_least("input_size", input_size, 1)
    subject = Subject(cell, input_size)
    rows: dict[str, Row] = {}
    for prop in PROPERTIES + (MEASURES if measure else ()):
        missing = [rows[name] for name in prop.needs if rows[name].status != "holds"]
        rows[prop.name] = _skip(prop, missing[0]) if missing else _try(prop, subject)
    report = CellReport(_describe(subject), tuple(rows.values()))
    if report.broken:
        raise CellError(report)
    return report


def _skip(prop: _Property, missing: Row) -> Row:
    remark = f"not checked because this is broken: {missing.name}" if missing.status == "BROKEN" else missing.remark
    return Row(prop.name, "-", remark)


def _try(prop: _Property, subject: Subject) -> Row:
    """Check the property on its cases, up to the first one in which it does not hold."""
    for case in prop.cases:
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                remark = prop.function(subject, case)
        except PropertyError as broken:
            return Row(prop.name, "BROKEN", _one_line(str(broken)), broken.error, _where(case, subject))
        except Exception as error:
            remark = _one_line(f"{type(error).__name__}: {error}") + _place(error)
            return Row(prop.name, "BROKEN", remark, None, _where(case, subject))
        if remark is not None:
            return Row(prop.name, "-", remark)
    return Row(prop.name, "holds")


def _describe(subject: Subject) -> str:
    """The cell's name and sizes; only the name if the cell can't be made."""
    made = _made(subject)
    if made is None:
        return str(getattr(getattr(subject.make, "func", subject.make), "__name__", subject.make))
    num_parameters = sum(parameter.numel() for parameter in made.parameters())
    name = type(made).__name__
    return f"{name}(input_size={subject.input_size}, hidden_size={made.hidden_size}) of {num_parameters} parameters"


def _where(case: Case, subject: Subject) -> str:
    made = _made(subject)
    return case.describe(None if made is None else made.hidden_size)


def _made(subject: Subject) -> RecurrentCell | None:
    try:
        with torch.random.fork_rng(devices=[]):
            return subject.cell(Case())
    except Exception:  # the first property reports it
        return None


def _one_line(text: str) -> str:
    """The beginning of a message, without line breaks."""
    joined = " ".join(text.split())
    return joined if len(joined) <= 240 else joined[:237] + "..."


def _place(error: Exception) -> str:
    """The last line of the traceback outside torch and seqlight, which is the cell author's own."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not (frame.filename.startswith("<") or is_in(frame.filename, "torch") or is_in(frame.filename, "seqlight"))
    ]
    return f" ({os.path.basename(own[-1].filename)}:{own[-1].lineno})" if own else ""
