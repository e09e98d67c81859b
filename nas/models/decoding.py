"""Decoding: a language model processes a prompt in one pass, then one token at a time.

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

import math
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
    """Computes next-token logits of growing sequences, equal to those of the model on the whole sequences.

    Each layer keeps the last inputs of its short convolutions, keys and values, and a linear state. At the end of a
    chunk the router decides. Heads that send the chunk to linear attention free its keys and values. The other heads
    keep them and undo the change of the chunk to the state. All sequences of a batch have the same length. Decoding
    runs on the model's device, under the active autocast, without gradients.

    Args:
        model: language model of a single architecture.
        policy: how router logits become routes; None for the policy of the model.

    Raises:
        ValueError: the model is a supernet.
    """

    def __init__(self, model: LanguageModel, policy: Policy | None = None) -> None:
        if any(len(options) > 1 for options in model.options):
            raise ValueError("model is a supernet; give the model of one architecture, from its method inherit.")
        self._model, self._policy = model, model.policy if policy is None else policy
        self._blocks = cast("Sequence[Block]", model.blocks)
        self._layers: list[_Branches | _Alone] = []
        self._batch = 0
        self.length = 0
        """Number of tokens of each sequence so far."""

    @torch.no_grad()
    def prefill(self, tokens: Tensor) -> Tensor:
        """Start new sequences with their prompts.

        Args:
            tokens: [B, T] token ids of the prompts, T >= 1.

        Returns:
            Logits [B, vocab] of the next token.

        Raises:
            ValueError: tokens has another shape, no integer type, or ids outside the vocabulary.
        """
        self._check_prompts(tokens)
        self._batch = tokens.shape[0]
        self._layers = [_layer(block.mixer, self._policy) for block in self._blocks]
        self.length = 0
        return self._process(tokens)

    @torch.no_grad()
    def step(self, token: Tensor) -> Tensor:
        """Append one token [B] to the sequences; returns logits [B, vocab] of the next token.

        Ids must lie in the vocabulary. They are not compared with it, since this would wait for the GPU in every step.

        Raises:
            ValueError: there are no sequences yet, or token is not one integer for each of them.
        """
        if not self._layers:
            raise ValueError("step needs sequences to continue; call prefill with their prompts first.")
        _check_ids("token", token)
        if token.shape != (self._batch,):
            raise ValueError(f"token has shape {list(token.shape)}; it must be [{self._batch}], one id per sequence.")
        return self._process(token.unsqueeze(1))

    def _check_prompts(self, tokens: Tensor) -> None:
        """Raise a ValueError if tokens are not ids [B, T] of the vocabulary; waits for the GPU once."""
        _check_ids("tokens", tokens)
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise ValueError(f"tokens has shape {list(tokens.shape)}; it must be [B, T] with both at least 1.")
        least, most = (int(bound) for bound in tokens.aminmax())
        if least < 0 or most >= self._model.architecture.vocab_size:
            raise ValueError(
                f"tokens has ids from {least} to {most}; they must lie in the vocabulary, "
                f"from 0 to {self._model.architecture.vocab_size - 1}."
            )

    def _process(self, tokens: Tensor) -> Tensor:
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

        Reading it waits for the GPU. The allocator reports more, since pages come from larger pools.
        """
        return sum(layer.bytes_in_use for layer in self._layers)


class _Branches:
    """The decoding state of a layer whose branches share projections."""

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
        """Return the mixer output [B, T, width] for x [B, T, width]: the prompt, or the token at position ``start``."""
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
        """Return the inputs of each branch."""
        if self._open is None:
            return (self._branches[0].heads(self._mixer, given, start),)
        assert self._mixer.pair is not None
        return self._mixer.pair.heads(self._mixer, given, start)

    def _routes(self, weights: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the route of each branch from weights [..., R, 2]; None without a router."""
        return (None,) if weights is None else weights.unbind(-1)

    @property
    def bytes_in_use(self) -> int:
        """See `Decoder.bytes_in_use`."""
        return sum(memory.bytes_in_use for memory in self._memories)


class _Alone:
    """The decoding state of a layer with a standalone operation."""

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


def _check_ids(name: str, ids: Tensor) -> None:
    """Raise a ValueError if an argument is not a tensor of integers; prompts of several lengths are a list."""
    if not isinstance(ids, Tensor):
        raise ValueError(f"{name} is a {type(ids).__name__}; it must be a tensor of ids, with prompts of equal length.")
    if ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
        raise ValueError(f"{name} has type {ids.dtype}; it must have an integer type, such as torch.int64.")


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
    """Sample continuations of prompts.

    Args:
        model: language model of a single architecture.
        prompt: [B, T] token ids.
        count: number of tokens to sample, at least 1.
        policy: how router logits become routes; None for the policy of the model.
        temperature: divisor of the logits, at least 0; 0 selects the most probable token.
        generator: random generator on the model's device; PyTorch's default generator if None.

    Returns:
        [B, count] token ids.

    Raises:
        ValueError: count or temperature is out of range, prompt is no tensor of ids [B, T], or the model is a supernet.
    """
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count={count} is not allowed; it must be an integer, at least 1.")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature} is not allowed; it must be 0 or more, and finite.")

    def sampled(logits: Tensor) -> Tensor:
        if temperature == 0:
            return logits.argmax(-1)
        return (logits.float() / temperature).softmax(-1).multinomial(1, generator=generator).squeeze(1)

    decoder = Decoder(model, policy)
    tokens = [sampled(decoder.prefill(prompt))]
    while len(tokens) < count:
        tokens.append(sampled(decoder.step(tokens[-1])))
    return torch.stack(tokens, dim=1)
