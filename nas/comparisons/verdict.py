"""The verdict on a comparison: sentences to read before its tables."""

from collections.abc import Sequence
from statistics import fmean

from nas.comparisons.results import Comparison, TrainedContender
from nas.comparisons.statistics import BETTER, NOISE, ONE_SEED, Pair, counted
from nas.comparisons.summary import Summary
from nas.evaluation.noise import Estimate, margin
from nas.report.units import number, signed


def verdict(summary: Summary) -> list[str]:
    """Return the verdict: what was not learnt, and the tests at the shortest and the longest length.

    The tests are those of searched contenders against the best baseline, or those of all contenders against the best
    one if no test has a searched contender. Of all placements of a pattern, the verdict names the one that tuning
    chose, and the tests against it.
    """
    comparison, measure = summary.comparison, summary.measure
    failed = _not_learnt(comparison)
    chance = number(comparison.chance)
    if len(failed) == len(comparison.contenders):
        return [
            f"Nothing was learnt: no model's {measure} is better than chance, {chance}. Train longer; the comparison "
            "means nothing yet."
        ]
    made = []
    if failed:
        made.append(f"Nothing was learnt by {', '.join(failed)}: {measure} is no better than chance, {chance}.")
    factors = comparison.factors
    for factor in sorted({min(factors), max(factors)}):
        made += _at(summary, [pair for pair in summary.against_best if pair.factor == factor])
    return [*made, *_placements(summary)]


def _placements(summary: Summary) -> list[str]:
    """Return the sentences on the best placement of each pattern, chosen on tuning seeds."""
    comparison, made = summary.comparison, list[str]()
    ends = sorted({min(comparison.factors), max(comparison.factors)})
    for name, contender in comparison.best_placements.items():
        measured = " and ".join(
            f"{number(fmean(counted(comparison, contender, factor)))} {at_length(factor)}" for factor in ends
        )
        made.append(
            f"The best placement by hand of {name}, chosen on the tuning seeds, is {contender.name}: {summary.measure} "
            f"{measured}."
        )
        made += [
            _sentence(summary, pair, "the best placement by hand")
            for pair in summary.pairs
            if pair.baseline == contender.name and pair.factor in ends and summary.best[pair.factor] != contender.name
        ]
    return made


def _not_learnt(comparison: Comparison) -> list[str]:
    """Return the names of contenders whose quality is not better than chance by more than the noise."""
    return [contender.name for contender in comparison.contenders if not _learnt(comparison, contender)]


def _learnt(comparison: Comparison, contender: TrainedContender) -> bool:
    if comparison.chance is None:
        return True
    factor = min(comparison.factors)
    values = counted(comparison, contender, factor)
    noise = margin(values) if len(values) > 1 else contender.runs[0].margin.get(factor, 0.0)
    return Estimate(fmean(values), noise).better(comparison.chance, comparison.higher)


def _at(summary: Summary, pairs: Sequence[Pair]) -> list[str]:
    """Return the sentences on the tests against the best baseline of one length."""
    searched = {contender.name for contender in summary.comparison.searched}
    if own := [pair for pair in pairs if pair.contender in searched]:
        return [_sentence(summary, pair) for pair in own]
    if not pairs:
        return []
    best, at = pairs[0].baseline, at_length(pairs[0].factor)
    if pairs[0].verdict == ONE_SEED:
        return [f"{best} is the best {at}, from one seed: no difference was tested."]
    equal = [pair.contender for pair in pairs if pair.verdict == NOISE]
    if not equal:
        return [f"{best} is ahead of all other models {at}, beyond the noise of the seeds."]
    return [f"{best} is the best {at}, but its lead over {', '.join(equal)} is within the noise of the seeds."]


def _sentence(summary: Summary, pair: Pair, role: str = "the best baseline") -> str:
    """Return the verdict on a searched contender, with the difference and its interval.

    Args:
        summary: the summary of the comparison.
        pair: the test.
        role: what the other contender is.
    """
    of, against, at = pair.contender, pair.baseline, at_length(pair.factor)
    amount = f"{signed(pair.difference)} {summary.measure}"
    if pair.verdict == ONE_SEED:
        return f"{of} against {against}, {role} {at}: {amount}, from one seed, not tested."
    amount += f" ({signed(pair.interval.low)} to {signed(pair.interval.high)})"
    if pair.verdict == NOISE:
        return f"{of} and {against}, {role} {at}, do not differ beyond the noise: {amount}."
    does = "beats" if pair.verdict == BETTER else "loses to"
    return f"{of} {does} {against}, {role} {at}: {amount}."


def at_length(factor: int) -> str:
    """Return the length of sequences in words."""
    return "at the training length" if factor == 1 else f"at {factor}x the training length"
