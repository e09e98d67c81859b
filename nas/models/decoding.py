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
>>> logits = decoder.prefill([torch.tensor([1, 2, 3, 4, 5]), torch.tensor([5, 4])])  # prompts of different lengths
>>> logits = decoder.step(logits.argmax(-1))
>>> logits.shape, decoder.lengths
(torch.Size([2, 11]), [6, 3])
>>> generate(model, torch.tensor([[1, 2, 3]]), 20).shape
torch.Size([1, 20])
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

import torch
from torch import Tensor

from nas.errors import warn
from nas.kernels.machine import GIB, free_memory
from nas.models.language_model import Block, LanguageModel, Stream
from nas.models.layer_states import BranchesState, LayerState, joined, layer_state
from nas.models.layers import FixedLinear, FixedSwiGLU
from nas.models.operations import operation_of
from nas.models.operations.operation import Ends
from nas.models.prompts import check_ids, parts_of
from nas.models.recording import StepGraph, reason_of
from nas.models.routing import Policy

Part = Callable[[Tensor], Tensor]
"""Maps the normalised residual stream [B, T, width] to a change of the stream."""


class Decoder:
    """Computes next-token logits of growing sequences, equal to those of the model on the whole sequences.

    Each layer keeps the last inputs of its short convolutions, keys and values, and a linear state. At the end of a
    chunk the router decides. Heads that send the chunk to linear attention free its keys and values. The other heads
    keep them and undo the change of the chunk to the state. Sequences of a batch may differ in length; each gets the
    logits that it gets alone. Decoding runs on the model's device, under the active autocast, without gradients.

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
        self._mlps: list[FixedSwiGLU]
        self._head: FixedLinear
        self._chunked: dict[int, list[BranchesState]] = {}
        """The decoding states of layers with chunks, by chunk size."""
        self._sizes: list[int] = []
        """Number of sequences of each part of the batch. The sequences of a part have one length."""
        self._lengths: list[int] = []
        """Length of the sequences of each part, in tokens."""
        self._position: Tensor
        """The same lengths on the device: a scalar, or [B, 1] if there are several parts."""
        self._graph: StepGraph | None = None
        self._addresses: list[int] | None = None
        """Addresses of the decoding states for which the kernels of a step are compiled; None before the first step."""
        self._records = True

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each sequence so far."""
        return [length for length, size in zip(self._lengths, self._sizes, strict=True) for _ in range(size)]

    @property
    def length(self) -> int:
        """Number of tokens of the longest sequence so far; 0 without sequences."""
        return max(self._lengths, default=0)

    @torch.no_grad()
    def prefill(self, tokens: Tensor | Sequence[Tensor]) -> Tensor:
        """Start new sequences with their prompts; earlier sequences are released.

        Args:
            tokens: [B, T] token ids of the prompts, T >= 1; or a list of B prompts [T] that may differ in length.
                Prompts of a list are processed one after the other, neighbours of equal length together; each alone if
                memory is short.

        Returns:
            Logits [B, vocab] of the next token.

        Raises:
            ValueError: tokens has another shape, no integer type, or ids outside the vocabulary; or the prompts do not
                fit in memory, then there are no sequences.
        """
        parts = parts_of(tokens, self._model.architecture.vocab_size)
        self._layers, self._sizes, self._lengths = [], [], []
        self._forget()
        alone = [prompt for part in parts for prompt in part.split(1)]
        for attempt in (parts, alone) if len(alone) > len(parts) else (parts,):
            with suppress(torch.OutOfMemoryError):
                return self._start(attempt)
        raise ValueError(self._too_long(parts))

    def _start(self, parts: list[Tensor]) -> Tensor:
        """Start sequences with prompts [B, T] of one length in each part; returns logits [B, vocab] of all parts."""
        started = [[layer_state(block.mixer, self._policy) for block in self._blocks] for _ in parts]
        logits = torch.cat([self._read(part, layers) for part, layers in zip(parts, started, strict=True)])
        self._sizes, self._lengths = [part.shape[0] for part in parts], [part.shape[1] for part in parts]
        several = [[length] for length in self.lengths]
        self._position = torch.tensor(several if len(parts) > 1 else self._lengths[0], device=logits.device)
        # the states of a layer are removed as they are joined, so that only one layer is in memory twice
        self._layers = [joined([layers.pop(0) for layers in started], self._sizes) for _ in self._blocks]
        self._mlps = [FixedSwiGLU(block.mlp) for block in self._blocks]
        self._head = FixedLinear(self._model.head)
        self._chunked = {}
        for layer in self._layers:
            if isinstance(layer, BranchesState):
                self._chunked.setdefault(layer.chunk_size, []).append(layer)
        return logits

    def _too_long(self, parts: list[Tensor]) -> str:
        """Return the message for prompts that do not fit in memory."""
        a = self._model.architecture
        kept = sum(
            part.shape[0] * operation.kv_bytes(a, layer.chunk_size, part.shape[1], layer.routed).at(1.0)
            for part in parts
            for layer in a.layers
            for operation in (operation_of(name, a) for name in layer.operations)
        )
        batch, longest = sum(map(len, parts)), max(part.shape[1] for part in parts)
        return (
            f"tokens has a batch of {batch} with up to {longest} tokens each, which does not fit in memory: "
            f"its keys, values and states alone take up to {kept / GIB:.2f} GiB in bfloat16, and "
            f"{free_memory(parts[0].device)}; give fewer or shorter prompts."
        )

    def _read(self, tokens: Tensor, layers: Sequence[LayerState]) -> Tensor:
        """Return the logits [B, vocab] after prompts [B, T] of one length; fills the decoding states of the layers."""
        mlps = [block.mlp for block in self._blocks]
        stream = self._stream(tokens, [layer.prefill for layer in layers], mlps)
        return self._model.read(stream.total[:, -1])

    def _stream(self, tokens: Tensor, mixers: Sequence[Part], mlps: Sequence[Part]) -> Stream:
        """Return the residual stream after tokens [B, T], given the mixer and the SwiGLU of each layer."""
        stream = Stream(self._model.embedding(tokens))
        for block, mixer, mlp in zip(self._blocks, mixers, mlps, strict=True):
            x, given = block.mixer_norm.after(stream.x, stream.delta)
            x, given = block.mlp_norm.after(x, block.mixer_post_norm(mixer(given)))
            stream = Stream(x, block.mlp_post_norm(mlp(given)))
        return stream

    @torch.no_grad()
    def step(self, token: Tensor) -> Tensor:
        """Append one token [B] to the sequences; returns logits [B, vocab] of the next token.

        Ids must lie in the vocabulary. They are not compared with it, since this would wait for the GPU in every step.

        Raises:
            ValueError: there are no sequences yet, token is not one integer for each of them, or a cache cannot grow
                because memory is short. The sequences are then as before, and the call can be repeated.
        """
        if not self._layers:
            raise ValueError("step needs sequences to continue; call prefill with their prompts first.")
        check_ids("token", token)
        if token.shape != (sum(self._sizes),):
            raise ValueError(
                f"token has shape {list(token.shape)}; it must be [{sum(self._sizes)}], one id per sequence."
            )
        lengths = [length + 1 for length in self._lengths]
        complete = {size: parts for size in self._chunked if (parts := _complete(size, lengths))}
        if complete:
            self._make_room(complete)
        graph = self._recorded(token)
        logits = self._advance(token) if graph is None else graph(token)
        self._lengths = lengths
        if complete:
            self._close(complete)
        return logits

    def _make_room(self, complete: dict[int, list[int]]) -> None:
        """Let caches grow before a step that completes chunks in these parts, by chunk size: it then cannot fail."""
        for size, parts in complete.items():
            for layer in self._chunked[size]:
                layer.make_room(self._count(parts))
        self._forget_moved()

    def _close(self, complete: dict[int, list[int]]) -> None:
        """End the chunks of these parts, by chunk size."""
        for size, parts in complete.items():
            ends = self._ends(size, parts)
            for layer in self._chunked[size]:
                layer.close(ends)
        self._forget_moved()

    def _ends(self, chunk_size: int, parts: list[int]) -> Ends | None:
        """Return the sequences of these parts, whose chunk is complete; None if it is in all sequences."""
        if len(parts) == len(self._sizes):
            return None
        return Ends(parts, self._count(parts), self._position.squeeze(1) % chunk_size == 0)

    def _count(self, parts: list[int]) -> int:
        """Return the number of sequences of these parts."""
        return sum(self._sizes[part] for part in parts)

    def _advance(self, token: Tensor) -> Tensor:
        """Compute the logits [B, vocab] after a token [B]; updates the decoding states, but for ends of chunks."""
        steps = [partial(layer.step, position=self._position) for layer in self._layers]
        stream = self._stream(token.unsqueeze(1), steps, self._mlps)
        _, given = self._model.norm.after(stream.x, stream.delta)
        self._position.add_(1)
        return self._head(given[:, -1])

    def _recorded(self, token: Tensor) -> StepGraph | None:
        """Return the CUDA graph of a step; None on a CPU, and for the first step, which compiles the kernels."""
        if self._graph is not None:
            if self._graph.fits(token):
                return self._graph
            self._forget()
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

    def _forget_moved(self) -> None:
        """Release the recorded step if a buffer of a decoding state has been replaced."""
        if self._buffers() != self._addresses:
            self._forget()

    @property
    def bytes_in_use(self) -> int:
        """Bytes of keys, values and states of all sequences, in whole chunks; see `nas.budget.cost.kv_bytes`.

        Reading it waits for the GPU. The allocator reports more, since pages come from larger pools.
        """
        return sum(layer.bytes_in_use for layer in self._layers)


def _recordable(token: Tensor) -> bool:
    """Return whether a step on this token can be recorded: on a GPU, if the caller does not record it."""
    return token.is_cuda and not torch.cuda.is_current_stream_capturing()


def _complete(chunk_size: int, lengths: list[int]) -> list[int]:
    """Return the indices of the lengths that are whole chunks."""
    return [index for index, length in enumerate(lengths) if length % chunk_size == 0]


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompt: Tensor | Sequence[Tensor],
    count: int,
    policy: Policy | None = None,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sample continuations of prompts.

    Args:
        model: language model of a single architecture.
        prompt: [B, T] token ids, or a list of B prompts [T] that may differ in length.
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
