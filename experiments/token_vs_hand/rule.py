"""The rule of the study, fixed in criterion.md before the first training: what was searched against hybrids by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from experiments.token_vs_hand.study import FLAGSHIP
from nas.comparisons.results import Comparison, TrainedContender
from nas.comparisons.statistics import BETTER, NOISE, WORSE, counted, holm, paired_test, verdict_of
from nas.evaluation.noise import Estimate, margin
from nas.models.operations.linear import Linear
from nas.report.units import markdown, number, p_value, signed, size

CONTROLS = ("random_routing", "strided_routing")
"""Routes without content in layers that a search found: neither searched nor designed by hand."""
TEXT = "text"
"""The task that must be among those on which the search wins."""
REFERENCE = "llls"
"""Placement whose bits per byte at the training length the search must not exceed on text."""
TASKS, NEEDED = 7, 5
"""Number of tasks of the study, and of those on which the search must win."""
HALF = 0.5
"""Cache relative to that of a hybrid by hand up to which a quality within the noise is enough."""


@dataclass(frozen=True)
class Test:
    """The test of a search against one contender, on the mean quality over all lengths.

    Attributes:
        against: name of the other contender.
        gain: difference of the means, positive if the search is better.
        p: p-value of the paired t-test after Holm's correction over the tests of one family.
        cache: cache of the search relative to that of the other contender.
    """

    against: str
    gain: float
    p: float | None
    cache: float

    @property
    def verdict(self) -> str:
        """The verdict on the search."""
        return verdict_of(self.gain, self.p)

    @property
    def won(self) -> bool:
        """Whether the search is better, or within the noise at half the cache or less."""
        return self.verdict == BETTER or (self.verdict == NOISE and self.cache <= HALF)


@dataclass(frozen=True)
class Judged:
    """One task by the rule.

    Attributes:
        hybrids: the tests against every hybrid by hand.
        at_cost: the tests against everything designed by hand at the cost of the search, the best of it first.
        learnt: whether its quality at the training length is better than chance by more than the noise.
        within_reference: whether bits per byte at the training length are at most those of `REFERENCE`; True for tasks
            with another measure.
    """

    hybrids: tuple[Test, ...]
    at_cost: tuple[Test, ...]
    learnt: bool
    within_reference: bool

    @property
    def wins(self) -> bool:
        """Whether the search wins on the task."""
        won = bool(self.hybrids) and all(test.won for test in self.hybrids)
        return won and self.learnt and self.within_reference

    @property
    def harmed(self) -> bool:
        """Whether the search is worse, beyond the noise, than the best by hand at its cost."""
        return bool(self.at_cost) and self.at_cost[0].verdict == WORSE


def judge(comparison: Comparison, name: str = FLAGSHIP) -> Judged:
    """Apply the rule to a search on one task."""
    (searched,) = (one for one in comparison.contenders if one.name == name)
    by_hand = [one for one in comparison.contenders if not one.searched and one.name not in CONTROLS]
    placement = best_placement(comparison)
    budget = max(_cache(comparison, searched), 0 if placement is None else _cache(comparison, placement) / 2)
    at_cost = [one for one in by_hand if _cache(comparison, one) <= budget]
    sign = 1 if comparison.higher else -1
    at_cost.sort(key=lambda one: -sign * fmean(_over_lengths(comparison, one)))
    return Judged(
        _tests(comparison, searched, [one for one in by_hand if is_hybrid(one)]),
        _tests(comparison, searched, at_cost),
        _learnt(comparison, searched),
        _within_reference(comparison, searched),
    )


def holds(found: Mapping[str, Judged]) -> bool | None:
    """Return whether the target is reached; None before all tasks are measured."""
    if len(found) < TASKS:
        return None
    wins = [task for task, judged in found.items() if judged.wins]
    return len(wins) >= NEEDED and TEXT in wins and not any(judged.harmed for judged in found.values())


def is_hybrid(contender: TrainedContender) -> bool:
    """Return whether a contender has linear layers and layers of another operation."""
    mixers = {layer["mixer"] for layer in contender.architecture["layers"]}
    return Linear.name in mixers and len(mixers) > 1


def best_placement(comparison: Comparison) -> TrainedContender | None:
    """Return the best placement of one softmax layer, by its tuning trainings; None without placements.

    Of several patterns it is the one of least cache, double the budget of the searches.
    """
    chosen = comparison.best_placements.values()
    return min(chosen, key=lambda one: _cache(comparison, one), default=None)


def pays_from(comparison: Comparison, searched: TrainedContender, best: TrainedContender) -> int | None:
    """Return the least length from which on a search is better than a placement at each length; None without one.

    P-values are adjusted over the lengths.
    """
    pairs = [
        (counted(comparison, searched, factor), counted(comparison, best, factor)) for factor in comparison.factors
    ]
    sign = 1 if comparison.higher else -1
    adjusted = holm([paired_test(*pair) for pair in pairs])
    verdicts = [
        verdict_of(sign * (fmean(mine) - fmean(other)), p) for (mine, other), p in zip(pairs, adjusted, strict=True)
    ]
    at = len(verdicts)
    while at and verdicts[at - 1] == BETTER:
        at -= 1
    return comparison.factors[at] if at < len(verdicts) else None


def report(found: Mapping[str, Comparison]) -> str:
    """Render the verdicts on all searches as Markdown, the target of the study first."""
    judged = {task: judge(comparison) for task, comparison in found.items()}
    reached = {True: "reached", False: "missed", None: f"open: {len(found)} of {TASKS} tasks are measured"}
    wins = [task for task, one in judged.items() if one.wins]
    harmed = [task for task, one in judged.items() if one.harmed]
    lines = [
        f"**The target is {reached[holds(judged)]}.** {FLAGSHIP} wins on {_listed(wins)}, and is worse than the best "
        f"by hand at its cost on {_listed(harmed)}. The target is {NEEDED} of {TASKS} tasks, {TEXT} among them, and no "
        "task on which it is worse.",
        "## Does content pay?\n\n" + "\n".join(_paying(task, one) for task, one in found.items()),
    ]
    lines += [f"## {task}\n\n{_table(one)}\n{_tables_of_tests(one)}" for task, one in found.items()]
    return "\n\n".join(lines) + "\n"


def _tests(comparison: Comparison, searched: TrainedContender, others: Sequence[TrainedContender]) -> tuple[Test, ...]:
    mine, sign = _over_lengths(comparison, searched), 1 if comparison.higher else -1
    values = [_over_lengths(comparison, one) for one in others]
    adjusted = holm([paired_test(mine, other) for other in values])
    return tuple(
        Test(one.name, sign * (fmean(mine) - fmean(other)), p, _cache(comparison, searched) / _cache(comparison, one))
        for one, other, p in zip(others, values, adjusted, strict=True)
    )


def _over_lengths(comparison: Comparison, contender: TrainedContender) -> list[float]:
    """Return the mean quality over all lengths, by seed."""
    return [fmean(each) for each in zip(*(counted(comparison, contender, f) for f in comparison.factors), strict=True)]


def _cache(comparison: Comparison, contender: TrainedContender) -> float:
    """Return the mean bytes of keys, values and states of a sequence."""
    return fmean(run.kv_bytes[comparison.context] for run in contender.runs)


def _learnt(comparison: Comparison, searched: TrainedContender) -> bool:
    values = counted(comparison, searched, min(comparison.factors))
    chance = comparison.chance
    return chance is None or Estimate(fmean(values), margin(values)).better(chance, comparison.higher)


def _within_reference(comparison: Comparison, searched: TrainedContender) -> bool:
    limits = [fmean(counted(comparison, one, 1)) for one in comparison.contenders if one.name == REFERENCE]
    if comparison.higher or not limits:
        return True
    return round(fmean(counted(comparison, searched, 1)), 3) <= round(limits[0], 3)


def _listed(tasks: Sequence[str]) -> str:
    return ", ".join(tasks) or "no task"


def _paying(task: str, comparison: Comparison) -> str:
    """Return the lines on the length from which each search is better than the best placement by hand."""
    lines, best, factors = [], best_placement(comparison), comparison.factors
    for one in comparison.searched if best is not None else ():
        assert best is not None
        pays = pays_from(comparison, one, best)
        against = f"the best placement by hand, {best.name}"
        if pays == factors[0]:
            lines.append(f"- {task}: {one.name} is better than {against}, at every length.")
            continue
        last = factors[-1] if pays is None else factors[factors.index(pays) - 1]
        begins = f"; it begins to pay at {pays}x" if pays else ""
        lines.append(f"- {task}: {one.name} adds nothing beyond {against}, up to {last}x{begins}.")
    return "\n".join(lines)


def _table(comparison: Comparison) -> str:
    """Tabulate the mean quality of every contender by length, and its cache."""
    rows = []
    for one in comparison.contenders:
        row = {"model": one.name, "cache": size(_cache(comparison, one))}
        row |= {f"{f}x": number(fmean(counted(comparison, one, f))) for f in comparison.factors}
        rows.append(row | {"mean": number(fmean(_over_lengths(comparison, one)))})
    return markdown(rows)


def _tables_of_tests(comparison: Comparison) -> str:
    parts = []
    for one in comparison.searched:
        judged = judge(comparison, one.name)
        outcome = "wins" if judged.wins else "does not win"
        best = judged.at_cost[0] if judged.at_cost else None
        cost = f" Against {best.against}, the best by hand at its cost: {best.verdict}." if best else ""
        parts.append(f"{one.name} {outcome}.{cost}\n\n{markdown([_row(test) for test in judged.hybrids])}")
    return "\n".join(parts)


def _row(test: Test) -> dict[str, str]:
    return {
        "by hand": test.against,
        "gain": signed(test.gain),
        "p (Holm)": p_value(test.p),
        "verdict": test.verdict,
        "cache, times theirs": number(test.cache),
        "won": "yes" if test.won else "no",
    }
