"""What was found of a cell's properties."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["holds", "BROKEN", "-"]


@dataclass(frozen=True)
class Row:
    """What was found of one property.

    Attributes:
        name: of the property.
        status: "holds", "BROKEN", or "-" for what was not checked or is only measured.
        remark: what shows that it is broken, why it was not checked, or what was measured.
        error: the size of the error, if it is broken and has one.
        case: the smallest case (B, T, H) that shows it, if it is broken.
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
    """What holds of a cell; as a string, a table."""

    cell: str
    rows: tuple[Row, ...]

    @property
    def broken(self) -> tuple[Row, ...]:
        """The properties that do not hold."""
        return tuple(row for row in self.rows if row.status == "BROKEN")

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{row.name:{width}}  {row.status:6}  {row}".rstrip() for row in self.rows]
        return "\n".join([self.cell, "", *lines])


class CellError(AssertionError):
    """A cell is not sound; the message says which properties are broken, `report` what else was found."""

    def __init__(self, report: CellReport) -> None:
        lines = [f"  {row.name}: {row}" for row in report.broken]
        super().__init__("\n".join([f"not sound: {report.cell}", *lines]))
        self.report = report
