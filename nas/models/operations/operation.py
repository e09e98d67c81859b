"""What an operation is: one way to mix tokens, and everything that only the operation itself knows.

An operation is either a `Branch` of the shared projections of a layer, as softmax attention and Gated DeltaNet are, or
a `Standalone` layer with projections of its own. The mixer, decoding, costs, evaluation and reports use these methods
and attributes; nothing else compares names of operations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from nas.kernels.arguments import RouteGrad
from nas.search_spaces.architecture import Architecture

CACHE_BYTES, STATE_BYTES = 2, 4
"""Bytes of a number in a cache of keys and values (bf16), and in a state of linear attention (float32)."""


@dataclass(frozen=True)
class Line:
    """The cost of a layer as a function of its share of softmax chunks: base + slope * share."""

    base: float
    slope: float = 0.0

    def at(self, share: float) -> float:
        """The cost at a share."""
        return self.base + self.slope * share

    def __add__(self, other: "Line") -> "Line":
        return Line(self.base + other.base, self.slope + other.slope)


class Look(NamedTuple):
    """How figures and pages draw an operation.

    Attributes:
        colour: a variable of the style sheet: "softmax", "linear", or "hybrid2" to "hybrid5".
        figure_colour: colour in figures for papers, as matplotlib takes it.
        letter: by which a pattern of layers is abbreviated.
    """

    colour: str
    figure_colour: str
    letter: str


class Projected(NamedTuple):
    """What every branch of a layer works on: x [B, T, width] and its convolved projections [B, T, channels]."""

    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor


Heads = tuple[Tensor, ...]
"""What a branch computes with: tensors [B, T, H, ...], of which the first is the queries."""


class Memory(Protocol):
    """What decoding keeps for one branch of a layer: made by `prefill`, from then on updated token by token."""

    def prefill(self, heads: Heads, route: Tensor | None) -> Tensor:
        """Begin with a prompt.

        Args:
            heads: of its T tokens.
            route: [B, ceil(T / chunk_size), R]; that of a chunk that is not full is not used. None if all is seen.

        Returns:
            [B, T, H, V].
        """

    def step(self, heads: Heads) -> Tensor:
        """Process one more token: its heads to [B, 1, H, V]."""

    def close(self, route: Tensor | None) -> None:
        """End the chunk that is now full; route [B, R] says how much later tokens see of it, None for all."""

    @property
    def bytes_in_use(self) -> int:
        """Bytes of all sequences. Waits for the GPU."""


class LayerMemory(Protocol):
    """What decoding keeps for a layer with projections of its own."""

    def prefill(self, x: Tensor) -> Tensor:
        """Begin with a prompt: [B, T, width] to [B, T, width]."""

    def step(self, x: Tensor) -> Tensor:
        """Process one more token: [B, 1, width] to [B, 1, width]."""

    @property
    def bytes_in_use(self) -> int:
        """Bytes of all sequences. Waits for the GPU."""


class Operation(ABC):
    """One way to mix tokens.

    Attributes:
        name: by which options, files, tables and pictures call it.
        look: how pictures draw it.
        keeps_all: whether it keeps keys and values of every token, so that its layers count as softmax.
        capturable: whether its forward and backward pass can be captured in a CUDA graph.
    """

    name: str
    look: Look
    keeps_all: ClassVar[bool] = False
    capturable: ClassVar[bool] = True

    @abstractmethod
    def add_parameters(self, mixer: nn.Module, a: Architecture) -> None:
        """Give a layer's mixer the parameters of the operation, unless another operation that shares them has.

        They lie in the mixer under names of their own, so that the weights of a layer serve each of its options.
        """

    @abstractmethod
    def weights(self, a: Architecture) -> int:
        """Number of weights of the operation in a layer that multiply each token, beside the shared projections."""

    @abstractmethod
    def kv_bytes(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> Line:
        """Bytes of keys, values and states of one sequence after ``context`` tokens.

        Args:
            a: sizes of the model.
            chunk_size: of the layer.
            context: tokens of the sequence.
            routed: whether a router decides which chunks the operation keeps.
        """

    @abstractmethod
    def flops(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> Line:
        """Forward FLOPs of the last of ``context`` tokens beside those of weights, a multiply-add counted as two."""


class Branch(Operation):
    """An operation on the shared projections of a layer: q, k, v, their convolutions, the gate and the output."""

    @abstractmethod
    def heads(self, mixer: nn.Module, given: Projected, start: int = 0) -> Heads:
        """What the branch computes with, for tokens of which the first is at position ``start``."""

    @abstractmethod
    def attend(
        self,
        mixer: nn.Module,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
    ) -> Tensor:
        """Mix tokens.

        Args:
            mixer: whose parameters are used.
            heads: as `heads` gives them.
            chunk_size: tokens in a chunk.
            route: [B, N, R], how much later chunks see of each chunk; None for all of it.
            route_grad: which chunks' routes get a gradient.

        Returns:
            [B, T, H, V].
        """

    @abstractmethod
    def merge(self, mixer: nn.Module, o: Tensor, gate: Tensor) -> Tensor:
        """Normalise and gate the output of the branch alone: [B, T, H, V] and gate [B, T, H * V] to [B, T, H * V]."""

    @abstractmethod
    def memory(self, mixer: nn.Module, chunk_size: int) -> Memory:
        """New memory for decoding."""


class Standalone(Operation):
    """An operation with projections of its own, from the residual stream to the residual stream."""

    @abstractmethod
    def output(self, mixer: nn.Module, x: Tensor) -> Tensor:
        """Mix tokens: [B, T, width] to [B, T, width]."""

    @abstractmethod
    def layer_memory(self, mixer: nn.Module) -> LayerMemory:
        """New memory for decoding."""
