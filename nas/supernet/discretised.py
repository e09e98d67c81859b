"""Discretise a supernet to one architecture: its weights, its routing policy and its evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.data import Batch, Task, byte_lengths_of
from nas.evaluation.evaluate import Evaluation, evaluate
from nas.models.language_model import LanguageModel
from nas.models.routing import Policy
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.space import Code
from nas.supernet.calibration import calibrate
from nas.supernet.supernet import Supernet

CALIBRATION_BATCHES = 64
"""Number of batches, at the training length, on which router thresholds are calibrated."""

Validation = Mapping[int, Sequence[Batch]]
"""Validation batches by length factor, the length of their sequences over the training length. Always contains 1."""


@dataclass(frozen=True)
class Discretised:
    """One architecture of a supernet with its share of the supernet's weights.

    Attributes:
        supernet: supernet, with routers calibrated for this architecture.
        code: code of the architecture in the space of the supernet.
        model: model of this architecture alone.
        evaluations: evaluations of the model under its policy, by length factor; always contains 1.
        calibrated: relative cost on the sequences of calibration; None if no router was calibrated.
    """

    supernet: Supernet
    code: Code
    model: LanguageModel
    evaluations: Mapping[int, Evaluation]
    calibrated: float | None = None

    @property
    def architecture(self) -> Architecture:
        """The architecture of the model."""
        return self.model.architecture

    @property
    def policy(self) -> Policy:
        """The routing policy of the model; see `Supernet.policy`."""
        return self.supernet.policy

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation at the training length."""
        return self.evaluations[1]

    @property
    def shares(self) -> dict[int, float]:
        """Measured softmax share of each routed layer, at the training length.

        Layers whose share is not finite are left out. Costs count them as softmax attention.
        """
        return finite(self.evaluation.layer_shares)

    @property
    def used(self) -> float:
        """Cost at the measured softmax shares, in the unit of the budget's resource."""
        return self.supernet.cost.of(self.code, self.shares)


def finite(shares: Mapping[int, float]) -> dict[int, float]:
    """Return the softmax shares that are finite, by layer: costs count the other layers as softmax attention."""
    return {layer: share for layer, share in shares.items() if math.isfinite(share)}


def calibrate_routers(supernet: Supernet, task: Task, code: Code) -> float | None:
    """Move the routers of a supernet until one architecture of it costs the target of the budget; see `calibrate`.

    Args:
        supernet: trained supernet.
        task: task of the training.
        code: code of the architecture.

    Returns:
        Relative cost on the sequences of calibration; None if there is no router that decides.
    """
    if not supernet.searches or supernet.budget.dense or supernet.space.sizes.given_routing is not None:
        return None
    batches = [task.full_batch(step) for step in range(CALIBRATION_BATCHES)]
    target, exact = supernet.budget.target, supernet.budget.exact
    return calibrate(supernet.model, supernet.architecture_logits, supernet.cost, code, batches, target, exact)


def discretise(supernet: Supernet, task: Task, validation: Validation, code: Code | None = None) -> Discretised:
    """Take one architecture from a supernet, calibrate its routers to the budget and evaluate it.

    Calibration also moves the routers of the supernet, so that controls with the same weights have the same thresholds.

    Args:
        supernet: trained supernet.
        task: task of the training.
        validation: batches to evaluate on, by length factor.
        code: code of the architecture; `Supernet.code` by default.
    """
    code = supernet.code if code is None else code
    calibrated = calibrate_routers(supernet, task, code)
    model, policy = supernet.model.inherit(supernet.space.decode(code)), supernet.policy
    lengths = byte_lengths_of(task)
    evaluations = {
        factor: evaluate(model, batches, task.quality, policy, byte_lengths=lengths)
        for factor, batches in validation.items()
    }
    return Discretised(supernet, code, model, evaluations, calibrated)
