"""The decoding state of a router: the sum of the inputs of the current, incomplete chunk."""

import torch
from torch import Tensor

from nas.kernels.arguments import compute_dtype
from nas.models.mixers import Policy, TokenMixer


class OpenChunk:
    """Accumulates the router input of the current chunk, and routes the chunk when it is complete.

    The policy gets the logits of all chunks so far, and its decision about the last chunk is used. Chunk n then has
    index n for the policy, as in a forward pass over the whole sequence.

    Args:
        mixer: mixer of the layer.
        policy: how router logits become routes.
        chunk_size: tokens in a chunk.
    """

    def __init__(self, mixer: TokenMixer, policy: Policy, chunk_size: int) -> None:
        self._mixer, self._policy, self._chunk_size = mixer, policy, chunk_size
        self._logits: Tensor  # [B, chunks, R, 2]
        self._sum: Tensor  # [B, width]
        self._dtype: torch.dtype  # of the inputs

    def prefill(self, x: Tensor) -> Tensor:
        """Return weights [B, N, R, 2] of the N chunks of a prompt x [B, T, width]; the last may be incomplete."""
        full = x.shape[1] // self._chunk_size
        logits = self._mixer.router(x, self._chunk_size)
        self._logits = logits[:, :full]
        self._sum, self._dtype = x[:, full * self._chunk_size :].sum(1, dtype=compute_dtype(x.dtype)), x.dtype
        return self._policy(self._mixer.index, logits)

    def add(self, x: Tensor) -> None:
        """Add the input [B, 1, width] of one more token."""
        self._sum += x.squeeze(1)

    def close(self) -> Tensor:
        """Return weights [B, R, 2] of the current chunk, which is complete, and start the next chunk."""
        mean = (self._sum / self._chunk_size).to(self._dtype)
        self._logits = torch.cat([self._logits, self._mixer.router.logits(mean.unsqueeze(1))], dim=1)
        self._sum.zero_()
        return self._policy(self._mixer.index, self._logits)[:, -1]
