"""Costs of architectures: FLOPs per token, bytes of keys, values and states, and measured milliseconds.

Costs are added up layer by layer. Milliseconds come from a latency table, other costs from the architecture alone. They
are linear in the softmax share of each routed layer. A budget can therefore be differentiated, and the reachable range
of a space follows from its options.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from nas.latency.table import LATENCY, Latencies
from nas.models.operations import Branch, operation_of
from nas.models.operations.operation import CostLine
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.backbone import attention_weights
from nas.search_spaces.space import Space

LONG = 131072
"""Context length, in tokens, of the cache size in headlines."""
CONTEXTS = (4096, 32768, LONG)
"""Context lengths, in tokens, for which costs are reported."""
SOFTMAX_SHARE, KV_BYTES, FLOPS = "softmax_share", "kv_bytes", "flops"
UNITS = {
    SOFTMAX_SHARE: "of the chunks",
    KV_BYTES: "bytes of keys, values and states",
    FLOPS: "FLOPs per token",
    LATENCY: "milliseconds",
}
"""Unit of each resource that a budget can limit."""


def kv_bytes(architecture: Architecture, shares: Mapping[int, float], context: int) -> int:
    """Return the bytes of keys, values and states that decoding one sequence needs after ``context`` tokens.

    A softmax layer keeps the keys and values of every token. A routed layer keeps those of its softmax chunks
    (``shares``, by layer) and of the current chunk, which has no route yet. A linear branch keeps the running state,
    the state at the start of the current chunk, and the decay since then, as `nas.models.decoding` does.

    Two small parts are not counted: the inputs that short convolutions keep, and the inputs of routers. The latter are
    one vector of the current chunk and two logits for each routing head of every earlier chunk.
    """
    return round(_of_architecture(KV_BYTES, architecture, shares, context))


def flops_per_token(architecture: Architecture, shares: Mapping[int, float], context: int) -> int:
    """Return the forward FLOPs of the last of ``context`` tokens; a multiply-add counts as two.

    Each weight that multiplies the token counts 2. Each visible key of a softmax head counts 2 (K + V). Each linear
    head counts 6 K V: it reads the state for the correction and for the output, and writes it once. This is the cost
    of decoding a token. Chunk-parallel computation of whole sequences takes more FLOPs in fewer steps.
    """
    return round(_of_architecture(FLOPS, architecture, shares, context))


def training_flops_per_token(architecture: Architecture, shares: Mapping[int, float], length: int) -> int:
    """Return the training FLOPs of a token, averaged over sequences of ``length``. Backward counts twice forward.

    The count assumes these softmax shares throughout. It leaves out the additional cost of the dense phase and of route
    gradients of skipped chunks.
    """
    return 3 * flops_per_token(
        architecture, shares, length // 2
    )  # linear in the context, so the mean is the cost at half the length


def over_lengths(each: Callable[[int], float], length: int, longer: float, factor: int) -> float:
    """Return the mean of a figure over the tokens of a training whose sequences become longer.

    Args:
        each: the figure as a function of the length of the sequences.
        length: tokens of a sequence at first.
        longer: fraction of all tokens that are in longer sequences.
        factor: how many times longer these are.
    """
    return (1 - longer) * each(length) + longer * each(length * factor)


def search_flops_per_token(space: Space, computed: Callable[[int], int], share: float, length: int) -> float:
    """Return the training FLOPs of a token in a search, averaged over sequences of ``length``.

    A layer computes some of its options in a step, all of them equally often. What they share, such as projections and
    the MLP, counts once. The count leaves out that the dense phase computes a single option.

    Args:
        space: the searched space.
        computed: function from the number of options of a layer to the number of those that a step computes.
        share: softmax share of routed layers.
        length: length of a training sequence.
    """
    total, sizes = fixed(FLOPS, space.sizes), space.sizes
    for options in space.options:
        common = 2 * min(_common_weights(sizes, option) for option in options)
        own = [line(FLOPS, sizes, option, length // 2).at(share) - common for option in options]
        total += common + computed(len(options)) * fmean(own)
    return 3 * total


def _of_architecture(resource: str, a: Architecture, shares: Mapping[int, float], context: int) -> float:
    each = (line(resource, a, layer, context).at(shares.get(index, 1.0)) for index, layer in enumerate(a.layers))
    return fixed(resource, a) + sum(each)


def line(resource: str, sizes: Architecture, layer: Layer, context: int) -> CostLine:
    """Return the cost of a layer after ``context`` tokens. Its slope is 0 without a router.

    Args:
        resource: one of `UNITS` but latency. For softmax_share, each layer counts 1.
        sizes: architecture with the sizes of the model.
        layer: mixer, chunk size and MLP width of the layer.
        context: length of the sequence in tokens.
    """
    operations = [operation_of(name, sizes) for name in layer.operations]
    if resource == SOFTMAX_SHARE:
        kept = float(any(operation.keeps_all for operation in operations))
        return CostLine(0.0, kept) if layer.routed else CostLine(kept)
    if resource == KV_BYTES:
        each = (operation.kv_bytes(sizes, layer.chunk_size, context, layer.routed) for operation in operations)
        return sum(each, CostLine(0))
    each = (operation.flops(sizes, layer.chunk_size, context, layer.routed) for operation in operations)
    return sum(each, CostLine(2 * _layer_weights(sizes, layer)))


def fixed(resource: str, sizes: Architecture) -> float:
    """Return the cost of a model of these sizes outside its layers: for FLOPs, the last norm and the head."""
    return 2.0 * (sizes.width + sizes.width * sizes.vocab_size) if resource == FLOPS else 0.0


def _layer_weights(a: Architecture, layer: Layer) -> int:
    """Return the number of weights of a layer that multiply each token, including those of its router."""
    weights = _common_weights(a, layer) + sum(operation_of(name, a).weights(a) for name in layer.operations)
    if layer.routed:  # router; weights of the branches
        weights += 2 * a.routing_heads * (len(a.router_reads) * a.width + 1)
        weights += 2 * a.linear_heads * a.key_dim * a.softmax_heads
        weights += 0 if a.backbone is None else 2 * a.softmax_heads
    return weights


def _common_weights(a: Architecture, layer: Layer) -> int:
    """Return the number of weights of a layer that all mixers with branches have, and multiply each token."""
    keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
    both_norms = a.backbone is not None and a.backbone.norms == "both"
    weights = (4 if both_norms else 2) * a.width + 3 * a.width * (layer.mlp_width or a.mlp_width)  # norms; SwiGLU
    if not any(isinstance(operation_of(name, a), Branch) for name in layer.operations):
        return weights
    if a.backbone is not None:
        return weights + attention_weights(a.width, a.softmax_heads, a.key_dim, a.backbone)
    return weights + a.width * (2 * keys + 3 * values) + a.conv_size * (2 * keys + values)  # projections; convolutions


class SpaceCost:
    """The cost of every architecture of a space in one resource.

    Relative costs are fractions of the most expensive architecture, in which every layer is its most expensive option.

    Args:
        resource: one of `UNITS`.
        space: space of the architectures. softmax_share is the mean over its searchable and routed layers, or over all
            layers if no layer is searchable or routed.
        context: length of a sequence in tokens.
        latencies: latency table with the options of the space; None unless the resource is latency.

    Attributes:
        lines: cost of each option of each layer.
        fixed: cost outside the layers.
        least: cost of the cheapest architecture if its routers send no chunk to softmax.
        most: cost of the most expensive architecture if its routers send every chunk to softmax.
    """

    def __init__(self, resource: str, space: Space, context: int, latencies: Latencies | None = None) -> None:
        self.resource, self.space, self.context, self.latencies = resource, space, context, latencies
        counted = {*space.choosing, *space.routed} or set(range(len(space.options)))
        self.fixed = fixed(resource, space.sizes) if latencies is None else latencies.rest_ms
        self.lines = [[self._line(option) for option in options] for options in space.options]
        if resource == SOFTMAX_SHARE:
            self.lines = [
                [
                    CostLine(x.base / len(counted), x.slope / len(counted)) if index in counted else CostLine(0)
                    for x in lines
                ]
                for index, lines in enumerate(self.lines)
            ]
        self._bound()
        self._tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def _bound(self) -> None:
        self.least = self.fixed + sum(min(line.base for line in lines) for lines in self.lines)
        self.most = self.fixed + sum(max(line.at(1.0) for line in lines) for lines in self.lines)

    def _line(self, option: Layer) -> CostLine:
        """Return the cost of a layer."""
        if self.latencies is None:
            return line(self.resource, self.space.sizes, option, self.context)
        return self.latencies.line(option)

    def for_space(self, space: Space) -> "SpaceCost":
        """Return the cost of another space in the same resource."""
        return SpaceCost(self.resource, space, self.context, self.latencies)

    def restricted(self, code: Sequence[int]) -> "SpaceCost":
        """Return the cost of a single architecture of the space, relative to the most expensive one of the space."""
        alone = copy.copy(self)
        alone.space = Space.of(self.space.decode(tuple(code)))
        alone.lines = [[lines[option]] for lines, option in zip(self.lines, code, strict=True)]
        alone._tables = {}
        return alone

    def alone(self, code: Sequence[int]) -> "SpaceCost":
        """Return the cost of a single architecture of the space, relative to its own most expensive routing."""
        alone = self.restricted(code)
        alone._bound()
        return alone

    @property
    def figure(self) -> str:
        """Name of the relative cost in figures: "share" for softmax_share, else "cost"."""
        return "share" if self.resource == SOFTMAX_SHARE else "cost"

    def shown(self, cost: float) -> str:
        """Return a cost in the resource's unit as text, as users type it in `budget.target`."""
        formats = {SOFTMAX_SHARE: ".3g", LATENCY: ".4g"}
        return format(cost, formats.get(self.resource, ".0f"))

    def of(self, code: Sequence[int], shares: Mapping[int, float]) -> float:
        """Return the cost of an architecture in the resource's unit. Softmax shares of layers default to 1."""
        each = (
            lines[option].at(shares.get(layer, 1.0))
            for layer, (lines, option) in enumerate(zip(self.lines, code, strict=True))
        )
        return self.fixed + sum(each)

    def relative(self, cost: float) -> float:
        """Return a cost in the resource's unit as a fraction of the cost of the most expensive architecture."""
        return cost / self.most if self.most else 0.0

    def expected(self, weights: Tensor, shares: Tensor) -> Tensor:
        """Return the relative cost of a mixture of options.

        Args:
            weights: [layers, most options] weights of each layer's options, which sum to 1; 0 past its last option.
            shares: [layers, most options] softmax shares of the options; without effect for options without a router.
        """
        bases, slopes = self.tables(weights.device, weights.dtype)
        return (weights * (bases + slopes * shares)).sum() + self.relative(self.fixed)

    def expected_by_layer(self, weights: Tensor, shares: Tensor) -> Tensor:
        """Return the relative cost [layers] of each layer in a mixture of options; see `expected` for the arguments."""
        bases, slopes = self.tables(weights.device, weights.dtype)
        return (weights * (bases + slopes * shares)).sum(1)

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """The relative cost of each layer's cheapest option without softmax chunks, and of its most expensive one."""
        return [
            (self.relative(min(line.base for line in own)), self.relative(max(line.at(1.0) for line in own)))
            for own in self.lines
        ]

    def tables(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return relative bases and slopes of the options' costs, [layers, most options], 0 past the last option."""
        if (device, dtype) not in self._tables:
            most = max(map(len, self.lines))
            rows = [[(line.base, line.slope) for line in own] + [(0.0, 0.0)] * (most - len(own)) for own in self.lines]
            relative = [[[self.relative(cost) for cost in one] for one in row] for row in rows]
            bases, slopes = torch.tensor(relative, device=device, dtype=dtype).unbind(-1)
            self._tables[device, dtype] = bases.contiguous(), slopes.contiguous()
        return self._tables[device, dtype]

    @property
    def densest(self) -> tuple[int, ...]:
        """The code of the most expensive architecture."""
        return tuple(max(range(len(lines)), key=lambda i: lines[i].at(1.0)) for lines in self.lines)

    @property
    def cheapest(self) -> tuple[int, ...]:
        """The code of the architecture that costs least if routers send no chunk to softmax."""
        return tuple(min(range(len(lines)), key=lambda i: lines[i].base) for lines in self.lines)
