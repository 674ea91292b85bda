"""The report on a cell's properties."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["holds", "BROKEN", "-"]


@dataclass(frozen=True)
class Row:
    """The result for one property.

    Attributes:
        name: the property's name.
        status: "holds", "BROKEN", or "-" if it was not checked or is only measured.
        remark: evidence that it is broken, the reason why it was not checked, or the measurement.
        error: the size of the error, if it is broken and has one.
        case: the smallest case (B, T, H) in which it is broken; empty if it is not.
    """

    name: str
    status: Status
    remark: str = ""
    error: float | None = None
    case: str = ""

    def __str__(self) -> str:
        if self.status != "BROKEN":
            return self.remark
        size = "" if self.error is None else f"error {self.error:.2g} "
        return f"{size}at {self.case}: {self.remark}"


@dataclass(frozen=True)
class CellReport:
    """The results for all properties of a cell; as a string, a table."""

    cell: str
    rows: tuple[Row, ...]

    @property
    def broken(self) -> tuple[Row, ...]:
        """The results for the properties that do not hold."""
        return tuple(row for row in self.rows if row.status == "BROKEN")

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{row.name:{width}}  {row.status:6}  {row}".rstrip() for row in self.rows]
        return "\n".join([self.cell, "", *lines])


class CellError(AssertionError):
    """A cell has broken properties; the message lists them, and `report` has the results for all properties."""

    def __init__(self, report: CellReport) -> None:
        lines = [f"  {row.name}: {row}" for row in report.broken]
        super().__init__("\n".join([f"broken properties of {report.cell}", *lines]))
        self.report = report
