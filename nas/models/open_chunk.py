"""The decoding state of a router: what it reads of the current, incomplete chunk."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.arguments import compute_dtype
from nas.models.mixers import TokenMixer
from nas.models.operations.operation import Ends
from nas.models.routing import Policy


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
        self._read: dict[str, Tensor]  # [B, width] of each feature: the sum, the largest values, the last token
        self._dtype: torch.dtype  # of the inputs

    def prefill(self, x: Tensor) -> Tensor:
        """Return weights [B, N, R, 2] of the N chunks of a prompt x [B, T, width]; the last may be incomplete."""
        full = x.shape[1] // self._chunk_size
        logits = self._mixer.router(x, self._chunk_size)
        self._logits = [logits[:, :full]]
        begun, self._dtype = x[:, full * self._chunk_size :], x.dtype
        self._read = {feature: BEGUN[feature](begun) for feature in self._mixer.router.features}
        return self._policy(self._mixer.index, logits)

    def join(self, others: Sequence["OpenChunk"]) -> None:
        """Append the sequences of other states."""
        self._logits += [logits for other in others for logits in other._logits]
        self._read = {
            feature: torch.cat([own, *(other._read[feature] for other in others)])
            for feature, own in self._read.items()
        }

    def add(self, x: Tensor) -> None:
        """Add the input [B, 1, width] of one more token."""
        x = x.squeeze(1)
        for feature, read in self._read.items():
            if feature == "mean":
                read += x
            elif feature == "max":
                torch.maximum(read, x, out=read)
            else:
                read.copy_(x)

    def close(self, ends: Ends | None = None) -> Tensor:
        """Return weights [B, R, 2] of the current chunk, and start the next chunk.

        Args:
            ends: sequences whose chunk is complete. The weights of other sequences are 0. None for all sequences.
        """
        read = (one / self._chunk_size if feature == "mean" else one for feature, one in self._read.items())
        logits = self._mixer.router.logits([one.to(self._dtype).unsqueeze(1) for one in read])
        parts = logits.split([part.shape[0] for part in self._logits])
        weights = [torch.zeros_like(part[:, -1]) for part in parts]
        for index in range(len(parts)) if ends is None else ends.parts:
            self._logits[index] = torch.cat([self._logits[index], parts[index]], dim=1)
            weights[index] = self._policy(self._mixer.index, self._logits[index])[:, -1]
        for feature, one in self._read.items():
            empty = EMPTY.get(feature, 0.0)
            if ends is None:
                one.fill_(empty)
            else:
                one.masked_fill_(ends.where[:, None], empty)
        return torch.cat(weights)


EMPTY = {"max": -math.inf}
"""Values of an empty chunk, where they are not 0."""
BEGUN: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.sum(1, dtype=compute_dtype(x.dtype)),
    "max": lambda x: F.pad(x, (0, 0, 1, 0), value=EMPTY["max"]).amax(1),
    "last": lambda x: F.pad(x, (0, 0, 1, 0))[:, -1].clone(),
}
"""Values of the tokens [B, n, width] of a chunk that has begun, by feature; n may be 0."""
