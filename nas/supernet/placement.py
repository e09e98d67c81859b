"""The placement of a token hybrid: layers whose routers decide nothing become layers without a router.

A router that keeps almost no chunk, or almost every chunk, does not need to be one. Such a layer is not yet a linear or
a softmax layer: inside its own chunk each token sees both branches in full. The layer therefore changes while training
still goes on, at ``budget.settle_from``, and the weights adapt over the remaining steps. Both operations share the
parameters of the layer, so that it needs no new ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.config import BudgetConfig, SearchConfig
from nas.errors import UserError
from nas.models.mixers import LayerChoice
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Space

UNDECIDED = -1


class Placement(nn.Module):
    """The option of each layer after the placement; its buffer is part of checkpoints.

    Layers with a single option, which has a router, get two further options: the operation that drops chunks alone,
    and the operation that keeps them alone. Other layers stay as they are.

    Args:
        space: search space.
        share: softmax share up to which a layer drops its router, and 1 minus it from which on it does.
    """

    chosen: Tensor
    """[layers] index of the option of each layer, `UNDECIDED` before the placement."""

    def __init__(self, space: Space, share: float) -> None:
        super().__init__()
        self._space, self._share = space, share
        self.register_buffer("chosen", torch.full((len(space.options),), UNDECIDED))
        self._code: tuple[int, ...] | None = None  # value of the buffer, readable without waiting for a GPU
        self.register_load_state_dict_post_hook(Placement._read)

    def _read(self, _: object = None) -> None:
        chosen = tuple(self.chosen.tolist())
        self._code = None if UNDECIDED in chosen else chosen

    @property
    def options(self) -> tuple[tuple[Layer, ...], ...]:
        """The options of each layer, with those that it can become."""
        return tuple((*own, *_plain(own[0])) if len(own) == 1 and own[0].routed else own for own in self._space.options)

    @property
    def decided(self) -> bool:
        """Whether the placement is made."""
        return self._code is not None

    @property
    def code(self) -> tuple[int, ...]:
        """The option of each layer; the first one before the placement."""
        return self._code or (0,) * len(self._space.options)

    @property
    def changed(self) -> tuple[int, ...]:
        """Indices of the layers that have no router any more."""
        return tuple(layer for layer, option in enumerate(self.code) if option)

    @torch.no_grad()
    def decide(self, shares: Tensor) -> None:
        """Make the placement by the running softmax shares of the layers, [layers, options]; waits for a GPU."""
        for layer, (own, options) in enumerate(zip(shares[:, 0].tolist(), self.options, strict=True)):
            becomes = 1 if own <= self._share else 2 if own >= 1 - self._share else 0
            self.chosen[layer] = becomes if len(options) > len(self._space.options[layer]) else 0
        self._read()

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
    _check(config.budget)
    return Placement(space, share)


def _check(budget: BudgetConfig) -> None:
    if budget.settle_from >= 1 or budget.dense_until >= 1:
        late = "settle_from" if budget.settle_from >= 1 else "dense_until"
        raise UserError(
            f"space.placement places layers at budget.settle_from, after the dense phase, but budget.{late}="
            f"{getattr(budget, late):g} is the end of training; give a number below 1."
        )
