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

from nas.errors import warn
from nas.models.language_model import Block, LanguageModel
from nas.models.layer_states import LayerState, layer_state
from nas.models.mixers import Policy
from nas.models.recording import StepGraph, reason_of


class Decoder:
    """Computes next-token logits of growing sequences, equal to those of the model on the whole sequences.

    Each layer keeps the last inputs of its short convolutions, keys and values, and a linear state. At the end of a
    chunk the router decides. Heads that send the chunk to linear attention free its keys and values. The other heads
    keep them and undo the change of the chunk to the state. All sequences of a batch have the same length. Decoding
    runs on the model's device, under the active autocast, without gradients.

    On a GPU a step is recorded as a CUDA graph, if the decoding states of all layers have ``buffers``; see
    `nas.models.operations.operation.Memory`. Ends of chunks, at which routers decide and caches grow, are not part of
    the graph. It is recorded again when a cache has grown.

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
        self._layers: list[LayerState] = []
        self._batch = 0
        self._graph: StepGraph | None = None
        self._addresses: list[int] | None = None
        """Addresses of the decoding states for which the kernels of a step are compiled; None before the first step."""
        self._records = True
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
        self._layers = [layer_state(block.mixer, self._policy) for block in self._blocks]
        self._forget()
        self.length = tokens.shape[1]
        x = self._model.embedding(tokens)
        for block, layer in zip(self._blocks, self._layers, strict=True):
            x = x + layer.prefill(block.mixer_norm(x))
            x = x + block.mlp(block.mlp_norm(x))
        return self._logits(x)

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
        graph = self._recorded(token)
        logits = self._advance(token, self.length) if graph is None else graph(token, self.length)
        self.length += 1
        ended = [layer.close(self.length) for layer in self._layers]
        if any(ended) and self._buffers() != self._addresses:
            self._forget()
        return logits

    def _advance(self, token: Tensor, position: int | Tensor) -> Tensor:
        """Compute the logits [B, vocab] after a token [B]; updates the decoding states, but for ends of chunks."""
        x = self._model.embedding(token.unsqueeze(1))
        for block, layer in zip(self._blocks, self._layers, strict=True):
            x = x + layer.step(block.mixer_norm(x), position)
            x = x + block.mlp(block.mlp_norm(x))
        return self._logits(x)

    def _logits(self, x: Tensor) -> Tensor:
        """Return the logits [B, vocab] of the next token for outputs [B, T, width] of the last block."""
        logits: Tensor = self._model.head(self._model.norm(x[:, -1]))
        return logits

    def _recorded(self, token: Tensor) -> StepGraph | None:
        """Return the CUDA graph of a step; None on a CPU, and for the first step, which compiles the kernels."""
        if self._graph is not None and self._graph.fits(token):
            return self._graph
        self._graph = None
        if self._addresses is None or not _recordable(token):
            self._addresses = self._buffers() if _recordable(token) else None
            return None
        try:
            self._graph = StepGraph(self._advance, token)
        except Exception as error:  # a step can always run without a graph
            self._records, self._addresses = False, None
            warn(f"decoding continues without CUDA graphs, which is slower: {reason_of(error)}")
        return self._graph

    def _buffers(self) -> list[int] | None:
        """Return the addresses of the buffers of all decoding states; None if one of them cannot be recorded."""
        if not self._records:
            return None
        found: list[int] = []
        for layer in self._layers:
            if (own := layer.buffers) is None:
                return None
            found += [buffer.data_ptr() for buffer in own]
        return found

    def _forget(self) -> None:
        """Release the recorded step, whose buffers are no longer in use."""
        self._graph = self._addresses = None

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

    @property
    def bytes_in_use(self) -> int:
        """Bytes of keys, values and states of all sequences, in whole chunks; see `nas.budget.cost.kv_bytes`.

        Reading it waits for the GPU. The allocator reports more, since pages come from larger pools.
        """
        return sum(layer.bytes_in_use for layer in self._layers)


def _recordable(token: Tensor) -> bool:
    """Return whether a step on this token can be recorded: on a GPU, if the caller does not record it."""
    return token.is_cuda and not torch.cuda.is_current_stream_capturing()


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
