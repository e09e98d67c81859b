"""Test of the claim: better retrieval than every hand-designed hybrid, at a fraction of the cost."""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean

from nas.comparisons.results import Comparison, TrainedContender
from nas.comparisons.statistics import BETTER, Pair, counted, holm, paired_test, tests, verdict_of
from nas.report.units import markdown, number, p_value, signed

SOFTMAX = "softmax"
AGAINST = (SOFTMAX, "softmax_rope", "linear", "interleaved_3_1")
"""Models that the claim compares with."""
GIVEN = ("random_routing", "strided_routing")
"""Controls whose routes do not depend on content."""
LONGER = 4
"""Multiple of the training length from which the claim holds retrieval to be better."""
MOST_SHARE = 0.25
"""Largest softmax share of the searched model."""
MOST_LOSS = 0.01
"""Largest loss of the searched model in bits per byte on text, relative to softmax."""
ENOUGH = 3
"""Retrieval tasks on which the claim must hold."""


def claim(found: Mapping[str, Comparison], retrieval: Collection[str]) -> str:
    """Render Markdown: for each task and length the searched model against the others, and whether the claim holds.

    Args:
        found: comparisons by task.
        retrieval: names of the retrieval tasks, to which the claim applies.
    """
    parts = [f"## {task}\n\n{_table(comparison)}" for task, comparison in found.items()]
    tasks = {task: comparison for task, comparison in found.items() if task in retrieval}
    verdict = (
        f"The claim: better than {', '.join(AGAINST)} (if compared), at {LONGER} or more times the training length, at "
        f"a softmax share of at most {MOST_SHARE}, p < 0.05. The target is {ENOUGH} of {len(tasks)} "
        "retrieval tasks. The claim holds\n\n"
        f"- at any of these lengths, after Holm over the models at that length: on {_where(tasks, _held)}\n"
        f"- at any of these lengths, after Holm over models and lengths together: on {_where(tasks, _held_of_all)}\n"
        f"- for the mean over these lengths, after Holm over the models: on {_where(tasks, _held_on_average)}\n"
    )
    learnt = {task: found[task] for task in tasks if any(one.name in GIVEN for one in found[task].contenders)}
    routing = [f"## Learnt routing against routing without content\n\n{_gains(learnt)}"] if learnt else []
    return "\n".join([verdict, *map(_modelling, filter(_is_text, found.values())), *routing, *parts])


def _gains(found: Mapping[str, Comparison]) -> str:
    """Tabulate the gain of learnt routing over routing that does not depend on content, at the same share."""
    factors = sorted({factor for comparison in found.values() for factor in comparison.factors})
    rows = []
    for task, comparison in found.items():
        pairs = {(pair.baseline, pair.factor): pair for pair in tests(comparison)}
        for name in (one.name for one in comparison.contenders if one.name in GIVEN):
            row = {"task": task, "against": name}
            rows.append(row | {f"{factor}x": _gain(pairs.get((name, factor))) for factor in factors})
    return markdown(rows)


def _gain(pair: Pair | None) -> str:
    return "-" if pair is None else f"{signed(pair.difference)} (p {p_value(pair.p_holm)})"


def _is_text(comparison: Comparison) -> bool:
    return comparison.quality == "bits_per_byte" and any(one.name == SOFTMAX for one in comparison.contenders)


def _modelling(comparison: Comparison) -> str:
    """Compare the searched model's bits per byte with softmax at the training length, against the allowed loss."""
    bits = {one.name: fmean(counted(comparison, one, 1)) for one in comparison.contenders}
    lines = []
    for one in comparison.searched:
        loss = bits[one.name] / bits[SOFTMAX] - 1
        verdict = "within" if loss <= MOST_LOSS else "more than"
        lines.append(
            f"On text {one.name} reaches {bits[one.name]:.3f} bits per byte at a softmax share of "
            f"{_share(comparison, 1):.3f}; softmax reaches {bits[SOFTMAX]:.3f}. The difference is {100 * loss:+.1f} %, "
            f"{verdict} the allowed {100 * MOST_LOSS:g} %.\n"
        )
    return "\n".join(lines)


def _where(tasks: Mapping[str, Comparison], held: Callable[[Comparison], str | None]) -> str:
    """Format the number of tasks on which the claim holds, and their names."""
    lines = [f"{task}{lengths}" for task, one in tasks.items() if (lengths := held(one)) is not None]
    return f"{len(lines)} ({', '.join(lines) or 'none'})"


def _held(comparison: Comparison) -> str | None:
    """Return the lengths at which the claim holds; None without any."""
    return _lengths(comparison, [(pair.factor, pair.verdict) for pair in _claim_tests(comparison)])


def _held_of_all(comparison: Comparison) -> str | None:
    """Return the lengths at which the claim holds if p-values are adjusted over all its lengths and models."""
    pairs = _claim_tests(comparison)
    sign = 1 if comparison.higher else -1
    adjusted = zip(pairs, holm([pair.p for pair in pairs]), strict=True)
    return _lengths(comparison, [(pair.factor, verdict_of(sign * pair.difference, p)) for pair, p in adjusted])


def _claim_tests(comparison: Comparison) -> list[Pair]:
    """Return the tests of the claim."""
    return [
        pair for pair in tests(comparison) if pair.factor in _claim_factors(comparison) and pair.baseline in AGAINST
    ]


def _claim_factors(comparison: Comparison) -> list[int]:
    """Return the lengths of the claim, as multiples of the training length."""
    return [factor for factor in comparison.factors if factor >= LONGER]


def _lengths(comparison: Comparison, verdicts: Sequence[tuple[int, str]]) -> str | None:
    """Return the lengths at which all verdicts favour the searched model and its share is small enough, or None."""
    held = [
        f"{factor}x"
        for factor in sorted({factor for factor, _ in verdicts})
        if _share(comparison, factor) <= MOST_SHARE and all(each == BETTER for at, each in verdicts if at == factor)
    ]
    return f" at {' and '.join(held)}" if held else None


def _held_on_average(comparison: Comparison) -> str | None:
    """Return "" if the mean quality over these lengths is better than that of each baseline after Holm, else None."""
    factors = _claim_factors(comparison)
    if not factors or max(_share(comparison, factor) for factor in factors) > MOST_SHARE:
        return None

    def means(contender: TrainedContender) -> list[float]:
        return [fmean(each) for each in zip(*(counted(comparison, contender, f) for f in factors), strict=True)]

    others = [means(one) for one in comparison.baselines if one.name in AGAINST]
    holds = bool(others) and all(
        verdict_of(fmean(mine) - fmean(other), p) == BETTER
        for mine in map(means, comparison.searched)
        for other, p in zip(others, holm([paired_test(mine, other) for other in others]), strict=True)
    )
    return "" if holds else None


def _share(comparison: Comparison, factor: int) -> float:
    """Return the mean softmax share of the searched models."""
    runs = [run for contender in comparison.searched for run in contender.runs]
    return fmean(run.share[factor] for run in runs)


def _table(comparison: Comparison) -> str:
    """Tabulate a row per model and a column per length: mean quality, and the verdict of the searched model on it."""
    pairs = {(pair.baseline, pair.factor): pair for pair in tests(comparison)}
    rows = []
    for contender in comparison.contenders:
        row = {"model": contender.name, "share": number(fmean(run.share[1] for run in contender.runs))}
        for factor in comparison.factors:
            mean = number(fmean(counted(comparison, contender, factor)))
            row[f"{factor}x"] = mean + _verdict(pairs.get((contender.name, factor)))
        rows.append(row)
    return markdown(rows)


def _verdict(pair: Pair | None) -> str:
    """Format the verdict of the searched model against a baseline."""
    return "" if pair is None or pair.p_holm is None else f" (searched: {pair.verdict}, p {p_value(pair.p_holm)})"
