"""The summary of a comparison: a row for each contender, and the tests."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from nas.comparisons.convergence import still_improving
from nas.comparisons.grid import at_end
from nas.comparisons.results import Comparison, TrainedContender
from nas.comparisons.statistics import BETTER, WORSE, Pair, best_baseline, counted, diverged, interval, tests
from nas.evaluation.metrics import DIRECTION
from nas.report.units import number

Value: TypeAlias = str | int | float | bool | None
Row: TypeAlias = dict[str, Value]
"""The values of a contender by column of the CSV; values that vary over seeds are means."""
BEST = "best baseline"
"""Verdict on the contender that others are tested against."""


@dataclass(frozen=True)
class Summary:
    """The summary of a comparison.

    Attributes:
        comparison: the results of the trainings.
        rows: a row for each contender, in their order.
        pairs: the tests, by length.
        best: the name of the best baseline, by length factor.
    """

    comparison: Comparison
    rows: list[Row]
    pairs: list[Pair]
    best: dict[int, str]

    @classmethod
    def of(cls, comparison: Comparison) -> "Summary":
        """Summarize and test the results of a comparison."""
        best = {factor: best_baseline(comparison, factor).name for factor in comparison.factors}
        pairs = tests(comparison)
        rows = [_row(comparison, contender, pairs, best) for contender in comparison.contenders]
        return cls(comparison, rows, pairs, best)

    @property
    def against_best(self) -> list[Pair]:
        """Return the tests against the best baseline of each length."""
        return [pair for pair in self.pairs if pair.baseline == self.best[pair.factor]]

    @property
    def measure(self) -> str:
        """Return the name of the quality measure in words."""
        return self.comparison.quality.replace("_", " ")

    @property
    def losses(self) -> dict[str, str]:
        """Return the heading and the column of the loss per token; empty if the quality says the same."""
        factor = min(self.comparison.factors)
        return {f"loss per token at {factor}x": f"loss_{factor}x"} if self.comparison.token_loss else {}

    @property
    def caption(self) -> str:
        """Return the caption of the table: the measure, the seeds, the best baselines, and divergence if any."""
        comparison = self.comparison
        seeds = comparison.contenders[0].seeds
        sentences = [f"{self.measure}: {DIRECTION[comparison.quality]}"]
        sentences += [f"{len(seeds)} seeds: mean [95 % t interval]" if len(seeds) > 1 else "one seed"]
        sentences += [f"{BEST} {_lengths(of)}: {name}" for name, of in _grouped(self.best).items()]
        if any(diverged(contender, factor) for contender in comparison.contenders for factor in comparison.factors):
            sentences.append("trainings that diverged count with the worst quality")
        return "; ".join(sentences) + "."

    def ahead(self, row: Row, factor: int) -> bool:
        """Return whether a contender is ahead at a length by more than the noise.

        A contender is ahead if it is better than the best baseline, and that baseline is if all others are worse.
        """
        if row["model"] != self.best[factor]:
            return row[f"verdict_{factor}x"] == BETTER
        against = [pair.verdict for pair in self.against_best if pair.factor == factor]
        return bool(against) and all(verdict == WORSE for verdict in against)

    @property
    def notes(self) -> list[str]:
        """Return warnings: learning rates at an end of the grid, no convergence, and a comparison with one seed."""
        notes, contenders = [], self.comparison.contenders
        ends: dict[tuple[str, float], list[str]] = {}
        for contender in contenders:
            if which := at_end(contender.tried, contender.learning_rate):
                ends.setdefault((which, contender.learning_rate), []).append(contender.name)
        beyond = {"smallest": "smaller", "largest": "larger"}
        for (which, rate), names in ends.items():
            notes.append(
                f"The {which} learning rate, {rate:g}, was best for {', '.join(names)}: a {beyond[which]} rate "
                "may be better."
            )
        if improving := still_improving(self.comparison):
            listed = ", ".join(f"{name} (by {number(gain)})" for name, gain in improving.items())
            notes.append(
                f"Not converged: in the last fifth of training, {self.measure} still improved beyond the noise of "
                f"{listed}. More trainer.steps may change the order."
            )
        if len(contenders[0].runs) == 1:
            notes.append("One seed: no difference was tested.")
        return notes


def _row(comparison: Comparison, contender: TrainedContender, pairs: list[Pair], best: dict[int, str]) -> Row:
    runs, name = contender.runs, contender.name
    verdicts = {
        pair.factor: pair.verdict for pair in pairs if (pair.contender, pair.baseline) == (name, best[pair.factor])
    }
    row: Row = {"model": name, "searched": contender.searched, "layers": _layers(contender)}
    for factor in comparison.factors:
        values = counted(comparison, contender, factor)
        ends = interval(values)
        row |= {
            f"share_{factor}x": _mean(run.share[factor] for run in runs),
            f"quality_{factor}x": fmean(values),
            f"low_{factor}x": ends.low,
            f"high_{factor}x": ends.high,
            f"diverged_{factor}x": diverged(contender, factor),
            f"verdict_{factor}x": BEST if best[factor] == name else verdicts.get(factor),
        }
        if comparison.token_loss:
            row[f"loss_{factor}x"] = _mean(run.loss[factor] for run in runs)
    row |= {"parameters": _mean(run.parameters for run in runs), "learning_rate": contender.learning_rate}
    row["training_flops"] = _mean(run.training_flops for run in runs)
    for length in comparison.contexts:
        row[f"flops_per_token_{length}"] = _mean(run.flops_per_token[length] for run in runs)
    for length in comparison.contexts:
        row[f"kv_bytes_{length}"] = _mean(run.kv_bytes[length] for run in runs)
    row["prefill_seconds"] = _mean(run.prefill_seconds for run in runs)
    row["decode_seconds"] = _mean(run.decode_seconds for run in runs)
    return row


def _layers(contender: TrainedContender) -> str:
    """Return the patterns of layers of a contender, each with its number of seeds if there are several."""
    patterns = contender.patterns
    if len(patterns) == 1:
        return next(iter(patterns))
    return " ".join(f"{pattern}:{len(seeds)}" for pattern, seeds in patterns.items())


def _mean(values: Iterable[float | None]) -> float:
    """Return the mean of the known values; nan if no value is known."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return fmean(known) if known else math.nan


def _grouped(best: dict[int, str]) -> dict[str, list[int]]:
    """Return the length factors by name of the best baseline, in order."""
    grouped: dict[str, list[int]] = {}
    for factor, name in best.items():
        grouped.setdefault(name, []).append(factor)
    return grouped


def _lengths(factors: list[int]) -> str:
    return "at " + ", ".join(f"{factor}x" for factor in factors)


def value(row: Row, column: str) -> float:
    """Return a number of a row; the column must not hold text or None."""
    found = row[column]
    assert isinstance(found, int | float), column
    return found
