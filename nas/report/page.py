"""`report.html`: one file that explains a run to whoever opens it, with no network and no server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.report.curves import draw_curves, sentence
from nas.report.data import ReportData
from nas.report.embed import Charts, environment, write_page
from nas.report.explorer import SNAPSHOT_BYTES, explorer
from nas.report.routing import two_decimals
from nas.report.table import table_of

QUALITIES = {
    "recall": "Recall is the share of scored positions that the model predicts right: higher is better.",
    "accuracy": "Accuracy is the share of scored positions that the model predicts right: higher is better.",
    "exact_match": "Exact match is the share of sequences whose whole answer the model predicts: higher is better.",
    "bits_per_byte": "Bits per byte is what the model needs on average to tell the next byte: lower is better.",
}


@dataclass(frozen=True)
class RunPage:
    """What the frame of all pages shows of a run. summary: label, value and note of each headline figure."""

    title: str
    notes: list[str]
    summary: list[tuple[str, str, str]]
    charts: Charts


def write_report(path: Path, data: ReportData) -> None:
    """Write the page. Whatever fails, ``path`` holds either what it held before or the whole new page."""
    write_page(path, render(data))


def render(data: ReportData) -> str:
    """The page as text."""
    templates = environment()
    templates.filters["two_decimals"] = two_decimals
    return templates.get_template("page.html.j2").render(
        report=data,
        quality=QUALITIES.get(data.quality, f"{sentence(data.quality)} is the figure of merit."),
        table=table_of(data.comparison),
        page=RunPage(data.title, data.notes, _summary(data), draw_curves(data.history, data.quality)),
        views=_views(data),
        labels=_labels(data),
    )


def _views(data: ReportData) -> list[dict[str, Any]]:
    """The routing of the run, and that of another beside it; None in place of one that routes nothing."""
    shown = [data] if data.compared is None else [data, data.compared]
    room = SNAPSHOT_BYTES // len(shown)
    return [
        {
            "title": one.title,
            "routing": one.routing and explorer(f"run{number}", one.routing, one.snapshots, one.routing_at, room),
        }
        for number, one in enumerate(shown)
    ]


def _summary(data: ReportData) -> list[tuple[str, str, str]]:
    """The headline figures; what stands in brackets is a note."""
    parts = [(label, *value.partition(" (")) for label, value in data.summary]
    return [(label, value, bracket.lstrip() + note) for label, value, bracket, note in parts]


def _labels(data: ReportData) -> list[tuple[str, list[str]]]:
    """The headline figures of two runs side by side: each label, and its value for both."""
    if data.compared is None:
        return []
    each = [dict(data.summary), dict(data.compared.summary)]
    return [(label, [one.get(label, "\N{EN DASH}") for one in each]) for label in each[0] | each[1]]
