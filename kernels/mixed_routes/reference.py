"""Routes of a mixture in PyTorch: the definition, and the CPU path."""

import torch
from torch import Tensor


def mixed_routes(weights: Tensor, first: Tensor, second: Tensor, hybrid: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `nas.kernels.mixed_routes` of valid arguments."""
    kept, compressed = weights.unbind(-1)
    return _mean_route(first, hybrid, kept), _mean_route(second, hybrid, compressed)


def _mean_route(plain: Tensor, hybrid: Tensor, route: Tensor) -> Tensor:
    """Return the mean route of a branch: weight ``plain`` keeps every chunk, weight ``hybrid`` follows ``route``."""
    total = plain + hybrid
    return torch.where(total > 0, (plain + hybrid * route) / total.clamp(min=torch.finfo(total.dtype).tiny), 1.0)
