"""What decoding keeps of the tokens so far, one class for each branch of a mixer and one for its router."""

from typing import Protocol

import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention
from nas.kernels.arguments import compute_dtype
from nas.kernels.chunk_softmax_attention import decode as softmax_decode
from nas.kernels.chunk_softmax_attention.decode import KVCache
from nas.kernels.gated_delta_rule import decode as linear_decode
from nas.kernels.gated_delta_rule.decode import LinearState
from nas.kernels.triton_support import operand_dtype
from nas.models.mixers import Policy, TokenMixer


class Branch(Protocol):
    """One branch of a layer and its memory, made by `prefill` and from then on updated token by token."""

    def prefill(self, heads: tuple[Tensor, ...], route: Tensor | None) -> Tensor:
        """Begin with a prompt.

        Args:
            heads: `SoftmaxHeads` or `LinearHeads` of its T tokens.
            route: [B, ceil(T / chunk_size), R]; that of a chunk that is not full is not used. None where all is seen.

        Returns:
            [B, T, H, V].
        """

    def step(self, heads: tuple[Tensor, ...]) -> Tensor:
        """One token more: its heads to [B, 1, H, V]."""

    def close(self, route: Tensor | None) -> None:
        """End the chunk that is now full; route [B, R] says how much later tokens see of it, None for all."""

    @property
    def bytes_in_use(self) -> int:
        """Of all sequences. Waits for the GPU."""


class SoftmaxBranch:
    """Softmax attention and its KV cache, in whose pages what a route skips takes no place."""

    def __init__(self, chunk_size: int) -> None:
        self._chunk_size = chunk_size
        self._cache: KVCache

    def prefill(self, heads: tuple[Tensor, ...], route: Tensor | None) -> Tensor:
        q, k, v = heads
        self._cache = softmax_decode.cache_of_prefill(
            k, v, route, chunk_size=self._chunk_size, dtype=operand_dtype(q, k, v)
        )
        return chunk_softmax_attention(q, k, v, route, chunk_size=self._chunk_size)

    def step(self, heads: tuple[Tensor, ...]) -> Tensor:
        q, k, v = (x.squeeze(1) for x in heads)
        o, self._cache = softmax_decode.chunk_softmax_attention_step(q, k, v, self._cache)
        return o.unsqueeze(1)

    def close(self, route: Tensor | None) -> None:
        self._cache = softmax_decode.close_chunk(self._cache, route)

    @property
    def bytes_in_use(self) -> int:
        return softmax_decode.bytes_in_use(self._cache)


class LinearBranch:
    """Gated DeltaNet and its state; without a router chunks mean nothing to it, and it closes none."""

    def __init__(self, chunk_size: int) -> None:
        self._chunk_size = chunk_size
        self._state: LinearState

    def prefill(self, heads: tuple[Tensor, ...], route: Tensor | None) -> Tensor:
        q, k, v, g, beta = heads
        o, self._state = linear_decode.gated_delta_rule_prefill(q, k, v, g, beta, route, chunk_size=self._chunk_size)
        return o

    def step(self, heads: tuple[Tensor, ...]) -> Tensor:
        q, k, v, g, beta = (x.squeeze(1) for x in heads)
        o, self._state = linear_decode.gated_delta_rule_step(q, k, v, g, beta, self._state)
        return o.unsqueeze(1)

    def close(self, route: Tensor | None) -> None:
        if route is not None:
            self._state = linear_decode.close_chunk(self._state, route)

    @property
    def bytes_in_use(self) -> int:
        return sum(buffer.numel() * buffer.element_size() for buffer in self._state)


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
