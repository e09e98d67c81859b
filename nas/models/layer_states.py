"""The decoding states of layers: short convolutions, routers and operations, token by token.

A batch consists of parts. The sequences of a part have one length, and are started together by a prompt [B, T, width].
States of several parts are joined, so that one step serves the sequences of all of them.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from nas.kernels.short_convolution.decode import short_convolution_step
from nas.models.layers import FixedLinear, ShortConvolution, split_outputs
from nas.models.mixers import TokenMixer
from nas.models.open_chunk import OpenChunk
from nas.models.operations import Branch, Standalone
from nas.models.operations.operation import Ends, Heads, JointMemory, LayerMemory, Memory, Projected
from nas.models.routing import Policy, first_alone
from nas.search_spaces.architecture import Layer


class TokenProjections:
    """The projections of one token at a time, convolved unless the mixer is of a pretrained model.

    All projections are a single matrix product, and all convolutions a single kernel.

    Args:
        mixer: mixer of the layer. Its weights must not change.
        branches: branches that use the projections.
        past: last inputs [B, size - 1, channels] of each convolution.
    """

    def __init__(self, mixer: TokenMixer, branches: Sequence[Branch], past: dict[ShortConvolution, Tensor]) -> None:
        layers = mixer.projections(branches)
        self._layers, self._others = layers[:3], layers[3:]  # those of q, k and v, and the others
        self._channels = sum(layer.out_features for layer in self._layers)
        self._project = FixedLinear(*layers)
        convolutions = mixer.convolutions
        self._taps = self._past = None
        if convolutions:
            self._taps = torch.cat([one.convolution.weight.squeeze(1) for one in convolutions])
            self._past = torch.cat([past[one] for one in convolutions], dim=-1)

    def __call__(self, x: Tensor) -> Projected:
        """Return the projections of the next token x [B, 1, width]."""
        y, channels = self._project(x), self._channels
        shared, others = y[..., :channels], split_outputs(y[..., channels:], self._others)
        if self._taps is not None and self._past is not None:
            shared = short_convolution_step(shared[:, 0], self._past, self._taps).unsqueeze(1)
        each = zip(split_outputs(shared, self._layers), self._layers, strict=True)
        q, k, v = (part if layer.bias is None else part + layer.bias for part, layer in each)
        return Projected(x, q, k, v, dict(zip(self._others, others, strict=True)), decoding=True)


class BranchesState:
    """The decoding state of a layer whose branches share projections."""

    def __init__(self, mixer: TokenMixer, option: Layer, policy: Policy) -> None:
        self._mixer, self.chunk_size = mixer, option.chunk_size
        self._past: dict[ShortConvolution, Tensor] = {}
        """The last inputs [B, size - 1, channels] of the convolutions in the prompt."""
        self._projections: TokenProjections
        self._out: FixedLinear
        self._open = (
            OpenChunk(mixer, policy, option.chunk_size) if option.routed and policy is not first_alone else None
        )
        self._branches: tuple[Branch, ...] = (cast("Branch", mixer.operation(option.operations[0])),)
        if self._open is not None:
            assert mixer.pair is not None
            self._branches = mixer.pair.branches
        self._memories: list[Memory] = [branch.memory(mixer, option.chunk_size) for branch in self._branches]

    def prefill(self, x: Tensor) -> Tensor:
        """Return the mixer output [B, T, width] for the inputs [B, T, width] of a prompt."""
        given = self._mixer.project(x, self._convolve, self._branches)
        routes = self._routes(None if self._open is None else self._open.prefill(given.x))
        each = zip(self._memories, self._heads(given, 0), routes, strict=True)
        merged = self._merged(given, [memory.prefill(own, route) for memory, own, route in each])
        return cast("Tensor", self._mixer.out(merged))

    def join(self, others: Sequence["BranchesState"], sizes: list[int]) -> None:
        """Append the sequences of other states; ``sizes`` are the numbers of sequences of the parts."""
        parts = [self, *others]
        self._past = {key: torch.cat([part._past[key] for part in parts]) for key in self._past}
        if self._open is not None:
            self._open.join([cast("OpenChunk", other._open) for other in others])
        each = zip(*(part._memories for part in parts), strict=True)
        self._memories = [_joined(memories, sizes) for memories in each]

    def start_steps(self) -> None:
        """Prepare for steps, after the prompts and before the first step."""
        self._projections = TokenProjections(self._mixer, self._branches, self._past)
        self._out = FixedLinear(self._mixer.out)
        self._past = {}

    def step(self, x: Tensor, position: Tensor) -> Tensor:
        """Return the mixer output [B, 1, width] for the input [B, 1, width] of the next token.

        Args:
            x: inputs of the token.
            position: position of the token, a scalar; [B, 1] if there are several parts.
        """
        given = self._projections(x)
        heads = self._heads(given, position)
        o = [memory.step(own) for memory, own in zip(self._memories, heads, strict=True)]
        if self._open is not None:
            self._open.add(given.x)
        return self._out(self._merged(given, o))

    def make_room(self, ending: int) -> None:
        """Prepare for the next step, in which the chunks of this number of sequences end.

        Raises:
            ValueError: a cache cannot grow. No sequence has changed.
        """
        for memory in self._memories:
            if (make_room := getattr(memory, "make_room", None)) is not None:
                make_room(ending)

    def close(self, ends: Ends | None) -> None:
        """End the current chunk of the given sequences, in which it is complete; None for all sequences."""
        routes = self._routes(None if self._open is None else self._open.close(ends))
        for memory, route in zip(self._memories, routes, strict=True):
            if ends is None:
                memory.close(route)
            else:
                cast("JointMemory", memory).close(route, ends)

    def _merged(self, given: Projected, o: list[Tensor]) -> Tensor:
        """Return the input of the output projection for the outputs of the branches."""
        gate = self._mixer.gate_of(given)
        if self._open is None:
            return self._branches[0].merge(self._mixer, o[0], gate)
        assert self._mixer.pair is not None
        return self._mixer.pair.merge(self._mixer, (o[0], o[1]), self._mixer.branch_score(given.q), gate)

    def _convolve(self, convolution: ShortConvolution, x: Tensor, heads: int | None) -> Tensor:
        self._past[convolution] = convolution.last_inputs(x).clone()
        return cast("Tensor", convolution(x, heads))

    @property
    def buffers(self) -> list[Tensor] | None:
        """The buffers that steps update in place; None if a step may replace a buffer."""
        found: list[Tensor] = []
        for memory in self._memories:
            if (own := getattr(memory, "buffers", None)) is None:
                return None
            found += own
        return found

    def _heads(self, given: Projected, start: int | Tensor) -> tuple[Heads, ...]:
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


class StandaloneState:
    """The decoding state of a layer with a standalone operation: one for each part of the batch."""

    buffers = None

    def __init__(self, mixer: TokenMixer, operation: Standalone) -> None:
        self._memories: list[LayerMemory] = [operation.layer_memory(mixer)]
        self._sizes: list[int] = []

    def prefill(self, x: Tensor) -> Tensor:
        """See `BranchesState`."""
        self._sizes = [x.shape[0]]
        return self._memories[0].prefill(x)

    def join(self, others: Sequence["StandaloneState"], sizes: list[int]) -> None:
        """See `BranchesState`."""
        self._memories += [memory for other in others for memory in other._memories]
        self._sizes = sizes

    def start_steps(self) -> None:
        """See `BranchesState`."""

    def step(self, x: Tensor, position: Tensor) -> Tensor:
        """See `BranchesState`."""
        parts = zip(self._memories, x.split(self._sizes), strict=True)
        return torch.cat([memory.step(own) for memory, own in parts])

    @property
    def bytes_in_use(self) -> int:
        """See `Decoder.bytes_in_use`."""
        return sum(memory.bytes_in_use for memory in self._memories)


class _Apart:
    """A decoding state for each part of the batch, of a branch whose states cannot be joined."""

    def __init__(self, memories: Sequence[Memory], sizes: list[int]) -> None:
        self._memories, self._sizes = memories, sizes

    def step(self, heads: Heads) -> Tensor:
        """See `Memory`."""
        parts = zip(*(x.split(self._sizes) for x in heads), strict=True)
        return torch.cat([memory.step(own) for memory, own in zip(self._memories, parts, strict=True)])

    def close(self, route: Tensor | None, ends: Ends | None = None) -> None:
        """See `JointMemory`."""
        routes = [None] * len(self._sizes) if route is None else route.split(self._sizes)
        for part in range(len(self._sizes)) if ends is None else ends.parts:
            self._memories[part].close(routes[part])

    @property
    def bytes_in_use(self) -> int:
        """See `Decoder.bytes_in_use`."""
        return sum(memory.bytes_in_use for memory in self._memories)


def _joined(memories: Sequence[Memory], sizes: list[int]) -> Memory:
    """Return one decoding state with the sequences of several."""
    first, *others = memories
    if not hasattr(first, "join"):
        return cast("Memory", _Apart(memories, sizes))
    cast("JointMemory", first).join(cast("list[JointMemory]", others))
    return first


LayerState = BranchesState | StandaloneState
"""The decoding state of a layer."""


def layer_state(mixer: TokenMixer, policy: Policy) -> LayerState:
    """Return an empty decoding state of a layer."""
    (option,) = mixer.options
    operation = mixer.operation(option.operations[0])
    if isinstance(operation, Standalone):
        return StandaloneState(mixer, operation)
    return BranchesState(mixer, option, policy)


def joined(parts: list[LayerState], sizes: list[int]) -> LayerState:
    """Return one decoding state of a layer with the sequences of several parts, ready for steps.

    Args:
        parts: states of one layer after their prompts; the first is changed.
        sizes: number of sequences of each part.
    """
    first, *others = parts
    if others:
        first.join(cast("list[Any]", others), sizes)
    first.start_steps()
    return first
