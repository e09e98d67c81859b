"""The router threshold at which a trained model keeps at most a share of its chunks."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from nas.budget.cost import SOFTMAX_SHARE, SpaceCost
from nas.data import Batch
from nas.data.batch import selection_of
from nas.errors import UserError
from nas.models.language_model import LanguageModel
from nas.models.policies import at_threshold, drop_all, keep_all
from nas.models.routing import Policy, Routing
from nas.relaxations import precise
from nas.results.opened import OpenedRun
from nas.runs.folder import read_json
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.supernet.calibration import CLOSE, Trial, routing_of, search, trial_of

THRESHOLDS = "thresholds.json"
"""File of a run folder with the thresholds that were computed for its weights."""
BATCHES = 32
"""Number of selection batches on which thresholds are calibrated."""
NEAR = 0.02
"""Part of a share at which the search for its threshold ends, if that is less than `nas.supernet.calibration.CLOSE`."""


class Threshold(NamedTuple):
    """A threshold on the softmax margin of chunks, common to all routers of a model.

    Attributes:
        value: chunks are kept whose margin is at least this; infinite where all chunks are kept or none.
        share: share of the chunks of the selection batches that it keeps, averaged over the routed layers.
    """

    value: float
    share: float

    @property
    def policy(self) -> Policy:
        """The policy that keeps the chunks at or above the threshold."""
        if math.isinf(self.value):
            return drop_all if self.value > 0 else keep_all
        return at_threshold(self.value)


def threshold_of(opened: OpenedRun, share: float, length_factor: int = 1) -> Threshold:
    """Return the lowest threshold of a run's routers that keeps at most a share of the chunks.

    It is calibrated on the selection batches of the run's task, once: the run folder keeps it.

    Args:
        opened: finished run.
        share: largest share of chunks to keep, in [0, 1].
        length_factor: length of the sequences, as a multiple of the training length.

    Raises:
        UserError: the model has no routers that decide.
    """
    model = opened.trained
    if not opened.routes or model.architecture.given_routing is not None:
        raise UserError(
            f"share={share:g} moves the thresholds of routers, but no router of run={opened.run.path} decides; give a "
            "run with routed layers, or omit share."
        )
    if share in (0, 1):
        return Threshold(-math.inf if share else math.inf, float(share))
    key = f"{length_factor}x {share}"
    known = _stored(opened)
    if key not in known:
        with opened.autocast():
            known[key] = calibrated(model, selection_of(opened.task, BATCHES, length_factor), share)
        _store(opened, known)
    return known[key]


@torch.no_grad()
def calibrated(model: LanguageModel, batches: Sequence[Batch], share: float) -> Threshold:
    """Return the threshold of a model that keeps the largest share of the chunks of batches up to ``share``."""
    space = Space.of(model.architecture)
    logits = ArchitectureLogits(space).to(model.embedding.weight.device)
    code, cost = (0,) * len(space.options), SpaceCost(SOFTMAX_SHARE, space, context=1)

    def attempt(at: float) -> Trial:
        routing = routing_of(model, batches, code, at_threshold(at))
        from_at = {layer: [_lowered(one, at) for one in own] for layer, own in routing.items()}
        return trial_of(from_at, logits, cost, code, share, exact=False)

    found = search(attempt, share, exact=False, close=min(CLOSE, NEAR * share), lower=True)
    return Threshold(found.threshold, found.cost)


def _lowered(routing: Routing, by: float) -> Routing:
    """Return a routing whose margins are lower, so that a threshold ``by`` on them is one of 0."""
    kept, dropped = precise(routing.logits).unbind(-1)
    return routing._replace(logits=torch.stack([kept - by, dropped], dim=-1))


def _stored(opened: OpenedRun) -> dict[str, Threshold]:
    """Return the stored thresholds of these weights; none if there are none, or if they are damaged."""
    found = read_json(opened.run.path / THRESHOLDS)
    try:
        if found["weights"] != opened.weights:
            return {}
        return {key: Threshold(float(one["value"]), float(one["share"])) for key, one in found["thresholds"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _store(opened: OpenedRun, known: dict[str, Threshold]) -> None:
    """Write the thresholds of a run's weights into its folder, unless the folder cannot be written."""
    content: dict[str, Any] = {
        "weights": opened.weights,
        "thresholds": {key: one._asdict() for key, one in known.items()},
    }
    with suppress(OSError):
        opened.run.write_json(THRESHOLDS, content)
