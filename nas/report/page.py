"""`report.html`: the report of a run as a single file, which needs no network and no server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.report.alignment import draw_alignment
from nas.report.curves import Curves, draw_curves, draw_together, sentence
from nas.report.data import ReportData
from nas.report.diagram import Stack
from nas.report.embed import Charts, environment, write_page
from nas.report.explorer import SNAPSHOT_BYTES, explorer
from nas.report.healing import draw_healing
from nas.report.routing import two_decimals
from nas.report.table import Table, table_of

QUALITIES = {
    "recall": "Recall is the share of scored positions that the model predicts correctly: higher is better.",
    "accuracy": "Accuracy is the share of scored positions that the model predicts correctly: higher is better.",
    "exact_match": "Exact match is the share of sequences whose whole value the model predicts: higher is better.",
    "bits_per_byte": "Bits per byte is the cross-entropy of the text, in bits for each byte of it: lower is better.",
    "bits_per_token": "Bits per token is the mean cross-entropy of the next token, in bits: lower is better.",
}


@dataclass(frozen=True)
class RunPage:
    """Content of a run for the frame of all pages.

    Attributes:
        title: title of the page.
        origin: lines below the title: folder and start of each run.
        answer: paragraphs that answer what was found, each of sentences.
        notes: warnings.
        summary: label, value and note of each headline figure.
        charts: training curves.
        provenance: labels and values of what made each run, by its title.
    """

    title: str
    origin: list[str]
    answer: list[str]
    notes: list[str]
    summary: list[tuple[str, str, str]]
    charts: Charts
    provenance: list[tuple[str, Sequence[tuple[str, str]]]]


def write_report(path: Path, data: ReportData) -> None:
    """Write the report completely or not at all: after an error ``path`` is unchanged."""
    write_page(path, render(data))


def render(data: ReportData) -> str:
    """Return the report as HTML."""
    templates, runs = environment(), _runs(data)
    templates.filters["two_decimals"] = two_decimals
    return templates.get_template("page.html.j2").render(
        report=data,
        quality=QUALITIES.get(data.quality, f"{sentence(data.quality)} is the figure of merit."),
        tables=_tables(runs),
        stacks=_stacks(runs),
        page=RunPage(
            title=_title(data),
            origin=_origin(runs),
            answer=_answer(data, runs),
            notes=_page_notes(runs),
            summary=_summary(data),
            charts=_curves(runs),
            provenance=_provenance(runs),
        ),
        views=_views(data),
        labels=_labels(data),
    )


def _runs(data: ReportData) -> dict[str, ReportData]:
    """Return the runs of the page by their names on it: two runs are A and B, and a single run has no name."""
    return {"": data} if data.compared is None else {"A": data, "B": data.compared}


def _title(data: ReportData) -> str:
    """Return the title, which names both of two runs."""
    return data.title if data.compared is None else f"{data.title} (A) beside {data.compared.title} (B)"


def _label(name: str, run: ReportData) -> str:
    """Return the name of a run for headings: that of its folder, after A or B on a page of two runs."""
    return f"{name}: {run.folder or run.title}" if name else run.title


def _origin(runs: Mapping[str, ReportData]) -> list[str]:
    """Return folder and start of each run, with its title on a page of two runs."""
    return [f"{name}: {one.title}. {one.origin}" if name else one.origin for name, one in runs.items() if one.origin]


def _answer(data: ReportData, runs: Mapping[str, ReportData]) -> list[str]:
    """Return the first paragraphs of the page: of two runs what compares them, then the answer of each."""
    own = [" ".join([f"{name}:"] * bool(name) + [*one.answer]) for name, one in runs.items() if one.answer]
    return [" ".join(data.together), *own] if data.together else own


def _page_notes(runs: Mapping[str, ReportData]) -> list[str]:
    """Return the notes on all runs of the page."""
    return [f"{name}: {note}" if name else note for name, one in runs.items() for note in one.notes]


def _curves(runs: Mapping[str, ReportData]) -> Charts:
    """Return the curves: alignments, healings, then trainings, of which two runs are in the same charts."""
    each = [Curves(name, one.history, one.quality) for name, one in runs.items()]
    drawn = draw_curves(each[0].history, each[0].quality) if len(each) == 1 else draw_together(each)
    aligned = [chart for name, one in runs.items() if (chart := draw_alignment(one.alignment, name))]
    healed = [chart for name, one in runs.items() for chart in draw_healing(one.healing, name)]
    return Charts([*aligned, *healed, *drawn.charts])


def _tables(runs: Mapping[str, ReportData]) -> list[tuple[str, Table | None]]:
    """Return the heading and the table of each run's figures, then its further tables."""
    tables = [(name, table_of(one.comparison, one.ahead)) for name, one in runs.items()]
    for name, one in runs.items():
        further = (
            ("By position in the longest sequences", one.by_position),
            ("Architectures trained alone", one.candidates),
        )
        for heading, rows in further:
            if rows:
                tables.append((" ".join([f"{name}:"] * bool(name) + [heading]), table_of(rows, ahead=False)))
    return tables


def _stacks(runs: Mapping[str, ReportData]) -> list[Stack]:
    """Return the layers of the runs, then those of hand-designed hybrids, each once."""
    own = [one._replace(name=name or one.name) for name, run in runs.items() for one in run.stacks if one.searched]
    by_hand = {one.name: one for run in runs.values() for one in run.stacks if not one.searched}
    return [*own, *by_hand.values()]


def _views(data: ReportData) -> list[dict[str, Any]]:
    """Return the routing of the run and of the compared run; ``routing`` is None if no layer routes."""
    shown = _runs(data)
    room = SNAPSHOT_BYTES // len(shown)
    return [
        {
            "title": _label(name, one),
            "routing": one.routing and explorer(f"run{number}", one.routing, one.snapshots, one.routing_at, room),
        }
        for number, (name, one) in enumerate(shown.items())
    ]


def _provenance(runs: Mapping[str, ReportData]) -> list[tuple[str, Sequence[tuple[str, str]]]]:
    """Return what made each run of the page, by its name."""
    return [(_label(name, one), one.provenance) for name, one in runs.items() if one.provenance]


def _summary(data: ReportData) -> list[tuple[str, str, str]]:
    """Return label, value and note of the headline figures; the note is the part of the value in brackets."""
    parts = [(label, *value.partition(" (")) for label, value in data.summary]
    return [(label, value, bracket.lstrip() + note) for label, value, bracket, note in parts]


def _labels(data: ReportData) -> list[tuple[str, list[str]]]:
    """Return each label of two runs with its two values; empty without a compared run."""
    if data.compared is None:
        return []
    each = [dict(data.summary), dict(data.compared.summary)]
    return [(label, [one.get(label, "\N{EN DASH}") for one in each]) for label in each[0] | each[1]]
