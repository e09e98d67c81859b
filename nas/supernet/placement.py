"""The placement of a token hybrid: layers whose routers decide nothing become layers without a router.

A router that keeps almost no chunk, or almost every chunk, does not need to be one. Such a layer is not yet a linear or
a softmax layer: inside its own chunk each token sees both branches in full. The layer therefore changes while training
still goes on, at ``budget.settle_from`` or `LATEST`, and the weights adapt over the remaining steps. Both operations
share the parameters of the layer, so that it needs no new ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.budget.cost import SpaceCost
from nas.config import SearchConfig
from nas.errors import UserError
from nas.models.routing import LayerChoice
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Code, Space
from nas.supernet.architecture_logits import ROUNDING
from nas.supernet.decision import Decision

LATEST = 0.8
"""Fraction of training at which the placement is made at the latest, unless the dense phase still lasts."""


class Placement(Decision):
    """The option of each layer after the placement.

    Layers with a single option, which has a router, get two further options: the operation that drops chunks alone,
    and the operation that keeps them alone. Other layers stay as they are.

    Args:
        space: search space.
        share: softmax share up to which a layer drops its router, and 1 minus it from which on it does.
    """

    def __init__(self, space: Space, share: float) -> None:
        super().__init__(len(space.options))
        self._space, self._share = space, share

    @property
    def options(self) -> tuple[tuple[Layer, ...], ...]:
        """The options of each layer, with those that it can become."""
        return tuple((*own, *_plain(own[0])) if len(own) == 1 and own[0].routed else own for own in self._space.options)

    @property
    def code(self) -> Code:
        """The option of each layer; the first one before the placement."""
        return self._code or (0,) * len(self._space.options)

    @property
    def changed(self) -> tuple[int, ...]:
        """Indices of the layers that have no router any more."""
        return tuple(layer for layer, option in enumerate(self.code) if option)

    @property
    def space(self) -> Space:
        """The space of all placements."""
        return Space(self._space.name, self._space.sizes, self.options)

    @torch.no_grad()
    def decide(self, shares: Tensor, cost: SpaceCost, target: float) -> None:
        """Make the placement; waits for a GPU. Layers become softmax only as far as the budget allows.

        Args:
            shares: running softmax shares, [layers, options].
            cost: cost of the space of all placements.
            target: relative cost of the budget.
        """
        own = shares[:, 0].tolist()
        placed = [layer for layer, options in enumerate(self.options) if options != self._space.options[layer]]
        code = [int(layer in placed and own[layer] <= self._share) for layer in range(len(own))]
        dropping = dict.fromkeys(range(len(own)), 0.0)
        for layer in sorted(placed, key=lambda layer: -own[layer]):
            softer = [*code[:layer], 2, *code[layer + 1 :]]
            if own[layer] >= 1 - self._share and cost.relative(cost.of(softer, dropping)) <= target + ROUNDING:
                code = softer
        self.keep(tuple(code))

    def placed(self, choices: Sequence[LayerChoice]) -> list[LayerChoice]:
        """Return the layer choices of a forward pass, with the options of the layers that have changed."""
        return [LayerChoice(own) if own else choice for own, choice in zip(self.code, choices, strict=True)]


def _plain(layer: Layer) -> tuple[Layer, Layer]:
    """Return the layers that a routed layer can become: first the one that drops chunks, then the one that keeps."""
    kept, dropped = layer.operations
    return layer._replace(mixer=dropped), layer._replace(mixer=kept)


def placement_of(config: SearchConfig, space: Space) -> Placement | None:
    """Return the placement of a search; None if it is off. Raise a UserError if it could never be made."""
    share = config.space.placement
    if share is None:
        return None
    if config.budget.dense_until >= 1:
        raise UserError(
            "space.placement places layers after the dense phase, but budget.dense_until=1 is the end of training; "
            "give a number below 1."
        )
    return Placement(space, share)
