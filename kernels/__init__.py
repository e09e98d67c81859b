"""The operations that every search space chooses between, each behind one public function, and both fused in one call.

>>> import torch
>>> from nas.kernels import chunk_softmax_attention
>>> q = k = v = torch.randn(1, 10, 2, 8)
>>> route = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1)  # [B, N, R]: later chunks do not see chunk 1
>>> chunk_softmax_attention(q, k, v, route, chunk_size=4).shape
torch.Size([1, 10, 2, 8])

The package is imported as ``nas.kernels``. Hugging Face has a package ``kernels``, which transformers imports where it
is installed. In the root of a checkout, Python finds this folder under that name first. It then gives way to the other.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

from nas.kernels.chunk_softmax_attention import chunk_softmax_attention
from nas.kernels.gated_delta_rule import gated_delta_rule
from nas.kernels.hybrid_attention import hybrid_attention

__all__ = ["chunk_softmax_attention", "gated_delta_rule", "hybrid_attention"]


def _give_way() -> None:
    """Put the package of this name that is later on Python's path, if there is one, in the place of this module."""
    root = Path(__file__).resolve().parents[1]
    own = [index for index, entry in enumerate(sys.path) if Path(entry).resolve() == root]
    spec = PathFinder.find_spec(__name__, sys.path[own[-1] + 1 :]) if own else None
    if spec is not None and spec.loader is not None:
        sys.modules[__name__] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[__name__])


if __name__ == "kernels":
    _give_way()
