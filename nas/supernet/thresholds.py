"""The router threshold for a given cost, as a quantile of softmax margins.

The softmax margin of a chunk is its softmax logit minus its linear logit. A hard route is softmax if the margin is at
least the threshold. The cost of a step is therefore a function of the threshold. The threshold for a given cost is a
quantile of the margins, whatever their scale.
"""

import torch
from torch import Tensor

ROUNDING = 1e-6
"""Excess over the allowed cost that counts as rounding of float32 sums."""
GAP = 0.1
"""Distance from the outermost margin of a threshold that keeps all chunks or none."""

CLEARANCE = 1e-3
"""Least distance of an upper limit's threshold from the largest dropped margin. Chunks with equal contents have equal
margins up to rounding: a threshold among them keeps all of them on one batch and none on another."""


def threshold(margins: Tensor, costs: Tensor, allowed: Tensor, nearest: bool = True) -> Tensor:
    """Return the threshold, a scalar tensor, above which the largest margins have the allowed total cost.

    It is the mean of the smallest margin that is kept and the largest that is dropped. It is 0 if a threshold of 0
    already keeps all or none as required, and if n is 0.

    Args:
        margins: [n] softmax margins.
        costs: [n] cost of each decision if it is softmax.
        allowed: allowed sum of costs, a scalar tensor.
        nearest: whether the total cost is the nearest to the allowed cost; else it is the largest that is not above it,
            and dropped margins are at least `CLEARANCE` below the threshold.

    >>> margins, costs = torch.tensor([-3.0, 1.0, 2.0, 5.0]), torch.full((4,), 0.25)
    >>> [threshold(margins, costs, torch.tensor(allowed)).item() for allowed in (0.0, 0.5, 0.75)]
    [5.099999904632568, 1.5, -1.0]
    >>> margins = torch.tensor([5.0, 1.0, 1.0, 1.0])
    >>> [round(threshold(margins, costs, torch.tensor(0.6), nearest).item(), 3) for nearest in (True, False)]
    [1.0, 1.001]
    """
    if not len(margins):
        return allowed.new_zeros(())
    ordered, order = margins.sort(descending=True)
    each = costs[order]
    limits = each.cumsum(0) - each / 2 if nearest else each.cumsum(0) - ROUNDING
    kept = (limits <= allowed).sum()
    edges = torch.cat([ordered[:1] + 2 * GAP, ordered, ordered[-1:] - 2 * GAP])
    middle = edges.index_select(0, torch.stack([kept, kept + 1])).mean()
    if not nearest:
        middle = torch.maximum(middle, edges.index_select(0, kept[None] + 1).squeeze(0) + CLEARANCE)
    nothing, everything = kept == 0, kept == len(margins)
    middle = torch.where(nothing, middle.clamp(min=0.0), middle)
    return torch.where(everything, middle.clamp(max=0.0), middle)
