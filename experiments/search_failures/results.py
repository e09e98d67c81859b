"""Results of the study of failed searches: how many seeds succeed, and when and where the others drop their chunks."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from nas.evaluation.metrics import HIGHER
from nas.report.units import MISSING, markdown, number
from nas.results.failure import Logged, loss_left_at
from nas.runs.history import SHARE
from nas.runs.metrics import Metrics

WITHIN = 0.02
"""Largest distance from the best seed of a task at which a seed counts as succeeded, in units of the quality."""
LEARNT = 0.1
"""Loss at which a task counts as learnt, as a fraction of the first loss."""
FEW = 2e-3
"""Running softmax share below which a layer has dropped its chunks."""
ABOUT = (
    "A seed succeeds if its quality at the training length is within 0.02 of the best seed of the task, over all "
    "remedies. The share is the mean over seeds. The task is learnt at the first logged step whose loss is at most a "
    "tenth of the first; a seed that never learns it counts as the latest in the median. The last column counts failed "
    "seeds whose search says so itself, and after the plus sign succeeded seeds that say so."
)
LOST = (
    "The task is learnt, and routing begins, after so many steps. The loss leaves its level at the step from which its "
    "average stays above its lowest value by 2 % of the first loss; a dash: it never does, linear attention had learnt "
    "the task imprecisely. A layer drops its chunks at the step from which its running softmax share stays below 0.002."
)


@dataclass(frozen=True)
class Seed:
    """The figures of one search.

    Attributes:
        seed: seed of the search.
        measure: name of the figure of merit.
        quality: quality by length factor; the worst possible one if training diverged.
        share: softmax share at the training length.
        says_so: whether the search says that it has failed.
        began: steps before routing began; None if it never did.
        learnt_at: first logged step whose loss is at most a tenth of the first loss; None if it never is.
        lowest_loss: lowest logged loss.
        left_at: step from which the loss stays above its lowest level; None if it never does.
        dropped_at: step from which each routed layer keeps almost no chunk, by layer; layers that keep chunks are left
            out.
    """

    seed: int
    measure: str
    quality: dict[int, float]
    share: float
    says_so: bool
    began: int | None
    learnt_at: int | None
    lowest_loss: float
    left_at: int | None
    dropped_at: dict[int, int]

    @property
    def merit(self) -> float:
        """The quality at the training length, or its negative if lower is better."""
        return self.quality[1] if HIGHER[self.measure] else -self.quality[1]


Found = dict[str, dict[str, list[Seed]]]
"""The seeds of a study by task and by remedy."""


def write(path: Path, found: Found, options: Sequence[str]) -> None:
    """Write the figures of all searches, and the options that they share, as JSON."""
    rows = {task: {name: [asdict(seed) for seed in own] for name, own in by.items()} for task, by in found.items()}
    path.write_text(json.dumps({"options": list(options), "found": rows}, indent=1) + "\n", encoding="utf-8")


def read(path: Path, options: Sequence[str]) -> Found:
    """Return the searches of a file that `write` wrote; none if there is no file.

    Raises:
        ValueError: they were made with other options.
    """
    if not path.exists():
        return {}
    given = json.loads(path.read_text(encoding="utf-8"))
    if given["options"] != list(options):
        raise ValueError(f"{path} has runs with the options {' '.join(given['options']) or 'of the study alone'}")
    return {
        task: {name: [_restored(row) for row in own] for name, own in by.items()} for task, by in given["found"].items()
    }


def _restored(row: dict[str, Any]) -> Seed:
    by_number = {name: {int(key): value for key, value in row[name].items()} for name in ("quality", "dropped_at")}
    return Seed(**row | by_number)


def seed_of(seed: int, metrics: Metrics, logged: Logged) -> Seed:
    """Return the figures of the search with this seed, from its metrics and its logged steps."""
    own, worst = metrics.learnt.at_training_length, 0.0 if HIGHER[metrics.quality] else math.inf
    layers = sorted({name for row in logged for name in row if name.startswith(f"{SHARE}/layer_")})
    dropped = {int(name.rpartition("_")[2]): _stays_below(FEW, name, logged) for name in layers}
    return Seed(
        seed=seed,
        measure=metrics.quality,
        quality={
            factor: worst if math.isnan(figures.quality) else figures.quality
            for factor, figures in metrics.learnt.by_factor.items()
        },
        share=0.0 if math.isnan(own.share) else own.share,
        says_so=metrics.failure is not None,
        began=metrics.budget.dense_steps,
        learnt_at=_learnt_at(logged),
        lowest_loss=min((row["loss"] for row in logged if "loss" in row), default=math.nan),
        left_at=loss_left_at(logged),
        dropped_at={layer: step for layer, step in dropped.items() if step is not None},
    )


def _learnt_at(logged: Logged) -> int | None:
    """Return the first logged step whose loss is low enough; None if no loss is."""
    losses = [(int(row["step"]), row["loss"]) for row in logged if "loss" in row]
    return next((step for step, loss in losses if loss <= LEARNT * losses[0][1]), None)


def _stays_below(limit: float, name: str, logged: Logged) -> int | None:
    """Return the first logged step from which a figure stays below a limit; None if it ends above it."""
    found = [(int(row["step"]), row[name]) for row in logged if name in row]
    above = max((place for place, (_, value) in enumerate(found) if value >= limit), default=-1)
    return found[above + 1][0] if above + 1 < len(found) else None


def report(found: Mapping[str, Mapping[str, Sequence[Seed]]]) -> str:
    """Render the tables of all tasks as Markdown; ``found`` has the seeds by task and by remedy."""
    parts = ["# Which remedy prevents failed searches", ABOUT]
    for task, by_remedy in found.items():
        best = max(seed.merit for seeds in by_remedy.values() for seed in seeds)
        parts += [f"## {task}", markdown([_row(name, seeds, best) for name, seeds in by_remedy.items()])]
        lost = [_lost(name, seed) for name, seeds in by_remedy.items() for seed in seeds if not succeeds(seed, best)]
        parts += [f"Failed seeds. {LOST}", markdown(lost)] if lost else ["No seed fails."]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def succeeds(seed: Seed, best: float) -> bool:
    """Return whether a seed is near the best merit of its task."""
    return best - seed.merit <= WITHIN + 1e-9


def _row(remedy: str, seeds: Sequence[Seed], best: float) -> dict[str, str]:
    good = [seed for seed in seeds if succeeds(seed, best)]
    bad = [seed for seed in seeds if not succeeds(seed, best)]
    far = max(seeds[0].quality)
    pick = min if HIGHER[seeds[0].measure] else max
    return {
        "remedy": remedy,
        "succeeded": f"{len(good)} of {len(seeds)}",
        f"median {seeds[0].measure.replace('_', ' ')}": number(median(seed.quality[1] for seed in seeds)),
        "worst": number(pick(seed.quality[1] for seed in seeds)),
        f"median at {far}x": number(median(seed.quality[far] for seed in seeds)),
        f"worst at {far}x": number(pick(seed.quality[far] for seed in seeds)),
        "share": number(fmean(seed.share for seed in seeds)),
        "median step learnt": _step(sorted(seed.learnt_at or math.inf for seed in seeds)[len(seeds) // 2]),
        "says so": f"{sum(seed.says_so for seed in bad)} of {len(bad)} + {sum(seed.says_so for seed in good)}",
    }


def _lost(remedy: str, seed: Seed) -> dict[str, str]:
    far = max(seed.quality)
    return {
        "remedy": remedy,
        "seed": str(seed.seed),
        "quality": number(seed.quality[1]),
        "farthest": f"{number(seed.quality[far])} at {far}x",
        "share": number(seed.share),
        "learnt": _step(seed.learnt_at),
        "routing begins": _step(seed.began),
        "lowest loss": number(seed.lowest_loss),
        "loss leaves its level": _step(seed.left_at),
        "layers that drop their chunks": ", ".join(f"{layer} at {step}" for layer, step in seed.dropped_at.items())
        or MISSING,
    }


def _step(step: float | None) -> str:
    return MISSING if step is None or step == math.inf else str(step)
