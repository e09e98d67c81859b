"""Draws: the options that a layer computes in a training step, and their weights, from architecture logits."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nas.models.routing import LayerChoice
from nas.relaxations import RELAXATIONS, SAMPLED, UNLEARNT
from nas.search_spaces.space import Code

Draw = Callable[..., tuple[Tensor, ...]]
"""Maps the logits of the searchable layers to the weights of their options, and to what was drawn."""
RunDraw = Callable[[Draw, Sequence[Tensor]], tuple[Tensor, ...]]
"""Maps (a draw, logits of the searchable layers) to what the draw returns."""


def run_draw(draw: Draw, logits: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Call a draw."""
    return draw(*logits)


def draw_options(
    logits: Sequence[Tensor], relaxation: str, temperature: float | Tensor, pairs: bool
) -> tuple[Tensor, ...]:
    """Return the weights of each layer's options, and then, if any are drawn, the indices of all drawn options [n]."""
    relax = RELAXATIONS[relaxation]
    weights, drawn = [], []
    for own in logits:
        count = drawn_options(len(own), relaxation, pairs)
        if count == 2:
            drawn.append(_pair(own))
            own = own.index_select(0, drawn[-1])
        own = relax(own, temperature)
        if count == 1:
            drawn.append(own.argmax(-1, keepdim=True))
            own = own.index_select(0, drawn[-1]).squeeze(0)
        weights.append(own)
    return (*weights, torch.cat(drawn)) if drawn else tuple(weights)


def computed_options(options: int, relaxation: str, pairs: bool) -> int:
    """Return the number of options of a layer with so many that a training step computes."""
    return 1 if relaxation in UNLEARNT else drawn_options(options, relaxation, pairs) or options


def drawn_options(options: int, relaxation: str, pairs: bool) -> int:
    """Return the number of options that a layer with so many options draws; 0 if it computes all of them."""
    if relaxation in SAMPLED:
        return 1
    return 2 if pairs and options > 2 else 0


@torch.no_grad()
def _pair(logits: Tensor) -> Tensor:
    """Draw two different options [2] in proportion to softmax of their logits (Gumbel-top-2; Kool et al. 2019)."""
    noise = -torch.empty_like(logits).exponential_().log()
    return (logits + noise).topk(2).indices.sort().values


def choices_of_layers(code: Code) -> list[LayerChoice]:
    """Return the layer choices of a forward pass through one architecture of the space."""
    return [LayerChoice(option) for option in code]
