"""What the comparisons say of the claim: retrieval better than by every hand-designed hybrid, at a part of the cost."""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean

from nas.comparisons.results import Comparison, Entrant
from nas.comparisons.statistics import BETTER, Pair, counted, holm, paired_test, tests, verdict_of
from nas.report.units import markdown, number, p_value, signed

SOFTMAX = "softmax"
AGAINST = (SOFTMAX, "softmax_rope", "linear", "interleaved_3_1")
"""Whom the claim is about."""
GIVEN = ("random_routing", "strided_routing")
"""Whose routes content does not decide."""
LONGER = 4
"""Times the training length from which on retrieval is claimed to be better."""
MOST_SHARE = 0.25
"""Of softmax chunks that the searched model may need."""
MOST_LOSS = 0.01
"""Of bits per byte, as a part of those of softmax, that the searched model may lose on text."""
ENOUGH = 3
"""Retrieval tasks on which it is to hold."""


def claim(found: Mapping[str, Comparison], retrieval: Collection[str]) -> str:
    """Markdown: for each task and length the searched model beside each other one, and whether the claim holds.

    Args:
        found: comparisons by task.
        retrieval: the tasks that ask for retrieval, which the claim is about.
    """
    parts = [f"## {task}\n\n{_table(comparison)}" for task, comparison in found.items()]
    asked = {task: comparison for task, comparison in found.items() if task in retrieval}
    verdict = (
        f"Better than {', '.join(AGAINST)}, where they took part, at {LONGER} or more times the training length, at a "
        f"softmax share of at most {MOST_SHARE}, p < 0.05. The target is {ENOUGH} of {len(asked)} "
        "retrieval tasks. It holds\n\n"
        f"- at any of these lengths, after Holm over the models at that length: on {_where(asked, _held)}\n"
        f"- the same, after Holm over these models and lengths together: on {_where(asked, _held_of_all)}\n"
        f"- by the mean over these lengths, after Holm over these models: on {_where(asked, _held_on_average)}\n"
    )
    learnt = {task: found[task] for task in asked if any(one.name in GIVEN for one in found[task].entrants)}
    routing = [f"## Learnt against given routing\n\n{_gains(learnt)}"] if learnt else []
    return "\n".join([verdict, *map(_modelling, filter(_is_text, found.values())), *routing, *parts])


def _gains(found: Mapping[str, Comparison]) -> str:
    """By how much learnt routing is better than routing that content does not decide, at the same share."""
    factors = sorted({factor for comparison in found.values() for factor in comparison.factors})
    rows = []
    for task, comparison in found.items():
        pairs = {(pair.baseline, pair.factor): pair for pair in tests(comparison)}
        for name in (one.name for one in comparison.entrants if one.name in GIVEN):
            row = {"task": task, "against": name}
            rows.append(row | {f"{factor}x": _gain(pairs.get((name, factor))) for factor in factors})
    return markdown(rows)


def _gain(pair: Pair | None) -> str:
    return "-" if pair is None else f"{signed(pair.difference)} (p {p_value(pair.p_holm)})"


def _is_text(comparison: Comparison) -> bool:
    return comparison.quality == "bits_per_byte" and any(one.name == SOFTMAX for one in comparison.entrants)


def _modelling(comparison: Comparison) -> str:
    """Whether language modelling loses anything by what was searched, at the training length."""
    bits = {one.name: fmean(counted(comparison, one, 1)) for one in comparison.entrants}
    told = []
    for one in comparison.searched:
        loss = bits[one.name] / bits[SOFTMAX] - 1
        verdict = "within" if loss <= MOST_LOSS else "more than"
        told.append(
            f"On text {one.name} needs {bits[one.name]:.3f} bits per byte at a softmax share of "
            f"{_share(comparison, 1):.3f}, softmax {bits[SOFTMAX]:.3f}: {100 * loss:+.1f} %, {verdict} the "
            f"{100 * MOST_LOSS:g} % allowed.\n"
        )
    return "\n".join(told)


def _where(asked: Mapping[str, Comparison], held: Callable[[Comparison], str | None]) -> str:
    """How many tasks it holds on, and which."""
    told = [f"{task}{lengths}" for task, one in asked.items() if (lengths := held(one)) is not None]
    return f"{len(told)} ({', '.join(told) or 'none'})"


def _held(comparison: Comparison) -> str | None:
    """The lengths at which the claim holds; None without any."""
    return _lengths(comparison, [(pair.factor, pair.verdict) for pair in _asked(comparison)])


def _held_of_all(comparison: Comparison) -> str | None:
    """The same, with p-values that are adjusted for every length and model that the claim is about."""
    pairs = _asked(comparison)
    sign = 1 if comparison.higher else -1
    adjusted = zip(pairs, holm([pair.p for pair in pairs]), strict=True)
    return _lengths(comparison, [(pair.factor, verdict_of(sign * pair.difference, p)) for pair, p in adjusted])


def _asked(comparison: Comparison) -> list[Pair]:
    """The tests that the claim is about."""
    return [pair for pair in tests(comparison) if pair.factor in _longer(comparison) and pair.baseline in AGAINST]


def _longer(comparison: Comparison) -> list[int]:
    """The lengths that the claim is about, times that of training."""
    return [factor for factor in comparison.factors if factor >= LONGER]


def _lengths(comparison: Comparison, verdicts: Sequence[tuple[int, str]]) -> str | None:
    """Those at which all verdicts are for the searched model, and it is cheap enough; None without any."""
    held = [
        f"{factor}x"
        for factor in sorted({factor for factor, _ in verdicts})
        if _share(comparison, factor) <= MOST_SHARE and all(each == BETTER for at, each in verdicts if at == factor)
    ]
    return f" at {' and '.join(held)}" if held else None


def _held_on_average(comparison: Comparison) -> str | None:
    """Empty if the mean quality over all these lengths is better than that of each, after Holm; else None."""
    factors = _longer(comparison)
    if not factors or max(_share(comparison, factor) for factor in factors) > MOST_SHARE:
        return None

    def means(entrant: Entrant) -> list[float]:
        return [fmean(each) for each in zip(*(counted(comparison, entrant, f) for f in factors), strict=True)]

    others = [means(one) for one in comparison.baselines if one.name in AGAINST]
    holds = bool(others) and all(
        verdict_of(fmean(mine) - fmean(other), p) == BETTER
        for mine in map(means, comparison.searched)
        for other, p in zip(others, holm([paired_test(mine, other) for other in others]), strict=True)
    )
    return "" if holds else None


def _share(comparison: Comparison, factor: int) -> float:
    """The mean share of softmax chunks of what was searched."""
    runs = [run for entrant in comparison.searched for run in entrant.runs]
    return fmean(run.share[factor] for run in runs)


def _table(comparison: Comparison) -> str:
    """One line a model and one column a length: mean quality, and how the searched model stands to it."""
    pairs = {(pair.baseline, pair.factor): pair for pair in tests(comparison)}
    rows = []
    for entrant in comparison.entrants:
        row = {"model": entrant.name, "share": number(fmean(run.share[1] for run in entrant.runs))}
        for factor in comparison.factors:
            mean = number(fmean(counted(comparison, entrant, factor)))
            row[f"{factor}x"] = mean + _standing(pairs.get((entrant.name, factor)))
        rows.append(row)
    return markdown(rows)


def _standing(pair: Pair | None) -> str:
    """How what was searched stands to a baseline."""
    return "" if pair is None or pair.p_holm is None else f" (searched: {pair.verdict}, p {p_value(pair.p_holm)})"
