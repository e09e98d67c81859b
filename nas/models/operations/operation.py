"""The interface of operations, which mix tokens: parameters, forward pass, decoding state, cost and look.

An operation is a `Branch` or a `Standalone` layer. Branches, such as softmax attention and Gated DeltaNet, use the
shared projections of a layer. Standalone layers have projections of their own. The mixer, decoding, costs, evaluation
and reports use these methods and attributes. No other module compares names of operations.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypedDict, cast

from torch import Tensor, nn

from nas.data.documents import Documents
from nas.distributed.context.group import Context
from nas.kernels.arguments import RouteGrad
from nas.kernels.head_norms import head_norms
from nas.kernels.head_norms.decode import norms_of_both
from nas.kernels.head_norms.reference import Norms
from nas.models.layers import NORM_EPS
from nas.models.recomputation import recomputable
from nas.search_spaces.architecture import Architecture

CACHE_BYTES, STATE_BYTES = 2, 4
"""Bytes per element of a cache of keys and values (bf16), and of a state of linear attention (float32)."""


@dataclass(frozen=True)
class CostLine:
    """The cost of a layer as a function of its share of softmax chunks: base + slope * share."""

    base: float
    slope: float = 0.0

    def at(self, share: float) -> float:
        """Return the cost at a softmax share."""
        return self.base + self.slope * share

    def __add__(self, other: "CostLine") -> "CostLine":
        return CostLine(self.base + other.base, self.slope + other.slope)


class Look(NamedTuple):
    """How figures and pages draw an operation.

    Attributes:
        colour: variable of the style sheet: "softmax", "linear", or "hybrid2" to "hybrid5".
        figure_colour: colour in figures for papers, in a notation of matplotlib.
        letter: abbreviation of the operation in patterns of layers.
    """

    colour: str
    figure_colour: str
    letter: str


class Packing(TypedDict, total=False):
    """Where packed documents begin; empty if each sequence is one document.

    An operation that does not support packed documents need not have this argument.
    """

    cu_seqlens: Tensor


def packing(documents: Documents | None) -> Packing:
    """Return where these documents begin; empty without documents."""
    return {} if documents is None else {"cu_seqlens": documents.cu_seqlens}


class Projected(NamedTuple):
    """The inputs of every branch of a layer.

    Attributes:
        x: [B, T, width].
        q, k, v: [B, T, channels], convolved projections of x.
        others: products of x with the weights of further layers, if they were computed with those of q, k and v.
        decoding: whether x is one token that is decoded, without gradients. Fewer kernels then take less time.
        normalised: whether q and k are already l2-normalised over the linear heads; see `Branch`.
        documents: packed documents, if x is one packed sequence; None otherwise.
    """

    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    others: Mapping[nn.Linear, Tensor] = MappingProxyType({})
    decoding: bool = False
    normalised: bool = False
    documents: Documents | None = None

    @property
    def start(self) -> int | Tensor:
        """Positions of the tokens of whole sequences, as `Branch.heads` takes them."""
        return 0 if self.documents is None else self.documents.start

    @property
    def packing(self) -> Packing:
        """Further arguments of `Branch.attend`: where packed documents begin; empty without."""
        return packing(self.documents)

    def linear(self, layer: nn.Linear) -> Tensor:
        """Return the projection of x by a layer."""
        y, bias = self.linear_and_bias(layer)
        return y if bias is None else y + bias

    def linear_and_bias(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """Return the projection of x by a layer, and the bias that must still be added to it."""
        if layer in self.others:
            return self.others[layer], layer.bias
        return layer(self.x), None

    def norms(
        self, q_weight: Tensor | None = None, k_weight: Tensor | None = None, **heads: int
    ) -> tuple[Norms, Norms]:
        """Return both norms of q and both of k, for the given numbers of heads; see `nas.kernels.head_norms`."""
        if self.normalised:
            q, k = (x.unflatten(-1, (heads["linear_heads"], -1)) for x in (self.q, self.k))
            return (q, None), (k, None)
        options: dict[str, Any] = {**heads, "eps": NORM_EPS}
        if self.decoding:
            return norms_of_both(self.q, self.k, q_weight, k_weight, **options)
        norms = functools.partial(recomputable, cast("Callable[..., Norms]", head_norms), **options)
        return norms(self.q, q_weight), norms(self.k, k_weight)


Heads = tuple[Tensor, ...]
"""The inputs of a branch by head: tensors [B, T, H, ...]. The first is the queries."""


class Ends(NamedTuple):
    """The sequences of a batch whose chunk is complete, if others of the batch have another length.

    Attributes:
        parts: indices of the parts of the batch that they form. The sequences of a part have one length.
        sequences: number of these sequences.
        where: [B] bool, true for these sequences.
    """

    parts: list[int]
    sequences: int
    where: Tensor


class Memory(Protocol):
    """The decoding state of one branch of a layer. `prefill` creates it, and each `step` updates it.

    A state whose steps update all its tensors in place, and do not wait for the GPU, may say so by an attribute
    ``buffers``, a list of tensors. Steps are then recorded as CUDA graphs. `close` may replace a tensor of the list.

    A state that grows at ends of chunks may have a method ``make_room(ending)``. It is called before a step that
    completes the chunks of this number of sequences. If it raises an error, the step has changed nothing.

    Sequences of different lengths have a state for each length, unless the state is a `JointMemory`.
    """

    def prefill(self, heads: Heads, route: Tensor | None) -> Tensor:
        """Process a prompt.

        Args:
            heads: inputs of the T tokens, by head.
            route: [B, ceil(T / chunk_size), R] route of each chunk; that of an incomplete chunk is not used. None keeps
                every chunk.

        Returns:
            Outputs [B, T, H, V].
        """

    def step(self, heads: Heads) -> Tensor:
        """Process one more token: its heads to [B, 1, H, V]."""

    def close(self, route: Tensor | None) -> None:
        """Apply the route [B, R] of the chunk that is now complete; None keeps the chunk."""

    @property
    def bytes_in_use(self) -> int:
        """Bytes of all sequences. Reading it waits for the GPU."""


class JointMemory(Memory, Protocol):
    """A decoding state that can hold sequences of different lengths, so that one step serves them all."""

    def join(self, others: Sequence[Self]) -> None:
        """Append the sequences of other states after their prompts."""

    def close(self, route: Tensor | None, ends: Ends | None = None) -> None:
        """Apply the route [B, R] of complete chunks in the sequences that ``ends`` names; None for all sequences."""


class LayerMemory(Protocol):
    """The decoding state of a layer with projections of its own."""

    def prefill(self, x: Tensor) -> Tensor:
        """Process a prompt: [B, T, width] to [B, T, width]."""

    def step(self, x: Tensor) -> Tensor:
        """Process one more token: [B, 1, width] to [B, 1, width]."""

    @property
    def bytes_in_use(self) -> int:
        """Bytes of all sequences. Reading it waits for the GPU."""


class Operation(ABC):
    """One way to mix tokens.

    Attributes:
        name: name of the operation in options, files, tables and figures.
        look: colours and letter of the operation.
        keeps_all: whether it keeps the keys and values of every token, so that its layers count as softmax.
        capturable: whether a CUDA graph can capture its forward and backward passes.
        packs: whether it supports packed documents: `Branch.attend` or `Standalone.output` has the argument
            ``cu_seqlens``.
    """

    name: str
    look: Look
    keeps_all: ClassVar[bool] = False
    capturable: ClassVar[bool] = True
    packs: ClassVar[bool] = False

    @abstractmethod
    def add_parameters(self, mixer: nn.Module, a: Architecture) -> None:
        """Add the parameters of the operation to a mixer, except those that another operation shares and has added.

        Parameters have names of their own in the mixer, so that the options of a layer share its weights.
        """

    @abstractmethod
    def weights(self, a: Architecture) -> int:
        """Return the number of weights that multiply each token in a layer, without the shared projections."""

    @abstractmethod
    def kv_bytes(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        """Return the bytes of keys, values and states of one sequence after ``context`` tokens.

        Args:
            a: architecture with the sizes of the model.
            chunk_size: tokens in a chunk.
            context: length of the sequence in tokens.
            routed: whether a router decides which chunks the operation keeps.
        """

    @abstractmethod
    def flops(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        """Return the forward FLOPs of the last of ``context`` tokens without those of weights; a multiply-add is 2."""


class Branch(Operation):
    """An operation on the shared projections of a layer: q, k, v, their convolutions, the gate and the output.

    Attributes:
        reads_l2: whether it reads q and k only as l2 norms over the linear heads. A layer of this branch alone then
            normalises them where it convolves them.
        across: whether it has `attend_across`, for sequences that several processes share.
    """

    reads_l2: ClassVar[bool] = False
    across: ClassVar[bool] = False

    @abstractmethod
    def heads(self, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> Heads:
        """Return the inputs of the branch by head.

        Args:
            mixer: mixer with the parameters of the operation.
            given: inputs of the T tokens.
            start: position of the first token: a number, a scalar tensor, or [B, 1] for sequences of several lengths;
                [1, T] for packed documents, what to add to the index of each token for its position.
        """

    @abstractmethod
    def attend(
        self,
        mixer: nn.Module,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
        cu_seqlens: Tensor | None = None,
    ) -> Tensor:
        """Mix tokens.

        Args:
            mixer: mixer with the parameters of the operation.
            heads: inputs by head, as `heads` returns them.
            chunk_size: tokens in a chunk.
            route: [B, N, R] route of each chunk; None keeps every chunk.
            route_grad: chunks whose routes get a gradient, "full" or "selected".
            cu_seqlens: [documents + 1] int32 on the CPU, where packed documents begin and end in a batch of one
                sequence; given only to an operation that ``packs``, and only if there are any.

        Returns:
            Outputs [B, T, H, V].
        """

    def attend_across(
        self,
        mixer: nn.Module,
        context: Context,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
    ) -> Tensor:
        """Mix the tokens of one stretch of a sequence with those of earlier stretches, which other processes hold.

        Args:
            mixer: mixer with the parameters of the operation.
            context: processes that share the sequence; all of them call this.
            heads: inputs of this stretch by head, as `heads` returns them.
            chunk_size: tokens in a chunk; a stretch has whole chunks.
            route: [B, N, R] route of each chunk of this stretch; None keeps every chunk.
            route_grad: chunks whose routes get a gradient, "full" or "selected".

        Returns:
            Outputs [B, T, H, V] of this stretch.
        """
        raise NotImplementedError(f"operation {self.name} cannot share a sequence with other processes.")

    @abstractmethod
    def merge(self, mixer: nn.Module, o: Tensor, gate: Tensor) -> Tensor:
        """Normalise and gate the output of the branch alone: [B, T, H, V] and gate [B, T, H * V] to [B, T, H * V]."""

    def scale_outputs(self, mixer: nn.Module, factor: Tensor) -> None:
        """Multiply the outputs of the branch alone by a factor, a scalar tensor, before alignment.

        Operations beside those of a pretrained model begin at the scale of its layer in this way. One without a
        parameter for it leaves its outputs as they are.
        """

    def projections(self, mixer: nn.Module) -> list[nn.Linear]:
        """Return the layers by which `heads` projects x, if it does so with `Projected.linear`."""
        return []

    @abstractmethod
    def memory(self, mixer: nn.Module, chunk_size: int) -> Memory:
        """Return an empty decoding state."""


class Standalone(Operation):
    """An operation with projections of its own, from the residual stream to the residual stream."""

    @abstractmethod
    def output(self, mixer: nn.Module, x: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
        """Mix tokens: [B, T, width] to [B, T, width]; see `Branch.attend` for ``cu_seqlens``."""

    @abstractmethod
    def layer_memory(self, mixer: nn.Module) -> LayerMemory:
        """Return an empty decoding state."""
