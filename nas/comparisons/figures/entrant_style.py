"""How entrants look in every figure of a comparison."""

from typing import NamedTuple

from nas.comparisons.summary import Answer
from nas.report.style import COLOURS

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")


class Look(NamedTuple):
    """How an entrant is drawn, in every figure the same."""

    colour: str
    marker: str
    searched: bool

    @property
    def face(self) -> str:
        """What was searched is filled, baselines are hollow."""
        return self.colour if self.searched else "white"

    @property
    def width(self) -> float:
        return 2.4 if self.searched else 1.5


def looks(answer: Answer) -> list[Look]:
    """Of each row, in their order."""
    return [
        Look(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], bool(row["searched"]))
        for place, row in enumerate(answer.rows)
    ]


def quality_title(answer: Answer) -> str:
    """What the axis of quality says."""
    return f"{answer.measure} ({'higher' if answer.comparison.higher else 'lower'} is better)"
