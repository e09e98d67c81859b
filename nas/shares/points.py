"""The points of a curve of quality against cost: one model at one share, or another run as it was trained."""

import hashlib
import math
from dataclasses import dataclass
from statistics import fmean

from nas.budget.cost import kv_bytes
from nas.data import Batch, byte_lengths_of
from nas.data.seeding import generator
from nas.evaluation.evaluate import evaluate
from nas.evaluation.noise import Estimate, margin
from nas.models.operations import dense_share
from nas.models.policies import at_random
from nas.results.opened import OpenedRun
from nas.shares.thresholds import threshold_of

TRAINED = "as trained"
"""Name of a model with the routing of its training."""
Key = tuple[str, str, float | None, bool]
"""SHA-256 of the weights of a run and of the sequences, largest share, and whether at random."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A point to measure.

    Attributes:
        opened: the run.
        share: largest share of chunks that its routers keep; None for the routing of its training.
        as_point: point whose shares random routes keep, in place of the routers; None for the routers.
    """

    opened: OpenedRun
    share: float | None = None
    as_point: "Point | None" = None

    def key(self, sequences: str) -> Key:
        """Return what tells the point from others, on sequences with this hash."""
        return self.opened.weights, sequences, self.share, self.as_point is not None


@dataclass(frozen=True, kw_only=True)
class Point:
    """The quality and the cost of a model under one routing.

    Attributes:
        run: folder of the run.
        weights: SHA-256 of its weights.
        sequences: SHA-256 of the sequences on which it was evaluated, see `hash_of`.
        tokens: length of these sequences.
        allowed: largest share of chunks that routers keep; None for the routing of the training.
        random: whether random routes keep the same share in each layer and head, in place of the routers.
        threshold: threshold on the softmax margin; None where it was not moved, or where all or no chunks are kept.
        calibrated: share that the threshold keeps on the selection batches; None where it was not moved.
        share: share of chunks that were kept, averaged over the routed layers; over all layers if none is routed, where
            a layer keeps all chunks or none.
        shares: kept share of each routed layer, by routing head.
        kv_bytes: bytes of keys, values and states of one sequence of this length.
        quality: figure of merit.
        margin: half the width of the 95 % confidence interval of the quality over the sequences; None for one sequence.
        loss: mean cross-entropy, in nats.
        by_position: for a quality in bits, last token and figure of each segment; None for other measures.
        by_sequence: quality of each sequence.
    """

    run: str
    weights: str
    sequences: str
    tokens: int
    allowed: float | None
    random: bool
    threshold: float | None
    calibrated: float | None
    share: float
    shares: dict[int, list[float]]
    kv_bytes: int
    quality: float
    margin: float | None
    loss: float
    by_position: list[tuple[int, float]] | None
    by_sequence: list[float]

    @property
    def key(self) -> Key:
        """What tells the point from others, see `Wanted.key`."""
        return self.weights, self.sequences, self.allowed, self.random

    def against(self, other: "Point") -> Estimate:
        """Return the difference between the quality of this point and of another over the same sequences."""
        return Estimate.of([mine - theirs for mine, theirs in zip(self.by_sequence, other.by_sequence, strict=True)])


def measured(wanted: Wanted, data: OpenedRun, batches: list[Batch], length_factor: int) -> Point:
    """Evaluate a run under a routing.

    Args:
        wanted: the run and the routing.
        data: run on whose validation sequences it is evaluated.
        batches: these sequences.
        length_factor: their length, as a multiple of the training length.
    """
    opened, architecture = wanted.opened, wanted.opened.trained.architecture
    moved, policy = None, opened.policy
    if wanted.as_point is not None:
        policy = at_random(wanted.as_point.shares, generator(data.config.seed, "random routing", str(wanted.share)))
    elif wanted.share is not None:
        moved = threshold_of(opened, wanted.share, length_factor)
        policy = moved.policy
    with opened.autocast():
        found = evaluate(opened.trained, batches, data.task.quality, policy, byte_lengths=byte_lengths_of(data.task))
    shares = found.layer_shares
    weights, sequences, allowed, random = wanted.key(hash_of(batches))
    tokens = batches[0].tokens.shape[1]
    noise = margin(found.by_sequence, resolution=0.0)
    return Point(
        run=name(opened),
        weights=weights,
        sequences=sequences,
        tokens=tokens,
        allowed=allowed,
        random=random,
        threshold=None if moved is None or math.isinf(moved.value) else moved.value,
        calibrated=None if moved is None else moved.share,
        share=fmean(shares.values()) if shares else fmean(map(dense_share, architecture.layers)),
        shares=found.shares,
        kv_bytes=kv_bytes(architecture, shares, tokens),
        quality=found.quality,
        margin=None if math.isnan(noise) else noise,
        loss=found.loss,
        by_position=found.by_position,
        by_sequence=found.by_sequence,
    )


def hash_of(batches: list[Batch]) -> str:
    """Return the SHA-256 of the tokens and targets of batches."""
    made = hashlib.sha256()
    for batch in batches:
        made.update(batch.tokens.numpy().tobytes())
        made.update(batch.targets.numpy().tobytes())
    return made.hexdigest()


def name(opened: OpenedRun) -> str:
    """Return the path of a run folder, as points have it."""
    return str(opened.run.path.resolve())
