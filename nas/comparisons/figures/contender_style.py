"""The colours and markers of contenders, which are the same in every figure of a comparison."""

from typing import NamedTuple

from nas.comparisons.summary import Summary
from nas.report.style import COLOURS

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")


class Style(NamedTuple):
    """Colour and marker of a contender."""

    colour: str
    marker: str
    searched: bool

    @property
    def face(self) -> str:
        """Return the colour inside a marker: markers of searched contenders are filled, those of baselines hollow."""
        return self.colour if self.searched else "white"

    @property
    def width(self) -> float:
        """Return the width of a line in points; lines of searched contenders are wider."""
        return 2.4 if self.searched else 1.5


def styles(summary: Summary) -> list[Style]:
    """Return the style of each row of a summary, in their order."""
    return [
        Style(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], bool(row["searched"]))
        for place, row in enumerate(summary.rows)
    ]


def quality_title(summary: Summary) -> str:
    """Return the title of the quality axis."""
    return f"{summary.measure} ({'higher' if summary.comparison.higher else 'lower'} is better)"
