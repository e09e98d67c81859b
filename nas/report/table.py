"""Tables that readers can sort: text as it is shown, and beside it the number to sort by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Interval(NamedTuple):
    """An interval as a cell draws it: in percent of the column's range where it begins, its length and its middle."""

    start: float
    length: float
    middle: float


class Cell(NamedTuple):
    """One cell.

    Attributes:
        text: what it says.
        value: what it is sorted by; None to sort by the text.
        interval: to draw beside the text.
        note: below the text, small.
        links: words and where they lead, behind the text.
    """

    text: str
    value: float | None = None
    interval: Interval | None = None
    note: str = ""
    links: Sequence[tuple[str, str]] = ()


class Row(NamedTuple):
    """The cells of a row; the first names it. marked: whether it stands out."""

    cells: Sequence[Cell]
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """A table. name: what it is, for screen readers; columns: their headings."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Row]

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers."""
        return [any(row.cells[place].value is not None for row in self.rows) for place in range(len(self.columns))]


def table_of(rows: Sequence[Mapping[str, str]]) -> Table | None:
    """The closing table of a run, its first row marked; None of no rows."""
    if not rows:
        return None
    return Table("Comparison", list(rows[0]), [Row(_cells(row), marked=not place) for place, row in enumerate(rows)])


def _cells(row: Mapping[str, str]) -> list[Cell]:
    name, *others = row.values()
    return [Cell(name), *(Cell(text, _figure(text)) for text in others)]


def _figure(text: str) -> float | None:
    """The number that a text is; None where it is none."""
    try:
        return float(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return None


def intervals(ends: Sequence[tuple[float, float, float]]) -> list[Interval | None]:
    """The intervals of a column, given as (low, middle, high), on one scale; None for one without a middle.

    One without ends, as of a single seed, is its middle alone.
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
