"""Tables of the ranking study: patterns, rank correlations, and selected patterns with their regret."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.ranking import predictors
from experiments.ranking.scores import LETTERS, Alone, Score, Scores, Supernet
from experiments.ranking.searchers import choose, searchers
from nas.comparisons.statistics import Interval
from nas.evaluation.metrics import HIGHER
from nas.report.units import count, markdown, number, signed
from nas.runs.metrics import Metrics

DRAWS = 10_000
"""Number of simulated random searches and of bootstrap samples."""


def report(alone: Alone, shared: Mapping[str, Sequence[Supernet]], searched: Mapping[str, Sequence[Metrics]]) -> str:
    """Render all tables as Markdown.

    Args:
        alone: every pattern trained alone.
        shared: each kind of supernet, by seed.
        searched: metrics of each gradient search, by seed.
    """
    within = f"at a softmax share of at most {alone.budget:g}"
    parts = (
        ("Each pattern alone (s softmax, l linear, first layer first)", _patterns(alone)),
        ("Rankings against training alone", _correlations(alone, shared)),
        (f"Patterns that searches selected {within}, and their regret", _picks(alone, shared, searched)),
        (f"Random search by training alone {within}, best of k", _random(alone)),
    )
    return "\n".join(f"## {title}\n\n{table}" for title, table in parts)


def _patterns(alone: Alone) -> str:
    return markdown(
        [
            {
                "pattern": pattern,
                "mean loss": number(alone.losses[pattern]),
                "loss by seed": " ".join(number(one.loss) for one in alone.scores[pattern]),
                f"{_measure(alone)} by seed": " ".join(number(one.quality) for one in alone.scores[pattern]),
            }
            for pattern in sorted(alone.losses, key=alone.losses.__getitem__)
        ]
    )


def _measure(alone: Alone) -> str:
    return alone.quality.replace("_", " ")


def _correlations(alone: Alone, shared: Mapping[str, Sequence[Supernet]]) -> str:
    """Tabulate Kendall's tau (b) of each supernet, of one training alone, and of predictors that need no training."""
    rows = []
    for kind, by_seed in shared.items():
        rows.append(_correlation(alone, kind, [one.scores for one in by_seed], [alone.scores] * len(by_seed)))
    seeds = range(min(map(len, alone.scores.values())))
    if len(seeds) > 1:
        single = [{pattern: own[seed] for pattern, own in alone.scores.items()} for seed in seeds]
        others = [{p: [*own[:seed], *own[seed + 1 :]] for p, own in alone.scores.items()} for seed in seeds]
        rows.append(_correlation(alone, "one training alone, against the other seeds", single, others))
    sign = -1 if HIGHER[alone.quality] else 1
    for name, predicted in _predictions(alone).items():
        scores = {pattern: Score(loss, sign * loss) for pattern, loss in predicted.items()}
        rows.append(_correlation(alone, name, [scores], [alone.scores]))
    return markdown(rows)


def _predictions(alone: Alone) -> dict[str, dict[str, float]]:
    costs = {pattern: runs[0].cost.flops_per_token for pattern, runs in alone.runs.items()}
    return predictors.predictions({pattern: own[min(own)] for pattern, own in costs.items()})


def _correlation(
    alone: Alone, name: str, by_seed: Sequence[Scores], truths: Sequence[Mapping[str, Sequence[Score]]]
) -> dict[str, str]:
    row = {"ranking": name}
    for figure in Score._fields:
        pairs = []
        for own, truth in zip(by_seed, truths, strict=True):
            means = [statistics.mean(getattr(one, figure) for one in runs) for runs in truth.values()]
            pairs.append((_rounded([getattr(own[pattern], figure) for pattern in truth]), _rounded(means)))
        taus = [predictors.tau(*pair) for pair in pairs]
        label = "loss" if figure == "loss" else _measure(alone)
        row[f"tau by {label}"] = " ".join(map(number, taus))
        row[f"mean tau by {label}"] = number(statistics.mean(taus))
        row[f"95 % interval by {label}"] = _ends(predictors.interval(pairs))
    return row


def _rounded(values: Sequence[float]) -> list[float]:
    """Round values to the precision of the tables, so that equal entries count as equal."""
    return [round(value, 3) for value in values]


def _ends(ends: Interval) -> str:
    return f"{number(ends.low)} to {number(ends.high)}"


def _picks(alone: Alone, shared: Mapping[str, Sequence[Supernet]], searched: Mapping[str, Sequence[Metrics]]) -> str:
    """Tabulate each searcher's selections, and how much worse they are than the best pattern within the budget."""
    rows = []
    for name, runs in searched.items():
        rows.append(_picked(alone, f"gradient, {name}", [_selected(run) for run in runs], runs[0].training_tokens))
    for kind, by_seed in shared.items():
        picks = [min(alone.allowed, key=lambda pattern: one.scores[pattern].loss) for one in by_seed]
        rows.append(_picked(alone, f"{kind}; best score of all", picks, by_seed[0].tokens))
        for name, settings in searchers(len(picks[0])).items():
            picks = [choose(settings, one.scores, alone.allowed, alone.quality, at) for at, one in enumerate(by_seed)]
            label = f"{kind}; {name}, {settings.evaluations} scored"
            rows.append(_picked(alone, label, picks, by_seed[0].tokens))
    for name, predicted in _predictions(alone).items():
        least = min(predicted[pattern] for pattern in alone.allowed)
        equal = [pattern for pattern in alone.allowed if predicted[pattern] == least]
        rows.append(_picked(alone, f"{name}; mean over equals", equal, 0))
    return markdown(rows)


def _selected(metrics: Metrics) -> str:
    assert metrics.choices is not None
    return "".join(LETTERS[choice.found] for choice in metrics.choices)


def _picked(alone: Alone, name: str, picks: Sequence[str], tokens: int) -> dict[str, str]:
    """Return the row of a searcher with its selections; a selection over the budget has no rank."""
    order, regrets = alone.allowed, [alone.regret(pattern) for pattern in picks]
    return {
        "searcher": name,
        "training tokens": count(tokens),
        "selected, by seed": " ".join(picks),
        f"rank of {len(order)}": " ".join(str(order.index(p) + 1) if p in order else "-" for p in picks),
        f"mean {_measure(alone)} alone": number(statistics.mean(alone.qualities[pattern] for pattern in picks)),
        "mean regret": signed(statistics.mean(regrets)),
        "95 % interval": _ends(_interval(regrets)),
    }


def _interval(values: Sequence[float]) -> Interval:
    """Return the 95 % bootstrap interval of the mean."""
    means = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(axis=1)
    return Interval(*np.quantile(means, [0.025, 0.975]))


def _random(alone: Alone) -> str:
    """Simulate random search: train k of the allowed patterns once each, and keep the one of lowest loss."""
    draw, allowed = np.random.default_rng(0), alone.allowed
    order = draw.permuted(np.tile(np.arange(len(allowed)), (DRAWS, 1)), axis=1)
    losses = np.array([[one.loss for one in alone.scores[pattern]] for pattern in allowed])
    tried = losses[order, draw.integers(losses.shape[1], size=order.shape)]
    qualities, regrets = (
        np.array([value(pattern) for pattern in allowed]) for value in (alone.qualities.__getitem__, alone.regret)
    )
    rows = []
    for trainings in range(1, len(allowed) + 1):
        kept = order[np.arange(DRAWS), tried[:, :trainings].argmin(axis=1)]
        rows.append(
            {
                "trainings": str(trainings),
                "training tokens": count(trainings * alone.tokens),
                f"mean {_measure(alone)} alone of the selected pattern": number(float(qualities[kept].mean())),
                "mean regret": signed(float(regrets[kept].mean())),
            }
        )
    return markdown(rows)
