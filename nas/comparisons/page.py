"""`report.html` of a comparison: its tables, quality against cost, by length and by position, and its tests."""

import glob
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

from nas.comparisons.figures.quality_against_cost import COSTS, corners, known
from nas.comparisons.figures.quality_curves import Curve, length_curves, position_curves
from nas.comparisons.jobs import TRAININGS
from nas.comparisons.results import RESULTS, Comparison, Entrant
from nas.comparisons.summary import Answer, value
from nas.comparisons.summary import Row as Figures
from nas.comparisons.table import cost_columns, sentences
from nas.errors import UserError
from nas.report.charts import Axis, Band, Mark, bands, scatter
from nas.report.diagram import Block, Stack, measured_shares
from nas.report.embed import Chart, Charts, environment, write_page
from nas.report.table import Cell, Row, Table, intervals
from nas.report.units import MISSING, number, p_value, signed
from nas.runs.folder import REPORT, Run, read_json
from nas.runs.metrics import is_finished, read_metrics
from nas.search_spaces.architecture import Architecture

BYTES = (
    " : ".join(
        f"datum.value >= {2**power} ? format(datum.value / {2**power}, '.3~g') + '{unit}'"
        for power, unit in ((30, " GiB"), (20, " MiB"), (10, " KiB"))
    )
    + " : datum.value + ' B'"
)
"""Expression of Vega for the words at a tick."""


@dataclass(frozen=True)
class ComparisonPage:
    """What the template shows. summary: label, value and note of each headline figure."""

    title: str
    about: str
    notes: list[str]
    summary: list[tuple[str, str, str]]
    tables: list[Table]
    against_cost: list[Chart]
    curves: list[Chart]
    stacks: list[Stack]
    tests: Table | None
    sentences: list[str]

    @property
    def charts(self) -> Charts:
        """All of them, in their order."""
        return Charts([*self.against_cost, *self.curves])


def write(folder: Path, output: Path) -> None:
    """Write the page of a comparison; of one that is not finished, what has been trained so far.

    Links lead from ``output`` to the reports of the trainings. UserError where the folder is not of a comparison, or is
    damaged.
    """
    described = Run(folder).described()
    if described["command"] != "compare":
        raise UserError(f"{folder} is of nas.{described['command']}, not of nas.compare.")
    if not (folder / RESULTS).exists():
        write_page(output, _render(_unfinished(folder, output.parent)))
        return
    try:
        comparison = Comparison.from_dict(read_json(folder / RESULTS))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{folder / RESULTS} is damaged: {error} It is written again by python -m nas.compare resume={folder}"
        ) from error
    write_page(output, page(Answer.of(comparison), folder, output.parent))


def page(answer: Answer, folder: Path, at: Path) -> str:
    """The page of a finished comparison as text.

    Args:
        answer: what it came to.
        folder: of the comparison.
        at: folder in which the page will stand.
    """
    comparison = answer.comparison
    runs = {entrant.name: _runs(entrant, folder) for entrant in comparison.entrants}
    links = {name: _links(trained, at) for name, trained in runs.items()}
    tests = _tests(answer)
    made = ComparisonPage(
        title=folder.resolve().name,
        about=f"Trained on {comparison.task}, {comparison.length:,} tokens a sequence; {answer.caption}",
        notes=answer.notes,
        summary=_summary(answer),
        tables=[_quality(answer, links), *_costs(answer)],
        against_cost=[chart for cost in COSTS for chart in _against_cost(answer, cost, links)],
        curves=_curves(answer),
        stacks=[_stack(entrant, runs[entrant.name].values()) for entrant in comparison.entrants],
        tests=tests if tests.rows else None,
        sentences=sentences(answer, answer.pairs),
    )
    return _render(made)


def _render(made: ComparisonPage) -> str:
    return environment().get_template("compared.html.j2").render(page=made)


def _runs(entrant: Entrant, folder: Path) -> dict[int, Path]:
    """By seed the folder of each training that is still there with its report."""
    runs = {}
    for seed in entrant.seeds:
        name = glob.escape(f"{entrant.name}_lr{entrant.learning_rate:g}_seed{seed}")
        if reports := sorted((folder / TRAININGS).glob(f"????-??-??_??-??-??_{name}/{REPORT}")):
            runs[seed] = reports[-1].parent
    return runs


def _links(runs: Mapping[int, Path], at: Path) -> list[tuple[str, str]]:
    """From the page to the report of each training, with its seed."""
    return [(f"seed {seed}", _relative(run / REPORT, at)) for seed, run in runs.items()]


def _relative(report: Path, at: Path) -> str:
    return quote(os.path.relpath(report.resolve(), at.resolve()))


def _summary(answer: Answer) -> list[tuple[str, str, str]]:
    """The best quality at the shortest and at the longest length."""
    factors, sign = answer.comparison.factors, 1 if answer.comparison.higher else -1
    shown = []
    for factor in sorted({min(factors), max(factors)}):
        column = f"quality_{factor}x"
        best = max(answer.rows, key=lambda row, column=column: sign * value(row, column))  # type: ignore[misc]
        label = f"best {answer.measure}" + ("" if factor == 1 else f" at {factor}x length")
        shown.append((label, number(value(best, column)), str(best["model"])))
    seeds = answer.comparison.entrants[0].seeds
    return [*shown, ("models", str(len(answer.rows)), f"{len(seeds)} seed{'s' * (len(seeds) > 1)} each")]


def _quality(answer: Answer, links: dict[str, list[tuple[str, str]]]) -> Table:
    """Quality at every length with its interval, which is drawn as well; the reports of the trainings at the end."""
    factors = answer.comparison.factors
    drawn = {
        factor: intervals(
            [
                (value(row, f"low_{factor}x"), value(row, f"quality_{factor}x"), value(row, f"high_{factor}x"))
                for row in answer.rows
            ]
        )
        for factor in factors
    }
    columns = ["model", "softmax share"]
    columns += [answer.measure if factor == 1 else f"at {factor}x length" for factor in factors]
    rows = []
    for place, row in enumerate(answer.rows):
        cells = [Cell(str(row["model"])), _figure(row, f"share_{min(factors)}x", number)]
        for factor in factors:
            low, high = value(row, f"low_{factor}x"), value(row, f"high_{factor}x")
            ends = "" if math.isnan(low) else f" [{number(low)}, {number(high)}]"
            mean = value(row, f"quality_{factor}x")
            note = row[f"verdict_{factor}x"] or ""
            if lost := row[f"diverged_{factor}x"]:
                note = f"{note}; {lost} diverged".removeprefix("; ")
            cells.append(Cell(f"{number(mean)}{ends}", mean, drawn[factor][place], str(note)))
        rows.append(Row([*cells, Cell("", links=links[str(row["model"])])], marked=bool(row["searched"])))
    return Table("Quality", [*columns, "reports"], rows)


def _costs(answer: Answer) -> list[Table]:
    return [
        Table(
            title,
            ["model", *columns],
            [
                Row(
                    [Cell(str(row["model"])), *(_figure(row, column, show) for column, show in columns.values())],
                    marked=bool(row["searched"]),
                )
                for row in answer.rows
            ],
        )
        for title, columns in cost_columns(answer).items()
    ]


def _figure(row: Figures, column: str, show: Callable[[float], str]) -> Cell:
    found = value(row, column)
    return Cell(show(found), found) if math.isfinite(found) else Cell(MISSING)


def _against_cost(answer: Answer, cost: str, links: dict[str, list[tuple[str, str]]]) -> list[Chart]:
    """A chart at the shortest length that was measured and one at the longest, of entrants whose cost is known."""
    given, factors = COSTS[cost], answer.comparison.factors
    made = []
    for factor in sorted({min(factors), max(factors)}):
        rows = [row for row, _ in known(answer, given, factor)]
        if not rows:
            continue
        column = given.column(answer, factor)
        marks = [
            Mark(
                name := str(row["model"]),
                name,
                value(row, column),
                value(row, f"quality_{factor}x"),
                value(row, f"low_{factor}x"),
                value(row, f"high_{factor}x"),
                href=links[name][0][1] if links[name] else None,
            )
            for row in rows
        ]
        most = max(mark.x for mark in marks)
        line = corners([(mark.x, mark.y) for mark in marks], answer.comparison.higher, most)
        x = Axis(given.title(answer), logarithmic=2, labels=BYTES) if given.logarithmic else Axis(given.title(answer))
        times = "" if factor == 1 else f"{factor}x "
        told = f"at {times}the training length, {answer.comparison.length * factor:,} tokens"
        title = f"{answer.measure.capitalize()} against {given.title(answer)}"
        made.append(Chart.of(f"{cost}-{factor}", title, told, scatter(marks, line, x, Axis(answer.measure))))
    return made


def _curves(answer: Answer) -> list[Chart]:
    comparison = answer.comparison
    lengths = [comparison.length * factor for factor in comparison.factors]
    made = []
    if curves := length_curves(answer):
        x = Axis("context length in tokens", ticks=lengths, logarithmic=2, format=",d")
        spec = bands(
            [_band(curve) for curve in curves], x, Axis(answer.measure), (comparison.length, "training length")
        )
        told = f"over {len(lengths)} lengths, with 95 % intervals"
        made.append(Chart.of("length", f"{answer.measure.capitalize()} by context length", told, spec))
    if curves := position_curves(answer):
        x = Axis("position in the sequence, in tokens", format=",d")
        spec = bands(
            [_band(curve) for curve in curves], x, Axis("bits per byte"), (comparison.length, "training length")
        )
        told = "of the longest sequences that were measured, with 95 % intervals: lower is better"
        made.append(Chart.of("position", "Bits per byte by position", told, spec))
    return made


def _band(curve: Curve) -> Band:
    return Band(curve.name, list(zip(curve.x, curve.y, curve.low, curve.high, strict=True)))


def _stack(entrant: Entrant, runs: Iterable[Path]) -> Stack:
    """The layers of an entrant; the share of softmax is the mean over its trainings."""
    shares = [measured_shares(run) for run in runs]
    blocks = []
    for index, layer in enumerate(Architecture.from_dict(entrant.architecture).layers):
        known = [of[index] for of in shares if index in of]
        blocks.append(Block.of(layer, fmean(known) if known else None))
    return Stack(entrant.name, entrant.searched, tuple(blocks))


def _tests(answer: Answer) -> Table:
    columns = ["model", "against", "length", "difference", "95 % interval", "p", "p (Holm)", "verdict"]
    drawn = intervals([(pair.interval.low, pair.difference, pair.interval.high) for pair in answer.pairs])
    rows = []
    for pair, interval in zip(answer.pairs, drawn, strict=True):
        low, high = pair.interval
        ends = MISSING if math.isnan(low) else f"{signed(low)} to {signed(high)}"
        cells = [
            Cell(pair.entrant),
            Cell(pair.baseline),
            Cell(f"{pair.factor}x", float(pair.factor)),
            Cell(signed(pair.difference), pair.difference),
            Cell(ends, None if math.isnan(low) else low, interval),
            *(Cell(p_value(p), p) for p in (pair.p, pair.p_holm)),
            Cell(pair.verdict),
        ]
        rows.append(Row(cells))
    return Table("Pairwise tests", columns, rows)


def _unfinished(folder: Path, at: Path) -> ComparisonPage:
    """What has been trained so far."""
    rows = []
    done = 0
    measure = "quality"
    for run in sorted((folder / TRAININGS).glob("*/")):
        finished, quality = is_finished(run), math.nan
        done += finished
        if finished:
            with suppress(ValueError):  # damaged: no figures to show
                metrics = read_metrics(run)
                quality, measure = metrics.learnt.at_training_length.quality, metrics.quality.replace("_", " ")
        report = run / REPORT
        links = [("report", _relative(report, at))] if report.exists() else []
        figure = Cell(MISSING) if math.isnan(quality) else Cell(number(quality), quality)
        rows.append(Row([Cell(run.name), figure, Cell("finished" if finished else "begun"), Cell("", links=links)]))
    note = (
        f"Not finished: {done} training{'s' * (done != 1)} done so far. What they come to is told at the end; go on "
        f"with python -m nas.compare resume={folder}"
    )
    tables = [Table("Trainings", ["training", measure, "state", "reports"], rows)] if rows else []
    return ComparisonPage(
        title=folder.resolve().name,
        about="",
        notes=[note],
        summary=[],
        tables=tables,
        against_cost=[],
        curves=[],
        stacks=[],
        tests=None,
        sentences=[],
    )
