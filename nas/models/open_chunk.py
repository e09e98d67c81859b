"""What decoding keeps for a router: the sum of the tokens of the chunk that is not full yet."""

import torch
from torch import Tensor

from nas.kernels.arguments import compute_dtype
from nas.models.mixers import Policy, TokenMixer


class OpenChunk:
    """What the router of a layer will decide by: the sum of the running chunk's tokens.

    A policy is asked with the logits of all chunks so far, of which it decides the last: so chunk n of a sequence is
    the n-th for it, as in a whole sequence.

    Args:
        mixer: of the layer.
        policy: how logits become routes.
        chunk_size: of the layer.
    """

    def __init__(self, mixer: TokenMixer, policy: Policy, chunk_size: int) -> None:
        self._mixer, self._policy, self._chunk_size = mixer, policy, chunk_size
        self._logits: Tensor  # [B, chunks, R, 2]
        self._sum: Tensor  # [B, width]

    def prefill(self, x: Tensor) -> Tensor:
        """Weights [B, N, R, 2] of the N chunks of a prompt x [B, T, width], of which the last may not be full."""
        full = x.shape[1] // self._chunk_size
        logits = self._mixer.router(x, self._chunk_size)
        self._logits = logits[:, :full]
        self._sum = x[:, full * self._chunk_size :].sum(1, dtype=compute_dtype(x.dtype))
        return self._policy(self._mixer.index, logits)

    def add(self, x: Tensor) -> None:
        """One token more, [B, 1, width]."""
        self._sum += x.squeeze(1)

    def close(self, dtype: torch.dtype) -> Tensor:
        """Weights [B, R, 2] of the running chunk, which is full; the next one begins. dtype: of the mixer's input."""
        mean = (self._sum / self._chunk_size).to(dtype)
        self._logits = torch.cat([self._logits, self._mixer.router.logits(mean.unsqueeze(1))], dim=1)
        self._sum.zero_()
        return self._policy(self._mixer.index, self._logits)[:, -1]
