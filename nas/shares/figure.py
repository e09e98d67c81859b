"""The table and the charts of quality against cost: one model at several shares, beside other runs."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nas.report.charts import BYTES, Axis, Mark, scatter
from nas.report.curves import sentence
from nas.report.embed import Chart
from nas.report.units import MISSING, number, size
from nas.runs.titles import STAMP
from nas.shares.points import TRAINED, Point

MOVED = "thresholds moved"
"""Entry of the legend for the points of one model at several shares."""


def table(points: Sequence[Point], quality: str) -> list[dict[str, str]]:
    """Return the rows of the table, as text by column: share, cache size and quality.

    Args:
        points: points of the curve by share, then those as trained, the run itself first.
        quality: name of the figure of merit.
    """
    return [
        {
            "model": name,
            "kept": number(point.share),
            "cache": size(point.kv_bytes),
            quality.replace("_", " "): number(point.quality),
            "±": MISSING if point.margin is None else number(point.margin),
        }
        for name, point in zip(_names(points), points, strict=True)
    ]


def charts(points: Sequence[Point], quality: str) -> list[Chart]:
    """Return charts of quality against the kept share and against the cache size; see `table` for the arguments."""
    tokens = points[0].tokens
    title, note = sentence(quality), f"on sequences of {tokens:,} tokens, with 95 % intervals"
    share, cache = "kept share of the chunks", f"keys, values and states of {tokens:,} tokens"
    return [
        Chart.of(f"{quality}-by-share", f"{title} by {share}", note, _spec(points, quality, Axis(share), "share")),
        Chart.of(
            f"{quality}-by-cache",
            f"{title} by cache size",
            note,
            _spec(points, quality, Axis(cache, logarithmic=2, labels=BYTES), "kv_bytes"),
        ),
    ]


def _spec(points: Sequence[Point], quality: str, x: Axis, field: str) -> dict[str, object]:
    """Return a chart of points, with a line through those of one model at several shares."""
    names = _names(points)
    marks = [
        Mark(
            name,
            MOVED if point.allowed is not None else name,
            getattr(point, field),
            point.quality,
            *(
                (math.nan,) * 2
                if point.margin is None
                else (point.quality - point.margin, point.quality + point.margin)
            ),
        )
        for name, point in zip(names, points, strict=True)
    ]
    curve = sorted((getattr(point, field), point.quality) for point in points if point.allowed is not None)
    return scatter(marks, curve, x, Axis(sentence(quality)))


def _names(points: Sequence[Point]) -> list[str]:
    """Return a name for each point: the share, or the run without date and time; with them if two were the same."""
    runs = {point.run for point in points if point.run != points[0].run}
    short = {run: STAMP.sub("", Path(run).name) for run in runs}
    count = Counter(short.values())
    return [
        (f"share={point.allowed:g}" if point.allowed is not None else TRAINED)
        if point.run == points[0].run
        else (short[point.run] if count[short[point.run]] == 1 else Path(point.run).name)
        for point in points
    ]
