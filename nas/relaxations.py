"""Relaxations: how logits over operations become weights with a gradient.

Each relaxation is one function over the last dimension. Router logits and architecture logits use the same functions.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Dirichlet

from nas.kernels.arguments import compute_dtype

Relaxation = Callable[[Tensor, float | Tensor], Tensor]
"""Maps (logits [..., operations], temperature) to weights [..., operations] that sum to 1."""


def argmax_ste(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return the one-hot argmax, with the gradient of softmax(logits / temperature) (Bengio et al. 2013)."""
    return _straight_through((precise(logits) / temperature).softmax(-1)).to(logits.dtype)


def gumbel(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return a one-hot sample, with the gradient of Gumbel-softmax (Jang et al. 2017; Maddison et al. 2017)."""
    soft = F.gumbel_softmax(precise(logits), tau=temperature, hard=True, dim=-1)  # type: ignore[arg-type]  # only divides
    return soft.to(logits.dtype)


def darts(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return softmax(logits / temperature) (DARTS; Liu et al. 2019, eq. 2)."""
    return (precise(logits) / temperature).softmax(-1).to(logits.dtype)


def gdas(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return a one-hot Gumbel sample. Only the sampled operation has a gradient, that of its Gumbel-softmax.

    The other operations need not be computed (GDAS; Dong & Yang 2019, section 3.2).
    """
    soft = F.gumbel_softmax(precise(logits), tau=temperature, dim=-1)  # type: ignore[arg-type]  # only divides
    return (_one_hot(soft) * (1 + (soft - soft.detach()))).to(logits.dtype)


def drnas(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return a differentiable sample of Dirichlet(elu(logits) + 1) (DrNAS; Chen et al. 2021, section 2.2).

    The temperature has no effect.
    """
    concentration = F.elu(precise(logits)) + 1
    smallest = torch.finfo(concentration.dtype).eps
    weights: Tensor = Dirichlet(concentration.clamp(min=smallest), validate_args=False).rsample()
    return weights.to(logits.dtype)


def uniform(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return a uniform one-hot sample, independent of the logits (single path; Guo et al. 2020)."""
    noise = torch.rand(logits.shape, device=logits.device)
    return _one_hot(noise).to(logits.dtype)


def keep_at_random(weights: Tensor, probability: float | Tensor) -> Tensor:
    """Return weights in which each row is the first operation alone with this probability, with the same gradient."""
    first = torch.zeros_like(weights)
    first[..., 0].fill_(1.0)
    replaced = torch.rand(weights.shape[:-1], device=weights.device) < probability
    return torch.where(replaced[..., None], first + (weights - weights.detach()), weights)


def precise(x: Tensor) -> Tensor:
    """Return x in float32, or float64 if it is float64. The precision of bfloat16 is too low for noise and averages."""
    return x.to(compute_dtype(x.dtype))


def _one_hot(x: Tensor) -> Tensor:
    """Return the one-hot argmax; the first of equal maxima."""
    return torch.zeros_like(x).scatter_(-1, x.argmax(-1, keepdim=True), 1.0)


def _straight_through(soft: Tensor) -> Tensor:
    """Return the one-hot argmax of ``soft``, with the gradient of ``soft``."""
    return _one_hot(soft) + (soft - soft.detach())


RELAXATIONS: dict[str, Relaxation] = {
    "argmax_ste": argmax_ste,
    "gumbel": gumbel,
    "darts": darts,
    "gdas": gdas,
    "drnas": drnas,
    "uniform": uniform,
}
SAMPLED = ("gdas", "uniform")
"""Relaxations whose zero weights have no gradient. Options of weight zero need not be computed."""
UNLEARNT = ("uniform",)
"""Relaxations that do not train the logits. A searcher selects the architecture afterwards."""


def interpolate(start: float, end: float, progress: float) -> float:
    """Return the temperature at a fraction of training, geometric from start to end."""
    return start * (end / start) ** progress
