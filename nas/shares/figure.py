"""The table and the charts of quality against cost: one model at several shares, beside other runs."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nas.evaluation.noise import Estimate
from nas.report.charts import BYTES, Axis, Mark, scatter
from nas.report.curves import sentence
from nas.report.embed import CONFIG, Chart
from nas.report.units import MISSING, number, signed, size
from nas.runs.titles import STAMP
from nas.shares.points import TRAINED, Point

MOVED, RANDOM = "thresholds moved", "random routes"
"""Entries of the legend for the points of one model at several shares."""
LONGEST = 250
"""Largest width of the name of a run in the legend, in pixels."""


def table(points: Sequence[Point], quality: str) -> list[dict[str, str]]:
    """Return the rows of the table, as text by column.

    Args:
        points: the run as trained, other runs as trained, and the run at several shares.
        quality: name of the figure of merit.
    """
    return [
        {
            "model": name,
            "kept": number(point.share),
            "cache": size(point.kv_bytes),
            quality.replace("_", " "): _with_margin(number(point.quality), point.margin),
            "against trained": MISSING if point is points[0] else _difference(point.against(points[0])),
        }
        for name, point in zip(_names(points), points, strict=True)
    ]


def charts(points: Sequence[Point], quality: str) -> list[Chart]:
    """Return charts of quality against the kept share and against the cache size; see `table` for the arguments."""
    title, tokens = sentence(quality), f"{points[0].tokens:,} tokens"
    note = f"on sequences of {tokens}, with 95 % intervals of the difference to the model as trained"
    share = Axis("kept share of the chunks")
    cache = Axis(f"keys, values and states of {tokens}", logarithmic=2, labels=BYTES)
    return [
        Chart.of(f"{quality}-by-share", f"{title} by share", note, _spec(points, quality, share, "share")),
        Chart.of(f"{quality}-by-cache", f"{title} by cache size", note, _spec(points, quality, cache, "kv_bytes")),
    ]


def _spec(points: Sequence[Point], quality: str, x: Axis, field: str) -> dict[str, object]:
    """Return a chart of points, with lines through those of one model at several shares."""
    marks = []
    for name, point in zip(_names(points), points, strict=True):
        noise = math.nan if point is points[0] else point.against(points[0]).margin
        kind = name if point.allowed is None else RANDOM if point.random else MOVED
        marks.append(
            Mark(name, kind, getattr(point, field), point.quality, point.quality - noise, point.quality + noise)
        )
    lines = [sorted((mark.x, mark.y) for mark in marks if mark.kind == kind) for kind in (MOVED, RANDOM)]
    legend = CONFIG["legend"] | {"labelLimit": LONGEST}
    return scatter(marks, lines, x, Axis(sentence(quality))) | {"config": CONFIG | {"legend": legend}}


def _difference(found: Estimate) -> str:
    return _with_margin(signed(found.mean), found.margin)


def _with_margin(text: str, margin: float | None) -> str:
    return text if margin is None or math.isnan(margin) else f"{text} ± {number(margin)}"


def _names(points: Sequence[Point]) -> list[str]:
    """Return a name for each point: its share, or its run without date and time; with them if two were the same."""
    runs = {point.run for point in points[1:] if point.allowed is None}
    short = {run: STAMP.sub("", Path(run).name) for run in runs}
    count = Counter(short.values())
    names = [TRAINED]
    for point in points[1:]:
        if point.allowed is not None:
            names.append(f"{'random, ' * point.random}share={point.allowed:g}")
        else:
            names.append(short[point.run] if count[short[point.run]] == 1 else Path(point.run).name)
    return names
