"""What a comparison came to: a row for each entrant, and what the tests say of it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from nas.comparisons.results import Comparison, Entrant
from nas.comparisons.statistics import Pair, best_baseline, counted, diverged, interval, tests
from nas.evaluation.metrics import BETTER

Value: TypeAlias = str | int | float | bool | None
Row: TypeAlias = dict[str, Value]
"""Of an entrant, by column of the CSV; what varies over seeds is their mean."""
BEST = "best baseline"
"""Verdict on the entrant that others are compared with."""


@dataclass(frozen=True)
class Answer:
    """What a comparison came to.

    Attributes:
        comparison: the trainings behind it.
        rows: one an entrant, in their order.
        pairs: the tests, by length.
        best: the name of the best baseline by length factor.
    """

    comparison: Comparison
    rows: list[Row]
    pairs: list[Pair]
    best: dict[int, str]

    @classmethod
    def of(cls, comparison: Comparison) -> "Answer":
        best = {factor: best_baseline(comparison, factor).name for factor in comparison.factors}
        pairs = tests(comparison)
        rows = [_row(comparison, entrant, pairs, best) for entrant in comparison.entrants]
        return cls(comparison, rows, pairs, best)

    @property
    def against_best(self) -> list[Pair]:
        """The tests against the best baseline of each length."""
        return [pair for pair in self.pairs if pair.baseline == self.best[pair.factor]]

    @property
    def measure(self) -> str:
        """What quality is, in words."""
        return self.comparison.quality.replace("_", " ")

    @property
    def caption(self) -> str:
        """What a reader of the table must know."""
        comparison = self.comparison
        seeds = comparison.entrants[0].seeds
        sentences = [f"{self.measure}: {BETTER[comparison.quality]}"]
        sentences += [f"{len(seeds)} seeds: mean [95 % bootstrap interval]" if len(seeds) > 1 else "one seed"]
        sentences += [f"{BEST} {_lengths(of)}: {name}" for name, of in _grouped(self.best).items()]
        if any(diverged(entrant, factor) for entrant in comparison.entrants for factor in comparison.factors):
            sentences.append("trainings that diverged count as the worst there is")
        return "; ".join(sentences) + "."

    @property
    def notes(self) -> list[str]:
        """What a reader must not miss."""
        notes, entrants = [], self.comparison.entrants
        rates = sorted({rate for entrant in entrants for rate in entrant.tried})
        ends = {rates[0]: "smallest", rates[-1]: "largest"} if len(rates) > 1 else {}
        for rate, which in ends.items():
            if at_end := [entrant.name for entrant in entrants if entrant.learning_rate == rate]:
                notes.append(
                    f"The {which} learning rate, {rate:g}, was best for {', '.join(at_end)}: one beyond it may be "
                    "better."
                )
        if len(entrants[0].runs) == 1:
            notes.append("One seed: no difference was tested.")
        return notes


def _row(comparison: Comparison, entrant: Entrant, pairs: list[Pair], best: dict[int, str]) -> Row:
    runs, name = entrant.runs, entrant.name
    verdicts = {
        pair.factor: pair.verdict for pair in pairs if (pair.entrant, pair.baseline) == (name, best[pair.factor])
    }
    row: Row = {"model": name, "searched": entrant.searched}
    for factor in comparison.factors:
        values = counted(comparison, entrant, factor)
        ends = interval(values)
        row |= {
            f"share_{factor}x": _mean(run.share[factor] for run in runs),
            f"quality_{factor}x": fmean(values),
            f"low_{factor}x": ends.low,
            f"high_{factor}x": ends.high,
            f"diverged_{factor}x": diverged(entrant, factor),
            f"verdict_{factor}x": BEST if best[factor] == name else verdicts.get(factor),
        }
    row |= {"parameters": _mean(run.parameters for run in runs), "learning_rate": entrant.learning_rate}
    row["training_flops"] = _mean(run.training_flops for run in runs)
    for length in comparison.contexts:
        row[f"flops_per_token_{length}"] = _mean(run.flops_per_token[length] for run in runs)
    for length in comparison.contexts:
        row[f"kv_bytes_{length}"] = _mean(run.kv_bytes[length] for run in runs)
    row["prefill_seconds"] = _mean(run.prefill_seconds for run in runs)
    row["decode_seconds"] = _mean(run.decode_seconds for run in runs)
    return row


def _mean(values: Iterable[float | None]) -> float:
    """Of what is known; nan where nothing is."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return fmean(known) if known else math.nan


def _grouped(best: dict[int, str]) -> dict[str, list[int]]:
    """Length factors by name, in order."""
    grouped: dict[str, list[int]] = {}
    for factor, name in best.items():
        grouped.setdefault(name, []).append(factor)
    return grouped


def _lengths(factors: list[int]) -> str:
    return "at " + ", ".join(f"{factor}x" for factor in factors)


def value(row: Row, column: str) -> float:
    """A number of a row."""
    found = row[column]
    assert isinstance(found, int | float), column
    return found
