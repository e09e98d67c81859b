"""Where routers have to draw the line for a given cost: the quantile of their logits.

A route is hard: softmax where its logit is the larger one. So the cost of a step is a function of one threshold on the
difference of the logits, and the threshold for a wanted cost is a quantile, whatever the scale of the logits.
"""

import torch
from torch import Tensor

MARGIN = 0.1
"""How far beyond the last logit a threshold stands that leaves nothing on the other side."""


def threshold(leads: Tensor, costs: Tensor, allowed: Tensor) -> Tensor:
    """The threshold over which as many of the largest leads lie as their costs allow: a number, on the same device.

    It stands in the middle between the last that is kept and the first that is not. Where all or nothing is to be kept
    and the threshold 0 does that already, it is 0.

    Where nothing is to be decided it is 0 too.

    Args:
        leads: [n] of softmax over linear.
        costs: [n] of each where it goes to softmax.
        allowed: for the sum of costs.

    >>> leads, costs = torch.tensor([-3.0, 1.0, 2.0, 5.0]), torch.full((4,), 0.25)
    >>> [threshold(leads, costs, torch.tensor(allowed)).item() for allowed in (0.0, 0.5, 0.75)]
    [5.099999904632568, 1.5, -1.0]
    """
    if not len(leads):
        return allowed.new_zeros(())
    ordered, order = leads.sort(descending=True)
    each = costs[order]
    kept = (each.cumsum(0) - each / 2 <= allowed).sum()
    edges = torch.cat([ordered[:1] + 2 * MARGIN, ordered, ordered[-1:] - 2 * MARGIN])
    middle = edges.index_select(0, torch.stack([kept, kept + 1])).mean()
    nothing, everything = kept == 0, kept == len(leads)
    middle = torch.where(nothing, middle.clamp(min=0.0), middle)
    return torch.where(everything, middle.clamp(max=0.0), middle)
