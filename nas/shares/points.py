"""The points of a curve of quality against cost: one model at one share, or another run as it was trained."""

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Self

from nas.budget.cost import kv_bytes
from nas.data import Batch
from nas.evaluation.evaluate import evaluate
from nas.evaluation.noise import margin
from nas.models.mixers import Policy
from nas.models.operations import dense_share
from nas.results.opened import OpenedRun
from nas.runs.decode import decode
from nas.shares.thresholds import threshold_of

TRAINED = "as trained"
"""Name of a model with the thresholds of its training."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """The quality and the cost of a model under one routing.

    Attributes:
        run: folder of the run.
        weights: SHA-256 of its weights.
        data: folder of the run on whose validation sequences it was evaluated.
        tokens: length of these sequences.
        allowed: largest share of chunks that routers keep; None for the thresholds of the training.
        threshold: threshold on the softmax margin; None where it was not moved, or where all or no chunks are kept.
        calibrated: share that the threshold keeps on the selection batches; None where it was not moved.
        share: share of chunks that were kept, averaged over the routed layers; over all layers if none is routed, where
            a layer keeps all chunks or none.
        quality: figure of merit.
        margin: half the width of the 95 % confidence interval of the quality over the sequences; None for one sequence.
        loss: mean cross-entropy, in nats.
        kv_bytes: bytes of keys, values and states of one sequence of this length.
        by_position: for a quality in bits, last token and figure of each segment; None for other measures.
    """

    run: str
    weights: str
    data: str
    tokens: int
    allowed: float | None
    threshold: float | None
    calibrated: float | None
    share: float
    quality: float
    margin: float | None
    loss: float
    kv_bytes: int
    by_position: list[tuple[int, float]] | None = None

    @property
    def name(self) -> str:
        """The name of the routing in tables."""
        return TRAINED if self.allowed is None else f"share={self.allowed:g}"

    def matches(self, wanted: "Wanted", data: OpenedRun, tokens: int) -> bool:
        """Return whether this is the point of a run at a share, on the validation sequences of ``data``."""
        own = wanted.opened
        return (self.weights, self.data, self.tokens, self.allowed) == (
            own.weights,
            str(data.run.path.resolve()),
            tokens,
            wanted.share,
        )

    @classmethod
    def from_json(cls, given: Any) -> Self:
        """Return a point of JSON values; raise a ValueError that names a missing or unfit field."""
        return decode(cls, given, "points")


@dataclass(frozen=True)
class Wanted:
    """A point to measure: a run, and the largest share of chunks that it keeps, None for its own thresholds."""

    opened: OpenedRun
    share: float | None = None


def measured(wanted: Wanted, data: OpenedRun, batches: list[Batch], length_factor: int) -> Point:
    """Evaluate a run at a share.

    Args:
        wanted: the run and the share.
        data: run on whose validation sequences it is evaluated.
        batches: these sequences.
        length_factor: their length, as a multiple of the training length.
    """
    opened, architecture = wanted.opened, wanted.opened.trained.architecture
    moved = None if wanted.share is None else threshold_of(opened, wanted.share, length_factor)
    policy: Policy = opened.policy if moved is None else moved.policy
    with opened.autocast():
        found = evaluate(opened.trained, batches, data.task.quality, policy)
    shares = found.layer_shares
    tokens = batches[0].tokens.shape[1]
    noise = margin(found.by_sequence, resolution=0.0)
    return Point(
        run=str(opened.run.path.resolve()),
        weights=opened.weights,
        data=str(data.run.path.resolve()),
        tokens=tokens,
        allowed=wanted.share,
        threshold=None if moved is None or math.isinf(moved.value) else moved.value,
        calibrated=None if moved is None else moved.share,
        share=fmean(shares.values()) if shares else fmean(map(dense_share, architecture.layers)),
        quality=found.quality,
        margin=None if math.isnan(noise) else noise,
        loss=found.loss,
        kv_bytes=kv_bytes(architecture, shares, tokens),
        by_position=found.by_position,
    )
