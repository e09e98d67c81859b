"""How logits over operations become weights with a gradient. One function each; the last dimension is the choice."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.arguments import compute_dtype

Relaxation = Callable[[Tensor, float | Tensor], Tensor]
"""(logits [..., operations], temperature) to weights [..., operations] that sum to 1."""


def argmax_ste(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """One-hot argmax forwards, softmax(logits / temperature) backwards (straight-through; Bengio et al. 2013)."""
    return _straight_through((precise(logits) / temperature).softmax(-1)).to(logits.dtype)


def gumbel(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """One-hot sample forwards, Gumbel-softmax backwards (Jang et al. 2017; Maddison et al. 2017)."""
    soft = F.gumbel_softmax(precise(logits), tau=temperature, hard=True, dim=-1)  # type: ignore[arg-type]  # only divides
    return soft.to(logits.dtype)


def precise(x: Tensor) -> Tensor:
    """In float32 at the least: bfloat16 has three digits, too few for noise and for averages."""
    return x.to(compute_dtype(x.dtype))


def _straight_through(soft: Tensor) -> Tensor:
    """Exactly one-hot forwards, the gradient of ``soft`` backwards."""
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


RELAXATIONS: dict[str, Relaxation] = {"argmax_ste": argmax_ste, "gumbel": gumbel}


def interpolate(start: float, end: float, progress: float) -> float:
    """The temperature at a fraction of training: geometric from start to end."""
    return start * (end / start) ** progress
