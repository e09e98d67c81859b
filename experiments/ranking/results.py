"""Tables of the ranking study: patterns, rank correlations, and the patterns that searches selected."""

import json
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import kendalltau

from nas.models.operations import OPERATIONS
from nas.report.units import markdown, number
from nas.runs.candidate import Candidate
from nas.runs.decode import decode
from nas.runs.metrics import Figures, Metrics

LETTERS = {name: operation.look.letter for name, operation in OPERATIONS.items()}
DRAWS = 10_000
"""Number of simulated random searches and of bootstrap samples."""


class Score(NamedTuple):
    """Loss and recall of a pattern."""

    loss: float
    quality: float


Scores = Mapping[str, Score]
"""Scores by pattern."""


def full_name(pattern: str) -> str:
    """Return the architecture= value of nas.train for a pattern such as slls."""
    names = {letter: name for name, letter in LETTERS.items()}
    return "-".join(names[letter] for letter in pattern)


def scores(folder: Path) -> Scores:
    """Return the loss and recall of every pattern with the shared weights of a search."""
    (path,) = folder.glob("*/*/candidates.json")
    return by_pattern(decode(list[Candidate], json.loads(path.read_text(encoding="utf-8")), str(path)))


def by_pattern(candidates: Sequence[Candidate]) -> Scores:
    """Return the scores of a search's candidates by pattern."""
    return {"".join(LETTERS[name] for name in one.options): Score(one.loss, one.quality) for one in candidates}


def report(
    alone: Mapping[str, Sequence[Metrics]],
    shared: Mapping[str, Sequence[Scores]],
    searched: Mapping[str, Sequence[Metrics]],
    budget: float,
) -> str:
    """Render all tables as Markdown.

    Args:
        alone: metrics of each pattern trained alone, by seed.
        shared: scores of each kind of supernet, by seed.
        searched: metrics of each relaxation's searches, by seed.
        budget: softmax share that these searches aim for.
    """
    losses = {pattern: [_trained(run).loss for run in runs] for pattern, runs in alone.items()}
    recalls = {pattern: statistics.mean(_trained(run).quality for run in runs) for pattern, runs in alone.items()}
    truth = {pattern: statistics.mean(own) for pattern, own in losses.items()}
    allowed = [pattern for pattern in truth if pattern.count("s") <= budget * len(pattern) + 1e-9]
    picks = {name: [_picked(run) for run in runs] for name, runs in searched.items()}
    for kind, by_seed in shared.items():
        picks[f"single path, {kind}; best score"] = [_best(own, allowed) for own in by_seed]
    parts = (
        ("Each pattern alone (s softmax, l linear, first layer first)", _patterns(alone, losses, truth)),
        ("Shared weights against training alone", _correlations(alone, shared)),
        (
            f"Patterns that searches selected at a softmax share of at most {budget:g}",
            _picks(picks, truth, recalls, allowed),
        ),
        ("Random search by training alone, best of k", _random(losses, truth, recalls, allowed)),
    )
    return "\n".join(f"## {title}\n\n{table}" for title, table in parts)


def _best(scores: Scores, allowed: Sequence[str]) -> str:
    """Return the allowed pattern of lowest loss."""
    return min(allowed, key=lambda pattern: scores[pattern].loss)


def _trained(metrics: Metrics) -> Figures:
    """Return the figures of a run's final model at the training length."""
    return metrics.learnt.at_training_length


def _score(metrics: Metrics) -> Score:
    own = _trained(metrics)
    return Score(own.loss, own.quality)


def _picked(metrics: Metrics) -> str:
    assert metrics.choices is not None
    return "".join(LETTERS[choice.found] for choice in metrics.choices)


def _patterns(
    alone: Mapping[str, Sequence[Metrics]], losses: Mapping[str, Sequence[float]], truth: Mapping[str, float]
) -> str:
    return markdown(
        [
            {
                "pattern": pattern,
                "mean loss": number(truth[pattern]),
                "loss by seed": " ".join(map(number, losses[pattern])),
                "recall by seed": " ".join(number(_trained(run).quality) for run in alone[pattern]),
            }
            for pattern in sorted(truth, key=truth.__getitem__)
        ]
    )


def _correlations(alone: Mapping[str, Sequence[Metrics]], shared: Mapping[str, Sequence[Scores]]) -> str:
    """Tabulate Kendall's tau (b) of each supernet, and of one stand-alone training: the limit set by noise."""
    rows = [_correlation(kind, by_seed, [alone] * len(by_seed)) for kind, by_seed in shared.items()]
    seeds = range(min(map(len, alone.values())))
    if len(seeds) > 1:
        single = [{pattern: _score(runs[seed]) for pattern, runs in alone.items()} for seed in seeds]
        others = [{p: [*runs[:seed], *runs[seed + 1 :]] for p, runs in alone.items()} for seed in seeds]
        rows.append(_correlation("none: one training alone, against the other seeds", single, others))
    return markdown(rows)


def _correlation(
    name: str, by_seed: Sequence[Scores], truths: Sequence[Mapping[str, Sequence[Metrics]]]
) -> dict[str, str]:
    row = {"supernet": name}
    for figure in Score._fields:
        taus = []
        for own, truth in zip(by_seed, truths, strict=True):
            alone = [statistics.mean(getattr(_score(run), figure) for run in runs) for runs in truth.values()]
            scored = [getattr(own[pattern], figure) for pattern in truth]
            taus.append(float(kendalltau(_rounded(scored), _rounded(alone)).statistic))
        known = [tau for tau in taus if tau == tau]
        label = {"loss": "tau by loss", "quality": "tau by recall"}[figure]
        row[label] = " ".join("-" if tau != tau else number(tau) for tau in taus)
        row[f"mean {label}"] = number(statistics.mean(known)) if len(known) == len(taus) else "-"
    return row


def _rounded(values: Sequence[float]) -> list[float]:
    """Round values to the precision of the tables, so that equal entries count as equal."""
    return [round(value, 3) for value in values]


def _picks(
    picks: Mapping[str, Sequence[str]],
    truth: Mapping[str, float],
    recalls: Mapping[str, float],
    allowed: Sequence[str],
) -> str:
    """Tabulate each searcher's selections, their rank among the allowed patterns, and their stand-alone recall."""
    order = sorted(allowed, key=truth.__getitem__)
    rows = []
    for name, own in picks.items():
        low, high = _interval([recalls[pattern] for pattern in own])
        rows.append(
            {
                "searcher": name,
                "selected, by seed": " ".join(own),
                f"rank of {len(order)}": " ".join(str(order.index(p) + 1) if p in order else "-" for p in own),
                "mean recall alone": number(statistics.mean(recalls[pattern] for pattern in own)),
                "95 % interval": f"{number(low)} to {number(high)}",
            }
        )
    return markdown(rows)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean."""
    draw = random.Random(0)
    means = sorted(statistics.mean(draw.choices(values, k=len(values))) for _ in range(DRAWS))
    return means[int(0.025 * DRAWS)], means[int(0.975 * DRAWS)]


def _random(
    losses: Mapping[str, Sequence[float]],
    truth: Mapping[str, float],
    recalls: Mapping[str, float],
    allowed: Sequence[str],
) -> str:
    """Simulate random search: train k of the allowed patterns once each, and keep the one of lowest loss."""
    draw, rows = random.Random(0), []
    for count in range(1, len(allowed) + 1):
        found = []
        for _ in range(DRAWS):
            tried = draw.sample(list(allowed), count)
            found.append(recalls[min(tried, key=lambda pattern: draw.choice(losses[pattern]))])
        rows.append(
            {"trainings": str(count), "mean recall alone of the selected pattern": number(statistics.mean(found))}
        )
    return markdown(rows)
