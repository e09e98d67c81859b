"""The rule of the study, fixed in criterion.md before the first training."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from experiments.small_lm.records import ANSWER, RANDOM, ROUTED, Trained

WITHIN = 0.005
"""Largest excess of bits per byte over the best hybrid by hand, as a part of them."""
HALF = 0.5
"""Largest cache relative to that of the best hybrid by hand."""


@dataclass(frozen=True)
class Judged:
    """The searched model by the rule.

    Attributes:
        best: name of the best hybrid by hand.
        excess: bits per byte over those of the best hybrid, as a part of them, by seed.
        cache: cache relative to that of the best hybrid.
        leads: bits per byte by which random routes are worse, by seed.
        layers_excess: the excess of the layers that the search found, without routers, over seeds; None if these
            trainings are not done.
    """

    best: str
    excess: dict[int, float]
    cache: float
    leads: dict[int, float]
    layers_excess: float | None

    @property
    def is_close(self) -> bool:
        """Whether the bits per byte, as means over seeds, are within `WITHIN` of those of the best hybrid."""
        return fmean(self.excess.values()) <= WITHIN

    @property
    def is_small(self) -> bool:
        """Whether the cache is half of that of the best hybrid or less."""
        return self.cache <= HALF

    @property
    def beats_random(self) -> bool:
        """Whether it is better than random routes with every seed."""
        return all(lead > 0 for lead in self.leads.values())

    @property
    def reached(self) -> bool:
        """Whether the criterion is met."""
        return self.is_close and self.is_small and self.beats_random


def judge(trained: Sequence[Trained]) -> Judged | None:
    """Apply the rule to reported trainings; None without routers, random routes and a hybrid by hand of the same seeds.

    The best hybrid by hand has the lowest bits per byte over all seeds.
    """
    by_name: dict[str, dict[int, Trained]] = {}
    for one in trained:
        by_name.setdefault(one.name, {})[one.seed] = one
    routed, random = by_name.get(ROUTED, {}), by_name.get(RANDOM, {})
    hybrids = {name: own for name, own in by_name.items() if next(iter(own.values())).by_hand}
    if not routed or not hybrids or any(own.keys() != routed.keys() for own in (random, *hybrids.values())):
        return None
    best = min(hybrids, key=lambda name: mean_bits(list(hybrids[name].values())))
    against, layers = hybrids[best], list(by_name.get(ANSWER, {}).values())
    bits = mean_bits(list(against.values()))
    return Judged(
        best=best,
        excess={seed: (one.mean_bits - against[seed].mean_bits) / bits for seed, one in routed.items()},
        cache=fmean(one.cache for one in routed.values()) / fmean(one.cache for one in against.values()),
        leads={seed: random[seed].mean_bits - one.mean_bits for seed, one in routed.items()},
        layers_excess=mean_bits(layers) / bits - 1 if layers else None,
    )


def mean_bits(trained: Sequence[Trained]) -> float:
    """Return the mean over seeds of the quality by which models are judged."""
    return fmean(one.mean_bits for one in trained)


def verdict(trained: Sequence[Trained], left: int) -> str:
    """Return the verdict as Markdown.

    Args:
        trained: the reported trainings that are done.
        left: number of reported trainings that are not.
    """
    judged = judge(trained)
    if left or judged is None:
        reason = f"{left} of {len(trained) + left} trainings are left" if left else "the search found no softmax layer"
        return f"**The criterion is {'open' if left else 'missed'}: {reason}.**\n"
    word = {True: "yes", False: "no"}
    signed = [f"{100 * one:+.2f} %" for one in judged.excess.values()]
    lines = [
        f"**The criterion is {'reached' if judged.reached else 'missed'}.** The best hybrid by hand is {judged.best}.",
        "",
        f"- Bits per byte within {100 * WITHIN:g} % of it: {word[judged.is_close]}, "
        f"{100 * fmean(judged.excess.values()):+.2f} % (by seed: {', '.join(signed)}).",
        f"- Half of its cache or less: {word[judged.is_small]}, {judged.cache:.3f} of it.",
        f"- Better than random routes with every seed: {word[judged.beats_random]}, by "
        f"{', '.join(f'{lead:+.4f}' for lead in judged.leads.values())} bits per byte.",
    ]
    if judged.layers_excess is not None:
        lines.append(f"- The searched layers without routers: {100 * judged.layers_excess:+.2f} %.")
    return "\n".join(lines) + "\n"
