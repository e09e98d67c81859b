"""The operations that every search space chooses between, each behind one public function, and both fused in one call.

>>> import torch
>>> from nas.kernels import chunk_softmax_attention
>>> q = k = v = torch.randn(1, 10, 2, 8)
>>> route = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1)  # [B, N, R]: later chunks do not see chunk 1
>>> chunk_softmax_attention(q, k, v, route, chunk_size=4).shape
torch.Size([1, 10, 2, 8])
"""

from nas.kernels.chunk_softmax_attention import chunk_softmax_attention
from nas.kernels.gated_delta_rule import gated_delta_rule
from nas.kernels.hybrid_attention import hybrid_attention

__all__ = ["chunk_softmax_attention", "gated_delta_rule", "hybrid_attention"]
