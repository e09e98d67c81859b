"""The decoding states of layers: short convolutions, routers and operations, token by token."""

from typing import cast

from torch import Tensor

from nas.models.layers import ShortConvolution
from nas.models.mixers import Policy, TokenMixer, first_alone
from nas.models.open_chunk import OpenChunk
from nas.models.operations import Branch, Standalone, find
from nas.models.operations.operation import Heads, Projected
from nas.search_spaces.architecture import Layer


class BranchesState:
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

    def prefill(self, x: Tensor) -> Tensor:
        """Return the mixer output [B, T, width] for the inputs [B, T, width] of a prompt."""
        given = self._mixer.project(x, self._convolve)
        routes = self._routes(None if self._open is None else self._open.prefill(given.x))
        each = zip(self._memories, self._heads(given, 0), routes, strict=True)
        return self._merged(given, [memory.prefill(own, route) for memory, own, route in each])

    def step(self, x: Tensor, position: int | Tensor) -> Tensor:
        """Return the mixer output [B, 1, width] for the input [B, 1, width] of the token at a position."""
        given = self._mixer.project(x, self._convolve)
        heads = self._heads(given, position)
        o = [memory.step(own) for memory, own in zip(self._memories, heads, strict=True)]
        if self._open is not None:
            self._open.add(given.x)
        return self._merged(given, o)

    def close(self, length: int) -> bool:
        """End the current chunk if it is complete after ``length`` tokens; returns whether it is."""
        if length % self._chunk_size:
            return False
        routes = self._routes(None if self._open is None else self._open.close())
        for memory, route in zip(self._memories, routes, strict=True):
            memory.close(route)
        return True

    def _merged(self, given: Projected, o: list[Tensor]) -> Tensor:
        """Return the mixer output for the outputs of the branches."""
        gate = self._mixer.gate(given.x)
        if self._open is None:
            return cast("Tensor", self._mixer.out(self._branches[0].merge(self._mixer, o[0], gate)))
        assert self._mixer.pair is not None
        return cast("Tensor", self._mixer.out(self._mixer.pair.merge(self._mixer, (o[0], o[1]), given.q, gate)))

    def _convolve(self, convolution: ShortConvolution, x: Tensor) -> Tensor:
        y, last = convolution.after(x, self._past.get(convolution))
        if convolution in self._past:
            self._past[convolution].copy_(last)
        else:
            self._past[convolution] = last.clone()
        return y

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
    """The decoding state of a layer with a standalone operation."""

    def __init__(self, mixer: TokenMixer, operation: Standalone) -> None:
        self._memory = operation.layer_memory(mixer)

    buffers = None

    def prefill(self, x: Tensor) -> Tensor:
        """See `BranchesState`."""
        return self._memory.prefill(x)

    def step(self, x: Tensor, position: int | Tensor) -> Tensor:
        """See `BranchesState`."""
        return self._memory.step(x)

    def close(self, length: int) -> bool:
        """Return False: the layer has no chunks."""
        return False

    @property
    def bytes_in_use(self) -> int:
        """See `Decoder.bytes_in_use`."""
        return self._memory.bytes_in_use


LayerState = BranchesState | StandaloneState
"""The decoding state of a layer."""


def layer_state(mixer: TokenMixer, policy: Policy) -> LayerState:
    """Return an empty decoding state of a layer."""
    (option,) = mixer.options
    operation = find(option.operations[0])
    return (
        StandaloneState(mixer, operation) if isinstance(operation, Standalone) else BranchesState(mixer, option, policy)
    )
