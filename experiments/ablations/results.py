"""Results of the ablations: precision and completeness of routes after training, their development, and tests."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from experiments.runs import MadeRun, finished_run
from nas.comparisons.statistics import holm, interval, paired_test, verdict_of
from nas.evaluation.planted import Found
from nas.report.units import markdown, number, p_value, signed
from nas.runs.folder import Run
from nas.runs.history import history

ENOUGH = 0.9
"""Recall of planted chunks from which they count as found."""
NEVER = "-"
ABOUT = (
    "Planted precision and recall are of the retrieving layer after training: of the chunks that any of its heads "
    "sends to softmax; 0 if it sends none. Steps are means over the seeds that reached the state, with their number "
    "if not all did. If routers start by sending every chunk to softmax, planted recall is 1 before they have learned "
    "anything; only precision is informative then. With chunks of 8 or 64 tokens, the shortest default sequences have "
    "no room for the blocks, so these variants use data.min_length=128 and are compared with the default at that "
    "length. Blocks are as long as chunks, so the share of planted chunks depends on model.chunk_size; the budget "
    "does not. On a GPU, chunks of 8 are computed without the Triton kernels."
)
"""How to read the first table."""

NOTHING_FOUND = Found(math.nan, math.nan)
Points = list[tuple[int, float]]
"""Pairs of step and value, by step."""


@dataclass(frozen=True)
class Ablation:
    """One variant of the default search.

    Attributes:
        options: options as typed, also its name; "default" for none.
        against: options of the variant that it is compared with.
    """

    options: str
    against: str = "default"

    @property
    def given(self) -> list[str]:
        """Return the options as separate arguments."""
        return [] if self.options == BASE.options else self.options.split()


BASE = Ablation("default")


@dataclass(frozen=True)
class Trained:
    """The figures of one run.

    Attributes:
        share: share of softmax chunks after training, at the training length.
        recall: recall of queried values, by multiple of the training length; 0 if training diverged.
        precision, found: precision and recall of the planted chunks in the retrieving layer after training; 0 if it
            keeps no chunk, or if no layer routes.
        began: steps before routing began; None if it never did.
        tightened: the first logged step at which the allowed share equals the target; None without such a step.
        curves: "precision" and "recall" of the planted chunks at validation steps, in the layer that finds most.
        seconds: wall time of the command; None if unknown.
    """

    share: float
    recall: dict[str, float]
    precision: float
    found: float
    began: int | None
    tightened: int | None
    curves: dict[str, Points]
    seconds: float | None

    def enough_at(self, *names: str) -> int | None:
        """Return the first validated step at which these, "recall" or "precision", are all at least `ENOUGH`."""
        enough = ({step for step, value in self.curves[name] if value >= ENOUGH} for name in names)
        return min(set.intersection(*enough), default=None)


def trained(folder: Path, run: MadeRun) -> Trained:
    """Return the figures of the run in ``folder``."""
    return of_run(run, history(Run(finished_run(folder))))


def of_run(run: MadeRun, steps: Sequence[Mapping[str, float]]) -> Trained:
    """Return the figures of a run from its metrics and its logged steps, see `nas.runs.history.history`."""
    metrics, learnt = run.metrics, run.metrics.learnt
    retrieving = metrics.retrieving_layer or NOTHING_FOUND
    target = metrics.budget.target
    reached = (int(row["step"]) for row in steps if math.isclose(row.get("target", math.nan), target, rel_tol=1e-5))
    return Trained(
        share=_or_zero(learnt.at_training_length.share),
        recall={f"{factor}x": _or_zero(figures.quality) for factor, figures in learnt.by_factor.items()},
        precision=_or_zero(retrieving.precision),
        found=_or_zero(retrieving.recall),
        began=metrics.budget.dense_steps,
        tightened=next(reached, None),
        curves={name: _points(steps, f"validation_planted_{name}") for name in ("precision", "recall")},
        seconds=run.wall_seconds,
    )


def _points(steps: Sequence[Mapping[str, float]], key: str) -> Points:
    return [(int(row["step"]), row[key]) for row in steps if key in row]


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def report(variants: Sequence[Ablation], found: Mapping[str, Sequence[Trained]], picture: str) -> str:
    """Render all tables and the figure as Markdown.

    Args:
        variants: the default first, then the variants to compare with it or with each other.
        found: runs by seed, keyed by the variant's options.
        picture: file name of the figure.
    """
    seeds = len(found[BASE.options])
    tested = [variant for variant in variants if variant is not BASE and variant.against in found]
    parts = [
        "# Which settings decide whether routers find the planted chunks",
        f"The default search on planted recall, and searches that differ from it in one setting. Cells are means "
        f"(minimum to maximum) over {seeds} seeds. {ABOUT}",
        markdown([_row(variant, found[variant.options]) for variant in variants]),
    ]
    if tested:
        parts += [
            "## Differences",
            "Mean difference over seeds [95 % t interval], and p of a two-sided paired t-test, adjusted for "
            "all tests in a column (Holm). The verdict follows p; the interval is too narrow with few seeds.",
            markdown(_differences(tested, found)),
        ]
    parts += [
        "## Over training",
        "Precision and recall of the layer with the largest F1 at each validation, one line for each seed, from the "
        "step at which routing begins.",
        f"![Precision and recall of planted chunks over training]({picture})\n",
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _row(variant: Ablation, runs: Sequence[Trained]) -> dict[str, str]:
    row = {"variant": variant.options, "softmax share": _spread([run.share for run in runs])}
    for factor in runs[0].recall:
        row[f"recall at {factor}"] = _spread([run.recall[factor] for run in runs])
    seconds = [run.seconds for run in runs if run.seconds is not None]
    return row | {
        "planted precision": _spread([run.precision for run in runs]),
        "planted recall": _spread([run.found for run in runs]),
        "routing began": _steps([run.began for run in runs]),
        "tightened": _steps([run.tightened for run in runs]),
        f"planted recall >= {ENOUGH:g}": _steps([run.enough_at("recall") for run in runs]),
        "and precision": _steps([run.enough_at("recall", "precision") for run in runs]),
        "seconds": f"{fmean(seconds):.0f}" if seconds else "-",
    }


def _spread(values: Sequence[float]) -> str:
    mean = number(fmean(values))
    return mean if len(values) == 1 else f"{mean} ({number(min(values))} to {number(max(values))})"


def _steps(steps: Sequence[int | None]) -> str:
    """Format the mean step, with the number of seeds that reached it if not all did."""
    known = [step for step in steps if step is not None]
    if not known:
        return NEVER
    mean = f"{fmean(known):.0f}"
    return mean if len(known) == len(steps) else f"{mean} ({len(known)} of {len(steps)})"


def _differences(variants: Sequence[Ablation], found: Mapping[str, Sequence[Trained]]) -> list[dict[str, str]]:
    """Return a row for each variant, with a column for each tested measure."""
    factors = list(found[BASE.options][0].recall)
    measures: dict[str, Callable[[Trained], float]] = {
        f"recall at {factor}": lambda run, factor=factor: run.recall[factor]  # type: ignore[misc]
        for factor in dict.fromkeys((factors[0], factors[-1]))
    }
    measures |= {"planted precision": lambda run: run.precision, "planted recall": lambda run: run.found}
    rows = [{"variant": variant.options, "against": variant.against} for variant in variants]
    for name, measure in measures.items():
        pairs = [(_each(measure, found[one.options]), _each(measure, found[one.against])) for one in variants]
        adjusted = holm([paired_test(mine, other) for mine, other in pairs])
        for row, (mine, other), p in zip(rows, pairs, adjusted, strict=True):
            row[name] = _difference([a - b for a, b in zip(mine, other, strict=True)], p)
    return rows


def _each(measure: Callable[[Trained], float], runs: Sequence[Trained]) -> list[float]:
    return [measure(run) for run in runs]


def _difference(differences: Sequence[float], p: float | None) -> str:
    mean, (low, high) = fmean(differences), interval(differences)
    verdict = verdict_of(mean, p)
    if p is None:
        return f"{signed(mean)}: {verdict}"
    return f"{signed(mean)} [{signed(low)}, {signed(high)}], p {p_value(p)}: {verdict}"
