"""The decoding state of a router: the sum of the inputs of the current, incomplete chunk."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.kernels.arguments import compute_dtype
from nas.models.mixers import Policy, TokenMixer
from nas.models.operations.operation import Ends


class OpenChunk:
    """Accumulates the router input of the current chunk, and routes the chunk when it is complete.

    The policy gets the logits of all chunks so far, and its decision about the last chunk is used. Chunk n then has
    index n for the policy, as in a forward pass over the whole sequence. The policy gets sequences of different lengths
    one after the other, since its decisions may depend on the number of chunks.

    Args:
        mixer: mixer of the layer.
        policy: how router logits become routes.
        chunk_size: tokens in a chunk.
    """

    def __init__(self, mixer: TokenMixer, policy: Policy, chunk_size: int) -> None:
        self._mixer, self._policy, self._chunk_size = mixer, policy, chunk_size
        self._logits: list[Tensor]  # [B, chunks, R, 2] of each part of the batch, whose sequences have one length
        self._sum: Tensor  # [B, width]
        self._dtype: torch.dtype  # of the inputs

    def prefill(self, x: Tensor) -> Tensor:
        """Return weights [B, N, R, 2] of the N chunks of a prompt x [B, T, width]; the last may be incomplete."""
        full = x.shape[1] // self._chunk_size
        logits = self._mixer.router(x, self._chunk_size)
        self._logits = [logits[:, :full]]
        self._sum, self._dtype = x[:, full * self._chunk_size :].sum(1, dtype=compute_dtype(x.dtype)), x.dtype
        return self._policy(self._mixer.index, logits)

    def join(self, others: Sequence["OpenChunk"]) -> None:
        """Append the sequences of other states."""
        self._logits += [logits for other in others for logits in other._logits]
        self._sum = torch.cat([self._sum, *(other._sum for other in others)])

    def add(self, x: Tensor) -> None:
        """Add the input [B, 1, width] of one more token."""
        self._sum += x.squeeze(1)

    def close(self, ends: Ends | None = None) -> Tensor:
        """Return weights [B, R, 2] of the current chunk, and start the next chunk.

        Args:
            ends: sequences whose chunk is complete. The weights of other sequences are 0. None for all sequences.
        """
        mean = (self._sum / self._chunk_size).to(self._dtype)
        logits = self._mixer.router.logits(mean.unsqueeze(1))
        parts = logits.split([part.shape[0] for part in self._logits])
        weights = [torch.zeros_like(part[:, -1]) for part in parts]
        for index in range(len(parts)) if ends is None else ends.parts:
            self._logits[index] = torch.cat([self._logits[index], parts[index]], dim=1)
            weights[index] = self._policy(self._mixer.index, self._logits[index])[:, -1]
        if ends is None:
            self._sum.zero_()
        else:
            self._sum.masked_fill_(ends.where[:, None], 0.0)
        return torch.cat(weights)
