"""What architectures cost: parameters, multiply-adds per token and the memory of what must be remembered.

All of it is counted from the architecture alone, layer by layer, and is linear in the share of softmax chunks of each
routed layer: so a budget can be differentiated, and the reachable range of a space is that of its options.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from nas.models.operations import Branch, find
from nas.models.operations.operation import CostLine
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.space import Space

LONG = 131072
"""The context length of which the headline tells the memory."""
CONTEXTS = (4096, 32768, LONG)
"""Context lengths for which costs are given."""
SOFTMAX_SHARE, KV_BYTES, FLOPS = "softmax_share", "kv_bytes", "flops"
UNITS = {
    SOFTMAX_SHARE: "of the chunks",
    KV_BYTES: "bytes of keys, values and states",
    FLOPS: "FLOPs per token",
}
"""What can be budgeted, and in which unit."""


def kv_bytes(architecture: Architecture, shares: Mapping[int, float], context: int) -> int:
    """Bytes of keys, values and states that one sequence needs to go on after ``context`` tokens.

    A softmax layer keeps keys and values of every token, a routed one those of its softmax chunks (``shares``, by
    layer) and of the current chunk, whose route nobody knows yet. A layer with a linear branch keeps a fixed state: as
    decoding has it (`nas.models.decoding`), the running one, that at the start of the current chunk, and the decay
    since then. Not counted is what is little: the tokens that short convolutions look back on, and what routers decide
    by, a vector of the current chunk and two numbers for each routing head of every other.
    """
    return round(_of_architecture(KV_BYTES, architecture, shares, context))


def flops_per_token(architecture: Architecture, shares: Mapping[int, float], context: int) -> int:
    """Forward FLOPs of a token at the end of ``context`` tokens, a multiply-add counted as two.

    Two for each weight that multiplies it, 2 (K + V) per softmax head and visible key, and 6 K V per linear head for
    reading the state twice, for the correction and the output, and writing it once. That is what generating a token
    takes; computing whole sequences chunk by chunk does more of them for fewer steps.
    """
    return round(_of_architecture(FLOPS, architecture, shares, context))


def training_flops_per_token(architecture: Architecture, shares: Mapping[int, float], length: int) -> int:
    """FLOPs of training on a token, averaged over sequences of ``length``: forward, and backward as twice that.

    What the model needs at these ``shares`` of softmax chunks: neither the dense steps before routing began nor the
    gradients of routes that were not taken are counted.
    """
    return 3 * flops_per_token(architecture, shares, length // 2)  # linear in the context: its middle has the average


def _of_architecture(resource: str, a: Architecture, shares: Mapping[int, float], context: int) -> float:
    each = (line(resource, a, layer, context).at(shares.get(index, 1.0)) for index, layer in enumerate(a.layers))
    return fixed(resource, a) + sum(each)


def line(resource: str, sizes: Architecture, layer: Layer, context: int) -> CostLine:
    """What a layer of a model of these sizes costs after ``context`` tokens; slope is 0 without a router.

    Args:
        resource: one of `UNITS`; softmax_share counts each layer as one.
        sizes: of the model.
        layer: its mixer and chunk size.
        context: tokens of the sequence.
    """
    operations = [find(name) for name in layer.operations]
    if resource == SOFTMAX_SHARE:
        kept = float(any(operation.keeps_all for operation in operations))
        return CostLine(0.0, kept) if layer.routed else CostLine(kept)
    if resource == KV_BYTES:
        each = (operation.kv_bytes(sizes, layer.chunk_size, context, layer.routed) for operation in operations)
        return sum(each, CostLine(0))
    each = (operation.flops(sizes, layer.chunk_size, context, layer.routed) for operation in operations)
    return sum(each, CostLine(2 * _layer_weights(sizes, layer)))


def fixed(resource: str, sizes: Architecture) -> float:
    """What a model of these sizes costs beside its layers: for FLOPs the last norm and the head."""
    return 2.0 * (sizes.width + sizes.width * sizes.vocab_size) if resource == FLOPS else 0.0


def _layer_weights(a: Architecture, layer: Layer) -> int:
    """Weights of a layer that multiply each token; a router's too, though it sees means only."""
    operations = [find(name) for name in layer.operations]
    keys, values, per_head = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim, a.softmax_heads
    weights = 2 * a.width + 3 * a.width * (layer.mlp_width or a.mlp_width)  # norms; SwiGLU
    weights += sum(operation.weights(a) for operation in operations)
    if any(isinstance(operation, Branch) for operation in operations):  # q, k, v, gate, out; convolutions
        weights += a.width * (2 * keys + 3 * values) + a.conv_size * (2 * keys + values)
    if layer.routed:
        weights += 2 * a.routing_heads * (a.width + 1) + 2 * keys * per_head  # router; weights of the branches
    return weights


class SpaceCost:
    """A resource over all architectures of a space, relative to the dearest, where each layer is its densest option.

    Args:
        resource: one of `UNITS`.
        space: softmax_share is averaged over those of its layers that choose or route, if any do.
        context: tokens of a sequence.
    """

    def __init__(self, resource: str, space: Space, context: int) -> None:
        self.resource, self.space, self.context = resource, space, context
        counted = {*space.choosing, *space.routed} or set(range(len(space.options)))
        sizes, self.fixed = space.sizes, fixed(resource, space.sizes)
        self.lines = [[line(resource, sizes, option, context) for option in options] for options in space.options]
        if resource == SOFTMAX_SHARE:
            self.lines = [
                [
                    CostLine(x.base / len(counted), x.slope / len(counted)) if index in counted else CostLine(0)
                    for x in lines
                ]
                for index, lines in enumerate(self.lines)
            ]
        self.least = self.fixed + sum(min(line.base for line in lines) for lines in self.lines)
        self.most = self.fixed + sum(max(line.at(1.0) for line in lines) for lines in self.lines)

    @property
    def figure(self) -> str:
        """What the relative cost is called where it is shown: of softmax_share it is the share itself."""
        return "share" if self.resource == SOFTMAX_SHARE else "cost"

    def shown(self, cost: float) -> str:
        """A cost as people read and type it."""
        return f"{cost:.3g}" if self.resource == SOFTMAX_SHARE else f"{cost:.0f}"

    def of(self, code: Sequence[int], shares: Mapping[int, float]) -> float:
        """The cost of an architecture in the resource's unit, at ``shares`` of its routed layers, 1 if not given."""
        each = (
            lines[option].at(shares.get(layer, 1.0))
            for layer, (lines, option) in enumerate(zip(self.lines, code, strict=True))
        )
        return self.fixed + sum(each)

    def relative(self, cost: float) -> float:
        """A cost in the resource's unit as a part of the dearest architecture's."""
        return cost / self.most if self.most else 0.0

    def expected(
        self, weights: Sequence[Sequence[float | Tensor]], shares: Sequence[Sequence[float | Tensor]]
    ) -> Tensor | float:
        """The relative cost of a mixture.

        Args:
            weights: of each layer's options, summing to 1.
            shares: of softmax chunks, of each layer's options; only those of token_hybrid matter.
        """
        total: Tensor | float = self.fixed
        for lines, own_weights, own_shares in zip(self.lines, weights, shares, strict=True):
            for option, weight, share in zip(lines, own_weights, own_shares, strict=True):
                cost = option.base + option.slope * share if option.slope else option.base
                total = total + weight * cost
        return total / self.most if self.most else total

    @property
    def densest(self) -> tuple[int, ...]:
        """The code whose layers cost the most."""
        return tuple(max(range(len(lines)), key=lambda i: lines[i].at(1.0)) for lines in self.lines)

    @property
    def cheapest(self) -> tuple[int, ...]:
        """The code whose layers cost the least where routers send nothing to softmax."""
        return tuple(min(range(len(lines)), key=lambda i: lines[i].base) for lines in self.lines)
