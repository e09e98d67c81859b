"""How logits over operations become weights with a gradient. One function each; the last dimension is the choice.

The same functions serve the logits of routers, a choice for each chunk and head, and those of layers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Dirichlet

from nas.kernels.arguments import compute_dtype

Relaxation = Callable[[Tensor, float | Tensor], Tensor]
"""(logits [..., operations], temperature) to weights [..., operations] that sum to 1."""


def argmax_ste(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """One-hot argmax forwards, softmax(logits / temperature) backwards (straight-through; Bengio et al. 2013)."""
    return _straight_through((precise(logits) / temperature).softmax(-1)).to(logits.dtype)


def gumbel(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """One-hot sample forwards, Gumbel-softmax backwards (Jang et al. 2017; Maddison et al. 2017)."""
    soft = F.gumbel_softmax(precise(logits), tau=temperature, hard=True, dim=-1)  # type: ignore[arg-type]  # only divides
    return soft.to(logits.dtype)


def darts(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """softmax(logits / temperature), forwards too (DARTS; Liu et al. 2019, eq. 2)."""
    return (precise(logits) / temperature).softmax(-1).to(logits.dtype)


def gdas(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """One-hot Gumbel sample; only the sampled operation has a gradient, that of its Gumbel-softmax.

    The others need not be computed (GDAS; Dong & Yang 2019, section 3.2).
    """
    soft = F.gumbel_softmax(precise(logits), tau=temperature, dim=-1)  # type: ignore[arg-type]  # only divides
    return (_one_hot(soft) * (1 + (soft - soft.detach()))).to(logits.dtype)


def drnas(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """A sample of Dirichlet(elu(logits) + 1), differentiable (DrNAS; Chen et al. 2021, section 2.2); no temperature."""
    concentration = F.elu(precise(logits)) + 1
    smallest = torch.finfo(concentration.dtype).eps
    weights: Tensor = Dirichlet(concentration.clamp(min=smallest), validate_args=False).rsample()
    return weights.to(logits.dtype)


def uniform(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """One-hot sample, each operation as often as any other whatever the logits (single path; Guo et al. 2020)."""
    noise = torch.rand(logits.shape, device=logits.device)
    return _one_hot(noise).to(logits.dtype)


def precise(x: Tensor) -> Tensor:
    """In float32 at the least: bfloat16 has three digits, too few for noise and for averages."""
    return x.to(compute_dtype(x.dtype))


def _one_hot(x: Tensor) -> Tensor:
    """One where x is largest, the first of equals."""
    return torch.zeros_like(x).scatter_(-1, x.argmax(-1, keepdim=True), 1.0)


def _straight_through(soft: Tensor) -> Tensor:
    """Exactly one-hot forwards, the gradient of ``soft`` backwards."""
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
"""Those whose weights of zero hand no gradient on: what they weigh need not be computed."""
UNLEARNT = ("uniform",)
"""Those that teach logits nothing: a searcher has to choose afterwards."""


def interpolate(start: float, end: float, progress: float) -> float:
    """The temperature at a fraction of training: geometric from start to end."""
    return start * (end / start) ** progress
