"""The rule of the study, fixed in criterion.md before the first reported run: what is searched against placements."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

SEARCHED = ("layers", "joint")
"""Contenders that search; all others are placements by a rule."""
TARGET = "quarter"
"""Budget of the target."""
WITHIN = 0.02
"""Largest excess of the bits per byte over those of the original."""
OVER = 0.01
"""Largest excess of a cache over the budget: thresholds of routers are calibrated on other batches."""
MINUTES = 20.0
"""Longest time of a search with its alignment and healing, on one H200."""


@dataclass(frozen=True)
class Result:
    """A search or placement with one seed.

    Attributes:
        model, budget, contender, seed: what was searched.
        cache: bytes kept at the context of the study.
        allowed: those that the budget allows.
        original_cache: those of the original.
        bits: bits per byte on the validation batches.
        original_bits: those of the original.
        minutes: wall time of the command without the final evaluation; None if it is not known.
        tokens: training tokens of all stages.
        kl: divergence KL(original, model), in nats a token; None if it was not measured, as all that follow.
        needles: score by length of the context.
        text: bits per byte by length of the sequences.
        prefill_ms, decode_ms: time of a prompt and of a token after the context of the study.
        found: operation of each layer.
        machine: what was timed on.
    """

    model: str
    budget: str
    contender: str
    seed: int
    cache: int
    allowed: int
    original_cache: int
    bits: float
    original_bits: float
    minutes: float | None
    tokens: int
    kl: float | None = None
    needles: dict[str, float] | None = None
    text: dict[str, float] | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    found: tuple[str, ...] = ()
    machine: str | None = None


@dataclass(frozen=True)
class Judged:
    """One model by the rule.

    Attributes:
        best: contender that searches, with the least bits per byte.
        excess: its bits per byte over those of the original, as a fraction.
        baseline: placement with the least bits per byte.
        lead: bits per byte of that placement minus those of the best search.
        minutes: time of the best search; None if it is not known.
        over: contenders with a cache over the budget.
        missing: planned results that are not there yet, as text. Without them the verdict is provisional.
    """

    best: str
    excess: float
    baseline: str
    lead: float
    minutes: float | None
    over: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, bool]:
        """Whether each part of the target is reached, by name."""
        return {
            f"within {WITHIN:.0%} of the original": self.excess <= WITHIN,
            "better than every placement": self.lead > 0,
            f"in {MINUTES:g} minutes": self.minutes is not None and self.minutes <= MINUTES,
            "within the budget": self.best not in self.over,
        }

    @property
    def reached(self) -> bool:
        """Whether the target is reached on this model."""
        return all(self.parts.values())


def judge(results: Sequence[Result], planned: Collection[tuple[str, int]] = (), budget: str = TARGET) -> Judged | None:
    """Apply the rule to the results of one model; None before a search and a placement are there.

    Means are over the seeds that all contenders have.

    Args:
        results: results of the model.
        planned: contender and seed of each result at the budget that there should be.
        budget: the budget.
    """
    own = [one for one in results if one.budget == budget]
    names = sorted({one.contender for one in own})
    shared = set.intersection(*({one.seed for one in own if one.contender == name} for name in names)) if own else set()
    there = {(one.contender, one.seed) for one in own}
    own = [one for one in own if one.seed in shared]
    bits = {name: fmean(one.bits for one in own if one.contender == name) for name in names if shared}
    searched, placed = [name for name in bits if name in SEARCHED], [name for name in bits if name not in SEARCHED]
    if not searched or not placed:
        return None
    best, baseline = min(searched, key=bits.__getitem__), min(placed, key=bits.__getitem__)
    of_best = [one for one in own if one.contender == best]
    minutes = [one.minutes for one in of_best if one.minutes is not None]
    over = {one.contender for one in own if one.cache > one.allowed * (1 + OVER)}
    return Judged(
        best=best,
        excess=bits[best] / fmean(one.original_bits for one in of_best) - 1,
        baseline=baseline,
        lead=bits[baseline] - bits[best],
        minutes=max(minutes) if len(minutes) == len(of_best) else None,
        over=tuple(sorted(over)),
        missing=tuple(f"{contender} {seed}" for contender, seed in planned if (contender, seed) not in there),
    )


def report(results: Sequence[Result], planned: Mapping[str, Collection[tuple[str, int]]] | None = None) -> str:
    """Return the verdict on each model, as Markdown.

    Args:
        results: results of all models.
        planned: contender and seed of each planned result at the budget of the target, by model.
    """
    lines = []
    for model in sorted({one.model for one in results}):
        judged = judge([one for one in results if one.model == model], (planned or {}).get(model, ()))
        if judged is None:
            lines.append(f"- **{model}**: not measured yet at {TARGET} of the cache.")
            continue
        minutes = "unknown" if judged.minutes is None else f"{judged.minutes:.1f}"
        failed = [part for part, holds in judged.parts.items() if not holds]
        verdict = "target reached" if judged.reached else f"target missed ({', '.join(failed)})"
        if judged.missing:
            verdict = f"provisionally {verdict}, without {', '.join(judged.missing)}"
        lines.append(
            f"- **{model}**: {verdict}. `{judged.best}` is at {judged.excess:+.2%} of the original's bits per byte, "
            f"{judged.lead:+.4f} bits better than the best placement, `{judged.baseline}`; minutes: {minutes}."
        )
    return "\n".join(lines) + "\n"
