"""Whether a search has failed, from its own figures alone: neither another seed nor another training is needed.

In a failed search routers drop chunks that the task needs. Three signs show it. Each compares the run with itself:

- The final quality is clearly worse than a quality that was validated during training.
- Routers keep almost no chunk, and the training loss has risen clearly above its lowest level.
- Routers keep nothing that matters, since dropping every chunk changes no quality. And the task is not solved: the
  quality is clearly below 1, or most of it is lost on longer sequences.

The third sign finds searches in which linear attention has learnt the task imprecisely before softmax attention did.
Their loss never rises. A task that linear attention solves, such as parity, has no sign. Nor has a training that has
learnt nothing: routers are not the reason.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from nas.evaluation.metrics import BITS, HIGHER
from nas.report.units import number
from nas.runs.history import VALIDATION
from nas.runs.metrics import Failure, Figures, Row

NOTHING = 5e-4
"""Softmax share below which routers count as keeping no chunk: tables show 0.000."""
CLEAR = 0.02
"""Least difference of qualities that is clear: of shares as such, of bits as a fraction."""
RISE = 0.02
"""Least rise of the loss that is clear, as a fraction of the first loss."""
FAR = 16
"""Largest length factor whose quality counts."""
LOST = 0.5
"""Fraction of the quality above chance, lost on longer sequences, that shows an imprecise solution."""
WINDOW = 20
"""The loss is averaged over this part of the logged steps, one in so many."""
ADVICE = (
    "Try half of trainer.learning_rate, routers in all layers but the first, searcher=halving (where no layer has "
    "options with searcher.restarts=3), or another seed."
)
"""What to change."""

Logged = Sequence[Mapping[str, float]]
"""Logged figures by step, see `nas.runs.history.history`."""


def failure(
    rows: Sequence[Row], quality: str, chance: float | None, logged: Logged, dropping: str | None, learns: bool
) -> Failure | None:
    """Return how a finished search has failed; None if it shows no sign of failure.

    Args:
        rows: row of the learnt routing and architecture, then the controls.
        quality: name of the figure of merit.
        chance: quality of a model that ignores its input; None if it is not known.
        logged: figures of the training.
        dropping: name of the control that drops every chunk; None if no layer of the architecture routes.
        learns: whether routers or architecture logits learn the architecture that is measured. Otherwise qualities
            during training are those of other architectures.
    """
    learnt = rows[0].at_training_length
    if not math.isfinite(learnt.quality):
        return None
    dropped = [layer for layer, heads in learnt.shares.items() if fmean(heads) < NOTHING]
    nothing = dropping is not None and bool(dropped) and len(dropped) == len(learnt.shares) and learnt.share < NOTHING
    left_at = loss_left_at(logged)
    signs = _fall(learnt, quality, logged) if learns else []
    if nothing and left_at is not None:
        signs.append(f"routers keep almost no chunk, and the loss has risen since step {left_at}")
    if dropping is not None and not signs and (nothing or _needless(rows, dropping)):
        signs += _unsolved(rows[0], quality, chance)
    return Failure(tuple(signs), left_at, tuple(dropped)) if signs else None


def sentence_of(failure: Failure) -> str:
    """Return a failure and what to change in a line for people."""
    return f"The search has failed: {'; '.join(failure.signs)}. {ADVICE}"


def loss_left_at(logged: Logged) -> int | None:
    """Return the logged step from which the loss stays clearly above its lowest level; None if it ends near it.

    >>> losses = [4.0, 1.0, 0.1, 0.1, 1.0, 1.1]
    >>> loss_left_at([{"step": 10 * place, "loss": loss} for place, loss in enumerate(losses)])
    40
    """
    found = [(int(row["step"]), row["loss"]) for row in logged if math.isfinite(row.get("loss", math.nan))]
    if not found:
        return None
    size = max(1, len(found) // WINDOW)
    smooth = [
        (found[at][0], fmean(loss for _, loss in found[at + 1 - size : at + 1])) for at in range(size - 1, len(found))
    ]
    limit = min(loss for _, loss in smooth) + RISE * found[0][1]
    below = [at for at, (_, loss) in enumerate(smooth) if loss <= limit]
    return smooth[below[-1] + 1][0] if below[-1] + 1 < len(smooth) else None


def _fall(learnt: Figures, quality: str, logged: Logged) -> list[str]:
    """Return a sign if a quality that was validated during training is clearly better than the final one."""
    validated = [(row[key], int(row["step"])) for row in logged if (key := VALIDATION + quality) in row]
    validated = [one for one in validated if math.isfinite(one[0])]
    if not validated:
        return []
    best, step = (max if HIGHER[quality] else min)(validated)
    worse = best - learnt.quality if HIGHER[quality] else learnt.quality - best
    if worse <= max(_margin(learnt), CLEAR * (best if quality in BITS else 1.0)):
        return []
    return [f"{quality.replace('_', ' ')} is {number(learnt.quality)} and was {number(best)} at step {step}"]


def _needless(rows: Sequence[Row], dropping: str) -> bool:
    """Return whether the learnt routing is better by no more than the noise than dropping every chunk."""
    control = next((row for row in rows[1:] if row.name == dropping), None)
    if control is None:
        return False
    leads = [figures.lead for factor, figures in control.by_factor.items() if factor <= FAR]
    return all(lead is not None and abs(lead.mean) <= lead.margin for lead in leads)


def _unsolved(learnt: Row, quality: str, chance: float | None) -> list[str]:
    """Return a sign if a task whose best quality is 1 is not solved at the training length or on longer sequences."""
    own, name, base = learnt.at_training_length, quality.replace("_", " "), chance or 0.0
    if quality in BITS or own.quality - base <= max(_margin(own), CLEAR):
        return []
    useless = "routers keep no chunk that matters"
    if 1.0 - own.quality > max(_margin(own), CLEAR):
        return [f"{useless}, and {name} is {number(own.quality)}"]
    far = max(factor for factor in learnt.by_factor if factor <= FAR)
    reached = learnt.by_factor[far].quality
    if reached - base < LOST * (own.quality - base):
        return [f"{useless}, and {name} is {number(reached)} at {far} times the length"]
    return []


def _margin(figures: Figures) -> float:
    """Return the margin of a quality; 0 if it is not known."""
    return 0.0 if figures.margin is None or math.isnan(figures.margin) else figures.margin
