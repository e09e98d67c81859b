"""The rungs of successive halving: at which step how many candidates go on, and how many steps that takes."""

from collections.abc import Sequence
from typing import NamedTuple

from nas.config import HalvingConfig


class Rung(NamedTuple):
    """A point of the training at which candidates are compared.

    Attributes:
        step: training step.
        keep: number of candidates that go on; 1 at the end of training.
    """

    step: int
    keep: int


def rungs(config: HalvingConfig, count: int, steps: int) -> list[Rung]:
    """Return the rungs, first to last. The last one is at the end of training.

    Once a single candidate is left, it is trained to the end without further rungs.

    Args:
        config: options of the searcher.
        count: number of candidates.
        steps: training steps of the run.

    >>> from nas.config import HalvingConfig
    >>> rungs(HalvingConfig("halving", 1.0, 8, 0.25, 2, 4), count=8, steps=1000)
    [Rung(step=250, keep=4), Rung(step=500, keep=2), Rung(step=1000, keep=1)]
    """
    found, fraction = [], config.first_rung
    while count > 1 and (step := max(1, round(fraction * steps))) < steps:
        count = max(1, int(count // config.reduction_factor))
        found.append(Rung(step, count))
        fraction *= config.reduction_factor
    return [*found, Rung(steps, 1)]


def training_steps(plan: Sequence[Rung], count: int) -> int:
    """Return the training steps of all candidates together.

    Args:
        plan: the rungs, see `rungs`.
        count: number of candidates.

    >>> training_steps([Rung(step=250, keep=4), Rung(step=500, keep=2), Rung(step=1000, keep=1)], count=8)
    4000
    """
    total, before = 0, 0
    for rung in plan:
        total += count * (rung.step - before)
        count, before = rung.keep, rung.step
    return total
