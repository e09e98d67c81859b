"""`report.html`: one file that explains a run to whoever opens it, with no network and no server."""

import statistics
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

from nas.report.curves import draw_curves, sentence
from nas.report.data import ReportData, RoutingMap
from nas.report.embed import environment, write_page
from nas.report.routing import LINEAR_HEIGHT, Row, mean_share, rows, uniform_heads
from nas.report.table import table_of

QUALITIES = {
    "recall": "Recall is the share of scored positions that the model predicts right: higher is better.",
    "accuracy": "Accuracy is the share of scored positions that the model predicts right: higher is better.",
    "exact_match": "Exact match is the share of sequences whose whole answer the model predicts: higher is better.",
    "bits_per_byte": "Bits per byte is what the model needs on average to tell the next byte: lower is better.",
}

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that show as nothing or change how others show: they are spelt out."""

JOINER = "\u200d"
"""The one of them that is kept: it stands inside emoji."""

BAR_HEIGHT = 78
"""Height of a softmax chunk's bar in a strip, in units; the strip is 100 high, its rest is for the planted mark."""


def write_report(path: Path, data: ReportData) -> None:
    """Write the page. Whatever fails, ``path`` holds either what it held before or the whole new page."""
    write_page(path, render(data))


def render(data: ReportData) -> str:
    """The page as text."""
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            report=data,
            quality=QUALITIES.get(data.quality, f"{sentence(data.quality)} is the figure of merit."),
            table=table_of(data.comparison),
            curves=draw_curves(data.history, data.quality),
            routing=None if data.routing is None else routing_values(data.routing),
        )
    )


def routing_values(routing: RoutingMap) -> dict[str, Any]:
    """What the template shows of a routing map: tokens once, routing as numbers."""
    given = rows(routing)
    starts = range(0, len(routing.tokens), routing.chunk_size)
    texts = [visible(token) for token in routing.tokens]
    chunks = [texts[start : start + routing.chunk_size] for start in starts]
    spaced = statistics.median(map(len, texts)) > 1 and not any(text != text.strip() for text in texts)
    return {
        "rows": given,
        "strips": [Strip.of(row) for row in given],
        "shown_first": max(range(len(given)), key=lambda index: given[index].share * (1 - given[index].share)),
        "share": mean_share(given),
        "uniform": uniform_heads(given),
        "planted": routing.planted,
        "bands": _bars(routing.planted or [], top=0, bottom=100),
        "marks": _bars(routing.planted or [], top=90, bottom=100),
        "chunk_size": routing.chunk_size,
        "token_count": len(texts),
        "chunks": chunks,
        "spaced": spaced,
        "column": _column([sum(len(text) + spaced for text in chunk) for chunk in chunks]),
        "percent": [{"probability": _percent(row.probability), "weight": _percent(row.weight)} for row in given],
    }


def visible(token: str) -> str:
    r"""The token with every character that would not show, or would reorder its neighbours, spelt as ``\xNN``."""
    return "".join(_spelt(character) for character in token)


def _spelt(character: str) -> str:
    if unicodedata.category(character) not in UNSEEN or character == JOINER:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _column(lengths: list[int]) -> int:
    """Least width of a chunk's box, in characters: what most chunks need on one line, within reason."""
    return min(32, max(16, round(statistics.median(lengths))))


def _percent(values: list[float]) -> list[int]:
    return [round(100 * value) for value in values]


class Strip(NamedTuple):
    """One routing head as SVG paths N wide and 100 high: bars of softmax chunks and of linear chunks."""

    softmax: str
    linear: str

    @classmethod
    def of(cls, row: Row) -> "Strip":
        width, left = (0.9, 0.05) if len(row.weight) <= 128 else (1, 0)
        bars: tuple[list[str], list[str]] = ([], [])
        for chunk, weight in enumerate(row.weight):
            height = round(BAR_HEIGHT * (LINEAR_HEIGHT + (1 - LINEAR_HEIGHT) * weight))
            bars[weight < 0.5].append(f"M{chunk + left} {BAR_HEIGHT - height}h{width}v{height}h-{width}z")
        return cls("".join(bars[0]), "".join(bars[1]))


def _bars(planted: list[bool], top: int, bottom: int) -> str:
    """Planted chunks as an SVG path on the scale of a `Strip`."""
    height = bottom - top
    return "".join(f"M{chunk} {top}h1v{height}h-1z" for chunk, is_planted in enumerate(planted) if is_planted)
