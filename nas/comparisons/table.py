"""The table of a comparison as the terminal, Markdown, CSV and JSON show it."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from rich.console import Group
from rich.table import Table
from rich.text import Text

from nas.comparisons.statistics import NOISE, ONE_SEED, Pair
from nas.comparisons.summary import Answer, Row, value
from nas.report.units import MISSING, context, count, duration, markdown, number, p_value, signed, size
from nas.runs.folder import plain

Columns: TypeAlias = dict[str, Callable[[Row], str]]
"""What people are shown of a row, by heading."""
Costs: TypeAlias = dict[str, tuple[str, Callable[[float], str]]]
"""Columns of `Row`, and how their numbers are shown, by heading."""


def terminal(answer: Answer) -> Group:
    """What to print: quality and cost as tables, what was searched in bold, and what the tests against the best
    baseline say.
    """
    title = f"{answer.comparison.task}, trained on {answer.comparison.length:,} tokens a sequence"
    return Group(
        _rich(answer, _quality_columns(answer), title, answer.caption),
        *(_rich(answer, columns, title, "") for title, columns in _cost_columns(answer).items()),
        *map(Text, sentences(answer, answer.against_best)),
    )


def _rich(answer: Answer, columns: Columns, title: str, caption: str) -> Table:
    table = Table(title=Text(title), caption=Text(caption))
    for place, heading in enumerate(columns):
        table.add_column(heading, justify="right" if place else "left", no_wrap=not place, overflow="fold")
    for row in answer.rows:
        table.add_row(*(Text(show(row)) for show in columns.values()), style="bold" if row["searched"] else "")
    return table


def to_markdown(answer: Answer) -> str:
    """A page: quality, cost, every test, and each test as a sentence."""
    parts = [
        f"## Quality\n\n{_markdown(answer, _quality_columns(answer))}\n{answer.caption}\n",
        *(f"## {title}\n\n{_markdown(answer, columns)}" for title, columns in _cost_columns(answer).items()),
    ]
    if answer.pairs:
        how = (
            "Two-sided paired t-tests over seeds; p (Holm) is adjusted for all tests at one length. "
            "It decides, not the bootstrap interval, which is narrow for few seeds."
        )
        parts.append(f"## Pairwise tests\n\n{how}\n\n{markdown(list(map(_pair_cells, answer.pairs)))}")
        parts.append("## In words\n\n" + "".join(f"- {sentence}\n" for sentence in sentences(answer, answer.pairs)))
    return "\n".join(parts)


def _markdown(answer: Answer, columns: Columns) -> str:
    def cells(row: Row) -> dict[str, str]:
        shown = {heading: show(row).replace("\n[", " [").replace("\n", ", ") for heading, show in columns.items()}
        return shown | ({"model": f"**{shown['model']}**"} if row["searched"] else {})

    return markdown(list(map(cells, answer.rows)))


def _pair_cells(pair: Pair) -> dict[str, str]:
    return {
        "model": pair.entrant,
        "against": pair.baseline,
        "length": f"{pair.factor}x",
        "difference": signed(pair.difference),
        "95 % interval": MISSING
        if math.isnan(pair.interval.low)
        else f"{signed(pair.interval.low)} to {signed(pair.interval.high)}",
        "p": p_value(pair.p),
        "p (Holm)": p_value(pair.p_holm),
        "verdict": pair.verdict,
    }


def to_csv(answer: Answer) -> str:
    """The rows with raw numbers; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(answer.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain(answer.rows))
    return text.getvalue()


def to_json(answer: Answer) -> str:
    """The rows and the tests with raw numbers; what is not known is null."""
    comparison = answer.comparison
    about = {"task": comparison.task, "quality": comparison.quality, "length": comparison.length}
    given = about | {"caption": answer.caption, "rows": answer.rows, "tests": answer.pairs}
    return json.dumps(plain(given), indent=2, allow_nan=False) + "\n"


def sentences(answer: Answer, pairs: Sequence[Pair]) -> list[str]:
    """What each of these tests says, in plain words."""
    return [_sentence(answer, pair) for pair in pairs]


def _sentence(answer: Answer, pair: Pair) -> str:
    quality = {row["model"]: number(value(row, f"quality_{pair.factor}x")) for row in answer.rows}
    measured = f"{quality[pair.entrant]} against {quality[pair.baseline]}"
    at = "at the training length" if pair.factor == 1 else f"at {pair.factor}x the training length"
    if pair.verdict == ONE_SEED:
        return f"{pair.entrant} against {pair.baseline} {at}: {measured} {answer.measure}, from one seed, not tested."
    p = p_value(pair.p_holm)
    measured += f" {answer.measure}, p {p if p.startswith('<') else f'= {p}'}"
    if pair.verdict == NOISE:
        return f"The difference between {pair.entrant} and {pair.baseline} {at} is within the noise: {measured}."
    does = "retrieves" if answer.comparison.quality == "recall" else "is"
    return f"{pair.entrant} {does} {pair.verdict} than {pair.baseline} {at}: {measured}."


def _quality_columns(answer: Answer) -> Columns:
    factors, seeds = answer.comparison.factors, len(answer.comparison.entrants[0].runs)

    def quality(factor: int) -> Callable[[Row], str]:
        return lambda row: _quality(row, factor, seeds)

    share = f"share_{min(factors)}x"
    return {"model": _name, "softmax share": lambda row: number(value(row, share))} | {
        answer.measure if factor == 1 else f"at {factor}x length": quality(factor) for factor in factors
    }


def _quality(row: Row, factor: int, seeds: int) -> str:
    """A line each: mean, interval, how many seeds diverged, what the test says."""
    mean, low, high = (value(row, f"{name}_{factor}x") for name in ("quality", "low", "high"))
    lost, verdict = row[f"diverged_{factor}x"], row[f"verdict_{factor}x"]
    lines = [number(mean)] if math.isnan(low) else [number(mean), f"[{number(low)}, {number(high)}]"]
    if lost:
        lines.append(f"{lost} of {seeds} diverged")
    if verdict:
        lines.append(str(verdict))
    return "\n".join(lines)


def cost_columns(answer: Answer) -> dict[str, Costs]:
    """By title of their table; apart, so that a terminal is wide enough for either."""
    at = answer.comparison.context
    inference: Costs = {f"FLOPs per token at {context(at)}": (f"flops_per_token_{at}", count)}
    for length in answer.comparison.contexts:
        inference[f"KV at {context(length)}"] = (f"kv_bytes_{length}", size)
    return {
        "Cost of training": {
            "parameters": ("parameters", count),
            "learning rate": ("learning_rate", "{:g}".format),
            "training FLOPs": ("training_flops", count),
        },
        "Cost of inference": inference
        | {"prefill per token": ("prefill_seconds", duration), "decode per token": ("decode_seconds", duration)},
    }


def _cost_columns(answer: Answer) -> dict[str, Columns]:
    def shown(column: str, show: Callable[[float], str]) -> Callable[[Row], str]:
        return lambda row: show(value(row, column))

    return {
        title: {"model": _name} | {heading: shown(*one) for heading, one in costs.items()}
        for title, costs in cost_columns(answer).items()
    }


def _name(row: Row) -> str:
    return str(row["model"])
