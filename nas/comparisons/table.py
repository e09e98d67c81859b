"""The table of a comparison for the terminal, and in Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from rich.console import Group
from rich.table import Table
from rich.text import Text

from nas.comparisons.layers import found_layers
from nas.comparisons.statistics import NOISE, ONE_SEED, Pair
from nas.comparisons.summary import Row, Summary, value
from nas.comparisons.verdict import at_length, verdict
from nas.report.units import MISSING, context, count, duration, markdown, number, p_value, signed, size
from nas.runs.folder import plain

FOUND = "Layers that searches found"
"""Title of the table with a row for each pattern of layers."""
TEXT_COLUMNS = 3
"""Number of its columns that hold text."""


class Shown(NamedTuple):
    """The text of a cell, and whether it is bold."""

    text: str
    bold: bool = False


Columns: TypeAlias = dict[str, Callable[[Row], Shown]]
"""Functions from a row to a cell, by heading."""
Costs: TypeAlias = dict[str, tuple[str, Callable[[float], str]]]
"""A column of `Row` and the format of its numbers, by heading."""


def terminal(summary: Summary) -> Group:
    """Return the output for a terminal: the verdict, tables of quality and cost, and tests against the best baseline.

    A quality is bold if its contender is ahead, see `Summary.ahead`.
    """
    title = f"{summary.comparison.task}, trained on {summary.comparison.length:,} tokens a sequence"
    return Group(
        *map(Text, verdict(summary)),
        _rich(summary, _quality_columns(summary), title, summary.caption),
        *_found(summary),
        *(_rich(summary, columns, title, "") for title, columns in _cost_columns(summary).items()),
        *map(Text, sentences(summary, summary.against_best)),
    )


def _found(summary: Summary) -> list[Table]:
    """Return the table of the layers that searches found; no table without searches."""
    rows = found_layers(summary.comparison)
    table = Table(title=FOUND)
    for place, heading in enumerate(rows[0] if rows else {}):
        table.add_column(heading, justify="left" if place < TEXT_COLUMNS else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    return [table] if rows else []


def _rich(summary: Summary, columns: Columns, title: str, caption: str) -> Table:
    table = Table(title=Text(title), caption=Text(caption))
    for place, heading in enumerate(columns):
        table.add_column(heading, justify="right" if place else "left", no_wrap=not place, overflow="fold")
    for row in summary.rows:
        cells = [show(row) for show in columns.values()]
        table.add_row(*(Text(cell.text, style="bold" if cell.bold else "") for cell in cells))
    return table


def to_markdown(summary: Summary) -> str:
    """Return a Markdown page: verdict, quality, cost, every test as a table row and as a sentence."""
    parts = [
        " ".join(verdict(summary)) + "\n",
        f"## Quality\n\n{_markdown(summary, _quality_columns(summary))}\n{summary.caption}\n",
        *(f"## {title}\n\n{_markdown(summary, columns)}" for title, columns in _cost_columns(summary).items()),
    ]
    if found := found_layers(summary.comparison):
        parts.insert(2, f"## {FOUND}\n\n{markdown(found)}")
    if summary.pairs:
        how = (
            "Two-sided paired t-tests over seeds; p (Holm) is adjusted for all tests at one length. "
            "The interval of a difference excludes 0 exactly if p (Holm) is below 0.05. p (sign flip) is that of a "
            "permutation test, not adjusted; it assumes no distribution."
        )
        parts.append(f"## Pairwise tests\n\n{how}\n\n{markdown(list(map(_pair_cells, summary.pairs)))}")
        parts.append("## In words\n\n" + "".join(f"- {sentence}\n" for sentence in sentences(summary, summary.pairs)))
    return "\n".join(parts)


def _markdown(summary: Summary, columns: Columns) -> str:
    def cell(shown: Shown) -> str:
        text = shown.text.replace("\n[", " [").replace("\n", ", ")
        return f"**{text}**" if shown.bold else text

    return markdown([{heading: cell(show(row)) for heading, show in columns.items()} for row in summary.rows])


def _pair_cells(pair: Pair) -> dict[str, str]:
    return {
        "model": pair.contender,
        "against": pair.baseline,
        "length": f"{pair.factor}x",
        "difference": signed(pair.difference),
        "95 % interval": MISSING
        if math.isnan(pair.interval.low)
        else f"{signed(pair.interval.low)} to {signed(pair.interval.high)}",
        "p": p_value(pair.p),
        "p (Holm)": p_value(pair.p_holm),
        "p (sign flip)": p_value(pair.p_flip),
        "verdict": pair.verdict,
    }


def to_csv(summary: Summary) -> str:
    """Return the rows as CSV with raw numbers; unknown values are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(summary.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain(summary.rows))
    return text.getvalue()


def to_json(summary: Summary) -> str:
    """Return the rows and the tests as JSON with raw numbers; unknown values are null."""
    comparison = summary.comparison
    about = {"task": comparison.task, "quality": comparison.quality, "length": comparison.length}
    tests = [{"entrant": pair.pop("contender")} | pair for pair in plain(summary.pairs)]
    given = about | {"caption": summary.caption, "rows": summary.rows, "tests": tests}
    return json.dumps(plain(given), indent=2, allow_nan=False) + "\n"


def sentences(summary: Summary, pairs: Sequence[Pair]) -> list[str]:
    """Return each test as a sentence."""
    return [_sentence(summary, pair) for pair in pairs]


def _sentence(summary: Summary, pair: Pair) -> str:
    quality = {row["model"]: number(value(row, f"quality_{pair.factor}x")) for row in summary.rows}
    measured = f"{quality[pair.contender]} against {quality[pair.baseline]}"
    at = at_length(pair.factor)
    if pair.verdict == ONE_SEED:
        return (
            f"{pair.contender} against {pair.baseline} {at}: {measured} {summary.measure}, from one seed, not tested."
        )
    p = p_value(pair.p_holm)
    measured += f" {summary.measure}, p {p if p.startswith('<') else f'= {p}'}"
    if pair.verdict == NOISE:
        return f"The difference between {pair.contender} and {pair.baseline} {at} is within the noise: {measured}."
    does = "retrieves" if summary.comparison.quality == "recall" else "is"
    return f"{pair.contender} {does} {pair.verdict} than {pair.baseline} {at}: {measured}."


def _quality_columns(summary: Summary) -> Columns:
    factors, seeds = summary.comparison.factors, len(summary.comparison.contenders[0].runs)

    def quality(factor: int) -> Callable[[Row], Shown]:
        return lambda row: Shown(_quality(row, factor, seeds), summary.ahead(row, factor))

    share = f"share_{min(factors)}x"
    return (
        {"model": _name, "softmax share": lambda row: Shown(number(value(row, share)))}
        | {summary.measure if factor == 1 else f"at {factor}x length": quality(factor) for factor in factors}
        | {heading: partial(_plain_number, column) for heading, column in summary.losses.items()}
    )


def _plain_number(column: str, row: Row) -> Shown:
    return Shown(number(value(row, column)))


def _quality(row: Row, factor: int, seeds: int) -> str:
    """Return the lines of a cell: mean, interval, number of diverged seeds, and verdict."""
    mean, low, high = (value(row, f"{name}_{factor}x") for name in ("quality", "low", "high"))
    lost, verdict = row[f"diverged_{factor}x"], row[f"verdict_{factor}x"]
    lines = [number(mean)] if math.isnan(low) else [number(mean), f"[{number(low)}, {number(high)}]"]
    if lost:
        lines.append(f"{lost} of {seeds} diverged")
    if verdict:
        lines.append(str(verdict))
    return "\n".join(lines)


def cost_columns(summary: Summary) -> dict[str, Costs]:
    """Return the columns of the tables of cost, by title; two tables, so that each fits a terminal."""
    at = summary.comparison.context
    inference: Costs = {f"FLOPs per token at {context(at)}": (f"flops_per_token_{at}", count)}
    for length in summary.comparison.contexts:
        inference[f"cache size at {context(length)}"] = (f"kv_bytes_{length}", size)
    return {
        "Cost of training": {
            "parameters": ("parameters", count),
            "learning rate": ("learning_rate", "{:g}".format),
            "training FLOPs": ("training_flops", count),
        },
        "Cost of inference": inference
        | {"prefill per token": ("prefill_seconds", duration), "decode per token": ("decode_seconds", duration)},
    }


def _cost_columns(summary: Summary) -> dict[str, Columns]:
    def shown(column: str, show: Callable[[float], str]) -> Callable[[Row], Shown]:
        return lambda row: Shown(show(value(row, column)))

    return {
        title: {"model": _name} | {heading: shown(*one) for heading, one in costs.items()}
        for title, costs in cost_columns(summary).items()
    }


def _name(row: Row) -> Shown:
    return Shown(str(row["model"]))
