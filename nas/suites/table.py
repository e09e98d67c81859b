"""Tables of results: a row for each score, each range of positions or distances, or each task; a column a length."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from rich.table import Table

from nas.console import terminal_table
from nas.report.units import MISSING, markdown, number
from nas.suites.result import Result, Score

TITLES = {
    "text": "Held-out text: bits per byte",
    "ruler": "RULER: share of the answers in the output",
    "recall": "Recall: n-grams that stand earlier in the sequence",
    "identifiers": "Renamed identifiers that stand earlier in the source",
}
"""Title of the table of each suite."""
SHOWN = {
    "text": "by position",
    "recall": "accuracy on AR hits by distance",
    "identifiers": "accuracy on their tokens by distance",
}
"""The curve of each suite that its table shows."""
COLUMN = "tokens of a sequence"
"""Heading of the first column: further headings are lengths."""
MEAN = "mean of all tasks"
CAPTION = "± standard error over sequences"

Row = dict[str, str]


def rows(results: Sequence[Result]) -> list[Row]:
    """Return the rows of the table of one suite, as text by column."""
    lengths = sorted({result.length for result in results})
    found: dict[str, dict[int, str]] = {}
    for result in results:
        for label, text in _cells(result).items():
            found.setdefault(label, {})[result.length] = text
    if results[0].suite == "ruler":
        found = {MEAN: _means(results)} | found
    return [
        {COLUMN: label} | {f"{length:,}": cells.get(length, MISSING) for length in lengths}
        for label, cells in _in_order(found).items()
    ]


def terminal(results: Sequence[Result]) -> Table:
    """Return the table of one suite for a terminal."""
    return terminal_table(rows(results), TITLES[results[0].suite], CAPTION)


def page(suites: Mapping[str, Sequence[Result]], notes: Sequence[str]) -> str:
    """Return the Markdown page of all suites with results, and notes on what could not be computed."""
    parts = [f"## {TITLES[suite]}\n\n{markdown(rows(results))}\n{CAPTION}\n" for suite, results in suites.items()]
    return "\n".join([*parts, *(f"- {note}\n" for note in notes)])


def _cells(result: Result) -> Row:
    """Return the cells of a result, by the label of their row."""
    if result.suite == "ruler":
        return {result.part: _text(result.scores["score"])}
    cells = {name: _text(score) for name, score in result.scores.items()}
    cells |= {f"chance: {name}": number(value) for name, value in result.chance.items()}
    for segment in result.curves[SHOWN[result.suite]]:
        cells[f"{SHOWN[result.suite]}: {segment.start:,} to {segment.end:,}"] = _text(segment.score)
    return cells


def _in_order(found: dict[str, dict[int, str]]) -> dict[str, dict[int, str]]:
    """Return the rows with those of ranges at the end, in the order of the ranges."""

    def key(label: str) -> tuple[int, int]:
        head, _, range_ = label.rpartition(": ")
        start, _, end = range_.replace(",", "").partition(" to ")
        return (int(start), int(end)) if head and end.isdecimal() else (-1, 0)

    return dict(sorted(found.items(), key=lambda item: key(item[0])))


def _means(results: Sequence[Result]) -> dict[int, str]:
    """Return the mean score at each length that all tasks have, with the standard error over their prompts."""
    tasks = {result.part for result in results}
    by_length: dict[int, list[Score]] = {}
    for result in results:
        by_length.setdefault(result.length, []).append(result.scores["score"])
    return {
        length: _text(
            Score(
                fmean(score.value for score in scores),
                math.hypot(*(score.error for score in scores)) / len(scores),
                len(scores),
            )
        )
        for length, scores in by_length.items()
        if len(scores) == len(tasks)
    }


def _text(score: Score) -> str:
    return number(score.value) if math.isnan(score.error) else f"{number(score.value)} ± {number(score.error)}"
