"""A language model that reads a prompt at once and goes on token by token.

>>> import torch
>>> from nas.search_spaces.architecture import Architecture, Layer
>>> from nas.models.decoding import Decoder, generate
>>> from nas.models.language_model import LanguageModel
>>> architecture = Architecture(
...     vocab_size=11, width=12, layers=(Layer("token_hybrid", 4), Layer("linear", 4)), linear_heads=2, key_dim=4,
...     value_dim=6, softmax_heads=4, routing_heads=2, mlp_width=10,
... )
>>> model = LanguageModel(architecture)
>>> decoder = Decoder(model)
>>> logits = decoder.prefill(torch.tensor([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]))
>>> logits = decoder.step(logits.argmax(-1))
>>> logits.shape, decoder.length
(torch.Size([2, 11]), 6)
>>> generate(model, torch.tensor([[1, 2, 3]]), 20).shape
torch.Size([1, 20])
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from nas.models.language_model import Block, LanguageModel
from nas.models.layers import ShortConvolution
from nas.models.mixers import Policy, TokenMixer, first_alone
from nas.models.open_chunk import OpenChunk
from nas.models.operations import Branch, Standalone, find
from nas.models.operations.operation import Heads, Projected
from nas.search_spaces.architecture import Layer


class Decoder:
    """Next-token logits of sequences that grow: those that the model gives for them as a whole.

    Each layer keeps what its tokens need of the past: the last inputs of the short convolutions, keys and values, a
    linear state. When a chunk is complete, its router decides: heads that leave it to linear attention free its keys
    and values, the others keep them and take back what it changed in the state. All sequences of a batch are equally
    long. Runs on the model's device, under the autocast in force; keeps no gradients.

    Args:
        model: of one architecture.
        policy: how router logits become routes; None for the model's own.

    Raises:
        ValueError: the model is one of many architectures.
    """

    def __init__(self, model: LanguageModel, policy: Policy | None = None) -> None:
        if any(len(options) > 1 for options in model.options):
            raise ValueError("model is one of many architectures; give that of one of them, as model.inherit makes it.")
        self._model, self._policy = model, model.policy if policy is None else policy
        self._blocks = cast("Sequence[Block]", model.blocks)
        self._layers: list[_Branches | _Alone] = []
        self.length = 0
        """Tokens of each sequence so far."""

    @torch.no_grad()
    def prefill(self, tokens: Tensor) -> Tensor:
        """Begin new sequences.

        Args:
            tokens: [B, T] token ids of the prompts, T >= 1.

        Returns:
            Logits [B, vocab] of what comes next.
        """
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise ValueError(f"tokens has shape {list(tokens.shape)}; it must be [B, T] with both at least 1.")
        self._layers = [_layer(block.mixer, self._policy) for block in self._blocks]
        self.length = 0
        return self._go_on(tokens)

    @torch.no_grad()
    def step(self, token: Tensor) -> Tensor:
        """Go on by one token, [B] token ids; returns logits [B, vocab] of what comes next."""
        if not self._layers:
            raise ValueError("step goes on from a prompt; give one to prefill first.")
        return self._go_on(token.unsqueeze(1))

    def _go_on(self, tokens: Tensor) -> Tensor:
        model = self._model
        x = model.embedding(tokens)
        for block, layer in zip(self._blocks, self._layers, strict=True):
            x = x + layer(block.mixer_norm(x), self.length)
            x = x + block.mlp(block.mlp_norm(x))
        self.length += tokens.shape[1]
        return model.head(model.norm(x[:, -1]))

    @property
    def bytes_in_use(self) -> int:
        """Bytes of keys, values and states of all sequences, in whole chunks; see `nas.budget.cost.kv_bytes`.

        Waits for the GPU. The pools that pages are taken from, which the allocator sees, are larger.
        """
        return sum(layer.bytes_in_use for layer in self._layers)


class _Branches:
    """The mixer of one layer with branches of shared projections, and what it keeps."""

    def __init__(self, mixer: TokenMixer, option: Layer, policy: Policy) -> None:
        self._mixer, self._chunk_size = mixer, option.chunk_size
        self._past: dict[ShortConvolution, Tensor] = {}
        self._open = (
            OpenChunk(mixer, policy, option.chunk_size) if option.routed and policy is not first_alone else None
        )
        self._branches: tuple[Branch, ...] = (cast("Branch", find(option.operations[0])),)
        if self._open is not None:
            assert mixer.pair is not None
            self._branches = mixer.pair.branches
        self._memories = [branch.memory(mixer, option.chunk_size) for branch in self._branches]

    def __call__(self, x: Tensor, start: int) -> Tensor:
        """The mixer's output [B, T, width] for x [B, T, width]: the prompt, or the one token at position ``start``."""
        given = self._mixer.project(x, self._convolve)
        heads = self._heads(given, start)
        if start == 0:
            routes = self._routes(None if self._open is None else self._open.prefill(given.x))
            each = zip(self._memories, heads, routes, strict=True)
            o = [memory.prefill(own, route) for memory, own, route in each]
        else:
            o = [memory.step(own) for memory, own in zip(self._memories, heads, strict=True)]
            if self._open is not None:
                self._open.add(given.x)
            if (start + 1) % self._chunk_size == 0:
                routes = self._routes(None if self._open is None else self._open.close(given.x.dtype))
                for memory, route in zip(self._memories, routes, strict=True):
                    memory.close(route)
        gate = self._mixer.gate(given.x)
        if self._open is None:
            return self._mixer.out(self._branches[0].merge(self._mixer, o[0], gate))
        assert self._mixer.pair is not None
        return self._mixer.out(self._mixer.pair.merge(self._mixer, (o[0], o[1]), given.q, gate))

    def _convolve(self, convolution: ShortConvolution, x: Tensor) -> Tensor:
        y, self._past[convolution] = convolution.after(x, self._past.get(convolution))
        return y

    def _heads(self, given: Projected, start: int) -> tuple[Heads, ...]:
        """What each branch works on."""
        if self._open is None:
            return (self._branches[0].heads(self._mixer, given, start),)
        assert self._mixer.pair is not None
        return self._mixer.pair.heads(self._mixer, given, start)

    def _routes(self, weights: Tensor | None) -> tuple[Tensor | None, ...]:
        """The route of each branch, of weights [..., R, 2]; None if nothing is routed."""
        return (None,) if weights is None else weights.unbind(-1)

    @property
    def bytes_in_use(self) -> int:
        """See `Decoder.bytes_in_use`."""
        return sum(memory.bytes_in_use for memory in self._memories)


class _Alone:
    """The mixer of one layer with an operation that stands alone, and what it keeps."""

    def __init__(self, mixer: TokenMixer, operation: Standalone) -> None:
        self._memory = operation.layer_memory(mixer)

    def __call__(self, x: Tensor, start: int) -> Tensor:
        """See `_Branches`."""
        return self._memory.prefill(x) if start == 0 else self._memory.step(x)

    @property
    def bytes_in_use(self) -> int:
        """See `Decoder.bytes_in_use`."""
        return self._memory.bytes_in_use


def _layer(mixer: TokenMixer, policy: Policy) -> _Branches | _Alone:
    (option,) = mixer.options
    operation = find(option.operations[0])
    return _Alone(mixer, operation) if isinstance(operation, Standalone) else _Branches(mixer, option, policy)


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompt: Tensor,
    count: int,
    policy: Policy | None = None,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sample what comes after prompts.

    Args:
        model: of one architecture.
        prompt: [B, T] token ids.
        count: tokens to sample, at least 1.
        policy: see `Decoder`.
        temperature: by which logits are divided; 0 for the most probable token.
        generator: on the model's device; PyTorch's own by default.

    Returns:
        [B, count] token ids.

    Raises:
        ValueError: an argument is not as above.
    """
    if count < 1:
        raise ValueError(f"count={count} is not allowed; it must be at least 1.")
    if temperature < 0:
        raise ValueError(f"temperature={temperature} is not allowed; it must be 0 or more.")

    def sampled(logits: Tensor) -> Tensor:
        if temperature == 0:
            return logits.argmax(-1)
        return (logits.float() / temperature).softmax(-1).multinomial(1, generator=generator).squeeze(1)

    decoder = Decoder(model, policy)
    tokens = [sampled(decoder.prefill(prompt))]
    while len(tokens) < count:
        tokens.append(sampled(decoder.step(tokens[-1])))
    return torch.stack(tokens, dim=1)
