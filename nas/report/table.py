"""Sortable tables: the text of each cell, and the number to sort by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nas.report.units import value_of


class Interval(NamedTuple):
    """An interval in a cell: start, length and middle, in percent of the column's range."""

    start: float
    length: float
    middle: float


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: text of the cell.
        value: number to sort by; None to sort by the text.
        interval: interval to draw below the text; None for none.
        note: small text below the text.
        links: text and target of each link after the text.
        ahead: whether the text is bold: its model is better than its control by more than the noise.
    """

    text: str
    value: float | None = None
    interval: Interval | None = None
    note: str = ""
    links: Sequence[tuple[str, str]] = ()
    ahead: bool = False


class Row(NamedTuple):
    """The cells of a row; the first is its name. marked: whether it is a subject of the page, with a background."""

    cells: Sequence[Cell]
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """A table. name: name for screen readers; columns: headings of the columns."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Row]

    @property
    def numeric(self) -> list[bool]:
        """Whether each column contains numbers."""
        return [any(row.cells[place].value is not None for row in self.rows) for place in range(len(self.columns))]


def table_of(rows: Sequence[Mapping[str, str]], ahead: bool) -> Table | None:
    """Return a table of a run with its first row marked; None without rows.

    Args:
        rows: texts of the cells by column, for each row.
        ahead: whether the first row is bold.
    """
    if not rows:
        return None
    shown = [Row(_cells(row, ahead and not place), marked=not place) for place, row in enumerate(rows)]
    return Table("Comparison", list(rows[0]), shown)


def _cells(row: Mapping[str, str], ahead: bool) -> list[Cell]:
    name, *others = row.values()
    return [Cell(name, ahead=ahead), *(Cell(text, value_of(text), ahead=ahead) for text in others)]


def intervals(ends: Sequence[tuple[float, float, float]]) -> list[Interval | None]:
    """Return the intervals of a column on a common scale.

    Args:
        ends: (low, middle, high) of each cell. Without finite ends, as for a single seed, the interval has length 0.

    Returns:
        None for each cell without a finite middle.
    """
    known = [value for triple in ends for value in triple if math.isfinite(value)]
    if not known:
        return [None] * len(ends)
    least, most = min(known), max(known)
    width = (most - least) or 1.0

    def place(value: float) -> float:
        return round(100 * (value - least) / width, 1)

    made: list[Interval | None] = []
    for low, middle, high in ends:
        if not math.isfinite(middle):
            made.append(None)
            continue
        start, end = (low, high) if math.isfinite(low) and math.isfinite(high) else (middle, middle)
        made.append(Interval(place(start), round(place(end) - place(start), 1), place(middle)))
    return made
