"""`report.html` of a comparison: tables, quality against cost, by length and by position, and pairwise tests."""

import glob
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from nas.comparisons.figures.page_charts import against_cost, along_the_sequence
from nas.comparisons.jobs import SEARCHES, TRAININGS
from nas.comparisons.layers import found_layers
from nas.comparisons.results import RESULTS, Comparison, TrainedContender
from nas.comparisons.summary import Row as Figures
from nas.comparisons.summary import Summary, value
from nas.comparisons.table import FOUND, cost_columns, sentences
from nas.comparisons.verdict import verdict
from nas.errors import UserError
from nas.files.lock import in_use
from nas.report.diagram import Block, Stack, measured_shares
from nas.report.embed import Chart, Charts, environment, link, write_page
from nas.report.table import Cell, Row, Table, intervals
from nas.report.units import MISSING, context, number, p_value, signed, size, tokens
from nas.runs.folder import REPORT, Run, read_json
from nas.runs.metrics import is_finished, read_metrics
from nas.runs.provenance import Rows, provenance
from nas.runs.titles import heading, title_of_comparison
from nas.search_spaces.architecture import Architecture, Layer


@dataclass(frozen=True)
class ComparisonPage:
    """The values of the template.

    Attributes:
        title: title of the page.
        origin: line below the title: folder and start.
        answer: paragraph of sentences: the verdict, and costs.
        about: what the tables of quality show.
        notes: warnings.
        summary: label, value and note of each headline figure.
        tables: tables of quality and cost, or of trainings if the comparison is not finished.
        against_cost: charts of quality against cost.
        curves: charts by context length and by position.
        stacks: diagrams of the layers of each contender.
        tests: table of the pairwise tests; None without tests.
        sentences: each test as a sentence.
        provenance: labels and values of what made the comparison, by its title.
    """

    title: str
    origin: list[str]
    answer: list[str]
    about: str
    notes: list[str]
    summary: list[tuple[str, str, str]]
    tables: list[Table]
    against_cost: list[Chart]
    curves: list[Chart]
    stacks: list[Stack]
    tests: Table | None
    sentences: list[str]
    provenance: list[tuple[str, Rows]]

    @property
    def charts(self) -> Charts:
        """Return all charts in their order."""
        return Charts([*self.against_cost, *self.curves])


def write(folder: Path, output: Path) -> None:
    """Write the page of a comparison; an unfinished comparison gets a table of its trainings so far.

    Args:
        folder: run folder of the comparison.
        output: path of the page; links to the reports of the trainings are relative to it.

    Raises:
        UserError: the folder has no comparison, or is damaged.
    """
    described = Run(folder).described()
    if described["command"] != "compare":
        raise UserError(
            f"{folder} is a run of nas.{described['command']}, not of nas.compare; give the folder of a comparison."
        )
    if not (folder / RESULTS).exists():
        write_page(output, _render(_unfinished(folder, output.parent)))
        return
    try:
        comparison = Comparison.from_dict(read_json(folder / RESULTS))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{folder / RESULTS} is damaged: {error} To write it again, run python -m nas.compare resume={folder}"
        ) from error
    write_page(output, page(Summary.of(comparison), folder, output.parent, in_use(folder)))


def page(summary: Summary, folder: Path, at: Path, running: bool = False) -> str:
    """Return the page of a finished comparison as text.

    Args:
        summary: the summary of the comparison.
        folder: run folder of the comparison.
        at: folder of the page; links are relative to it.
        running: whether another process goes on with the comparison.
    """
    comparison = summary.comparison
    runs = {contender.name: _runs(contender, folder) for contender in comparison.contenders}
    links = {name: _links(trained, at) for name, trained in runs.items()}
    tests, head = _tests(summary), heading(folder)
    made = ComparisonPage(
        title=title_of_comparison(comparison.task, len(comparison.contenders), len(comparison.contenders[0].seeds)),
        origin=[head.origin],
        answer=[" ".join([*verdict(summary), *_costs_in_words(summary)])],
        about=f"Trained on {comparison.task}, {comparison.length:,} tokens a sequence; {summary.caption}",
        notes=[*(["This page was made while the comparison went on."] if running else []), *summary.notes],
        summary=_headline_figures(summary),
        tables=[_quality(summary, links), *_found(summary), *_costs(summary)],
        against_cost=against_cost(summary, links),
        curves=along_the_sequence(summary),
        stacks=[stack for one in comparison.contenders for stack in _stacks(one, runs[one.name])],
        tests=tests if tests.rows else None,
        sentences=sentences(summary, summary.pairs),
        provenance=[(head.folder, provenance(folder))],
    )
    return _render(made)


def _render(made: ComparisonPage) -> str:
    return environment().get_template("compared.html.j2").render(page=made)


def _best_row(summary: Summary, column: str) -> Figures:
    sign = 1 if summary.comparison.higher else -1
    return max(summary.rows, key=lambda row: sign * value(row, column))


def _costs_in_words(summary: Summary) -> list[str]:
    """Return a sentence on the known costs of each searched model, and of the best baseline at the training length."""
    shortest, at = min(summary.comparison.factors), summary.comparison.context
    made = []
    for row in summary.rows:
        share, cache = value(row, f"share_{shortest}x"), value(row, f"kv_bytes_{at}")
        if (row["searched"] or row["model"] == summary.best[shortest]) and math.isfinite(share + cache):
            costs = f"a softmax share of {number(share)} and a cache of {size(cache)} at {context(at)} tokens"
            made.append(f"{row['model']} has {costs}.")
    return made


def _runs(contender: TrainedContender, folder: Path) -> dict[int, Path]:
    """Return the run folder of each training that still has a report, by seed."""
    runs = {}
    for seed in contender.seeds:
        name = glob.escape(f"{contender.name}_lr{contender.learning_rate:g}_seed{seed}")
        for made in (SEARCHES, TRAININGS):
            if reports := sorted((folder / made).glob(f"????-??-??_??-??-??_{name}/{REPORT}")):
                runs[seed] = reports[-1].parent
    return runs


def _links(runs: Mapping[int, Path], at: Path) -> list[tuple[str, str]]:
    """Return the label of each training, and the link from the page to its report."""
    return [(f"seed {seed}", link((run / REPORT).resolve(), at)) for seed, run in runs.items()]


def _headline_figures(summary: Summary) -> list[tuple[str, str, str]]:
    """Return label, value and note of the best quality at the shortest and the longest length, and of the models."""
    factors, shown = summary.comparison.factors, []
    for factor in sorted({min(factors), max(factors)}):
        column = f"quality_{factor}x"
        best = _best_row(summary, column)
        shown.append((f"best {_heading(summary, factor)}", number(value(best, column)), str(best["model"])))
    seeds = summary.comparison.contenders[0].seeds
    return [*shown, ("models", str(len(summary.rows)), f"{len(seeds)} seed{'s' * (len(seeds) > 1)} each")]


def _heading(summary: Summary, factor: int) -> str:
    """Return the measure with its length: "recall at 4,096 tokens (8x)"."""
    return f"{summary.measure} at {tokens(summary.comparison.length, factor)}"


def _quality(summary: Summary, links: dict[str, list[tuple[str, str]]]) -> Table:
    """Return the table of quality at every length, with intervals as text and drawn, and links to the reports."""
    factors = summary.comparison.factors
    drawn = {
        factor: intervals(
            [
                (value(row, f"low_{factor}x"), value(row, f"quality_{factor}x"), value(row, f"high_{factor}x"))
                for row in summary.rows
            ]
        )
        for factor in factors
    }
    columns = ["model", "softmax share"]
    columns += [*(_heading(summary, factor) for factor in factors), *summary.losses]
    rows = []
    for place, row in enumerate(summary.rows):
        cells = [Cell(str(row["model"])), _figure(row, f"share_{min(factors)}x", number)]
        for factor in factors:
            low, high = value(row, f"low_{factor}x"), value(row, f"high_{factor}x")
            ends = "" if math.isnan(low) else f" [{number(low)}, {number(high)}]"
            mean = value(row, f"quality_{factor}x")
            note = row[f"verdict_{factor}x"] or ""
            if lost := row[f"diverged_{factor}x"]:
                note = f"{note}; {lost} diverged".removeprefix("; ")
            text, bold = f"{number(mean)}{ends}", summary.ahead(row, factor)
            cells.append(Cell(text, mean, drawn[factor][place], str(note), ahead=bold))
        cells += [_figure(row, column, number) for column in summary.losses.values()]
        rows.append(Row([*cells, Cell("", links=links[str(row["model"])])], marked=bool(row["searched"])))
    return Table("Quality", [*columns, "reports"], rows)


def _costs(summary: Summary) -> list[Table]:
    return [
        Table(
            title,
            ["model", *columns],
            [
                Row(
                    [Cell(str(row["model"])), *(_figure(row, column, show) for column, show in columns.values())],
                    marked=bool(row["searched"]),
                )
                for row in summary.rows
            ],
        )
        for title, columns in cost_columns(summary).items()
    ]


def _figure(row: Figures, column: str, show: Callable[[float], str]) -> Cell:
    found = value(row, column)
    return Cell(show(found), found) if math.isfinite(found) else Cell(MISSING)


def _found(summary: Summary) -> list[Table]:
    """Return the table of the layers that searches found; no table without searches."""
    rows = found_layers(summary.comparison)
    return [Table(FOUND, list(rows[0]), [Row(list(map(Cell, row.values()))) for row in rows])] if rows else []


def _stacks(contender: TrainedContender, runs: Mapping[int, Path]) -> Iterator[Stack]:
    """Yield the layers of a contender, for each pattern that its trainings have."""
    patterns = contender.patterns
    if len(patterns) < 2:
        yield _stack(contender.name, contender, Architecture.from_dict(contender.architecture).layers, runs.values())
        return
    layers = {run.pattern: [Layer(**layer) for layer in run.layers] for run in contender.runs}
    for pattern, seeds in patterns.items():
        name = f"{contender.name}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        yield _stack(name, contender, layers[pattern], [runs[seed] for seed in seeds if seed in runs])


def _stack(name: str, contender: TrainedContender, layers: Sequence[Layer], runs: Iterable[Path]) -> Stack:
    """Return layers of a contender under a name; the softmax share is the mean over these trainings."""
    shares = [measured_shares(run) for run in runs]
    blocks = []
    for index, layer in enumerate(layers):
        known = [of[index] for of in shares if index in of]
        blocks.append(Block.of(layer, fmean(known) if known else None))
    return Stack(name, contender.searched, tuple(blocks))


def _tests(summary: Summary) -> Table:
    columns = ["model", "against", "length", "difference", "95 % interval", "p", "p (Holm)", "p (sign flip)", "verdict"]
    drawn = intervals([(pair.interval.low, pair.difference, pair.interval.high) for pair in summary.pairs])
    rows = []
    for pair, interval in zip(summary.pairs, drawn, strict=True):
        low, high = pair.interval
        ends = MISSING if math.isnan(low) else f"{signed(low)} to {signed(high)}"
        cells = [
            Cell(pair.contender),
            Cell(pair.baseline),
            Cell(f"{pair.factor}x", float(pair.factor)),
            Cell(signed(pair.difference), pair.difference),
            Cell(ends, None if math.isnan(low) else low, interval),
            *(Cell(p_value(p), p) for p in (pair.p, pair.p_holm, pair.p_flip)),
            Cell(pair.verdict),
        ]
        rows.append(Row(cells))
    return Table("Pairwise tests", columns, rows)


def _unfinished(folder: Path, at: Path) -> ComparisonPage:
    """Return the page of an unfinished comparison: a table of the trainings so far."""
    rows: list[Row] = []
    done = 0
    measure = "quality"
    for run in sorted(path for made in (SEARCHES, TRAININGS) for path in (folder / made).glob("*/")):
        finished, quality = is_finished(run), math.nan
        done += finished
        if finished:
            with suppress(ValueError):  # the file is damaged: the row has no quality
                metrics = read_metrics(run)
                quality, measure = metrics.learnt.at_training_length.quality, metrics.quality.replace("_", " ")
        report = run / REPORT
        links = [("report", link(report.resolve(), at))] if report.exists() else []
        figure = Cell(MISSING) if math.isnan(quality) else Cell(number(quality), quality)
        state = "finished" if finished else "running" if in_use(run) else "stopped"
        rows.append(Row([Cell(run.name), figure, Cell(state), Cell("", links=links)]))
    head = heading(folder)
    tables = [Table("Trainings", ["training", measure, "state", "reports"], rows)] if rows else []
    return ComparisonPage(
        title=head.title,
        origin=[head.origin],
        answer=[],
        about="",
        notes=[_progress(folder, done)],
        summary=[],
        tables=tables,
        against_cost=[],
        curves=[],
        stacks=[],
        tests=None,
        sentences=[],
        provenance=[(head.folder, provenance(folder))],
    )


def _progress(folder: Path, done: int) -> str:
    """Return the note on an unfinished comparison: the number of finished trainings, and whether it goes on."""
    so_far = f"{done} training{'s' * (done != 1)} done so far."
    if in_use(folder):
        return f"This page was made while the comparison went on: {so_far} The results follow once all are done."
    return f"Not finished: {so_far} No process here goes on with it; to continue: python -m nas.compare resume={folder}"
