"""How entrants look in every figure of a comparison."""

from typing import Any, NamedTuple

from nas.comparisons.answer import Answer
from nas.report import svg
from nas.report.image import BLUE, ORANGE

INK, MUTED, RULE = "#222222", "#555555", "#dddddd"
COLOURS = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#222222", ORANGE, "#56B4E9", "#777777")
"""Told apart by colour-blind readers (Okabe and Ito 2008); grey in place of their yellow, which is faint on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
STYLE: dict[Any, Any] = svg.STYLE | {
    "svg.fonttype": "path",  # names stay clear of each other whatever fonts a reader has
    "svg.hashsalt": "comparison",
    "savefig.dpi": 200,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "grid.color": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.labelcolor": INK,
}


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
