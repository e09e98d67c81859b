"""Short convolution in PyTorch: the definition, and the CPU path."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor


def short_convolution(x: Tensor, weight: Tensor, borders: list[int] | None = None, heads: int | None = None) -> Tensor:
    """Compute `nas.kernels.short_convolution` of valid arguments; ``borders`` are those of packed documents."""
    if borders is not None:
        lengths = [end - start for start, end in pairwise(borders)]
        parts = [part for part in x.split(lengths, dim=1) if part.shape[1]]
        return torch.cat([short_convolution(part, weight, heads=heads) for part in parts], dim=1)
    channels, size = weight.shape
    taps = weight.to(x.dtype).unsqueeze(1)
    y = F.silu(F.conv1d(F.pad(x.mT, (size - 1, 0)), taps, groups=channels).mT)
    return y if heads is None else F.normalize(y.unflatten(-1, (heads, -1)), dim=-1).flatten(-2)
