"""The answer of a run in sentences: its quality against its controls, the architecture that was found, and its cost."""

import math
from collections.abc import Sequence

from nas.budget.cost import LONG, SOFTMAX_SHARE
from nas.report.curves import sentence
from nas.report.units import number, repeated, size
from nas.runs.metrics import Metrics


def answer(metrics: Metrics, length: int) -> list[str]:
    """Return the sentences of the first paragraph of a run's page.

    Args:
        metrics: final figures of the run; without a verdict, as in older files, the quality stands in its place.
        length: length of a training sequence, in tokens.
    """
    return [*findings(metrics), *([] if metrics.verdict else _quality(metrics, length)), *_cost(metrics)]


def findings(metrics: Metrics) -> list[str]:
    """Return the verdict on the quality against the controls, and the sentence on what was found."""
    return [*metrics.verdict, *_found(metrics)]


def beside(runs: Sequence[Metrics | None], lengths: Sequence[int]) -> list[str]:
    """Return sentences that compare two runs, A and B; empty if one of them has no final figures.

    Args:
        runs: final figures of A and of B.
        lengths: length of their training sequences, in tokens.
    """
    first, second = runs
    if first is None or second is None:
        return []
    quality, share = ([getattr(one.learnt.at_training_length, name) for one in (first, second)] for name in FIGURES)
    other = "" if lengths[0] == lengths[1] else f" at {lengths[1]:,} tokens"
    measure = sentence(first.quality)
    made = [f"{measure} at {lengths[0]:,} tokens is {number(quality[0])} in A and {number(quality[1])}{other} in B."]
    made += [f"The softmax share is {number(share[0])} in A and {number(share[1])} in B."]
    caches = [cache(one) for one in (first, second)]
    if all(caches):
        made.append(f"A sequence of {LONG:,} tokens needs a cache of {caches[0]} in A and {caches[1]} in B.")
    return [*made, "Each is a single run, so the noise between runs is unknown; nas.compare measures it over seeds."]


FIGURES = ("quality", "share")
"""Fields of `nas.runs.metrics.Figures` in which two runs are compared."""


def cache(metrics: Metrics) -> str:
    """Return the cache size of a sequence of `LONG` tokens as text; empty if it is not known."""
    bytes_ = metrics.cost.kv_bytes.get(LONG)
    return "" if bytes_ is None else size(bytes_)


def _found(metrics: Metrics) -> list[str]:
    if not metrics.choices:
        return []
    return [f"Found, from the first layer to the last: {repeated(choice.found for choice in metrics.choices)}."]


def _quality(metrics: Metrics, length: int) -> list[str]:
    quality = metrics.learnt.at_training_length.quality
    return [f"{sentence(metrics.quality)} at {length:,} tokens is {number(quality)}."] if math.isfinite(quality) else []


def _cost(metrics: Metrics) -> list[str]:
    share, budget = metrics.learnt.at_training_length.share, metrics.budget
    allowed = f" (budget {budget.target:.3g})" if metrics.controls and budget.resource == SOFTMAX_SHARE else ""
    made = [f"The softmax share is {number(share)}{allowed}."] if math.isfinite(share) else []
    return made + ([f"A sequence of {LONG:,} tokens needs a cache of {known}."] if (known := cache(metrics)) else [])
