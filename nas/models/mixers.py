"""The mixer of a layer: shared projections, then one operation, or two with a router between them.

A layer of a supernet has several options, which share one set of projections. A `LayerChoice` selects among them for
one forward pass.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from nas.kernels.arguments import RouteGrad
from nas.kernels.triton_support import operand_dtype
from nas.models.layers import ShortConvolution
from nas.models.operations import Branch, Standalone, find, in_order
from nas.models.operations.operation import Projected
from nas.models.operations.pairs import Pair, pair_of
from nas.models.router import Router
from nas.relaxations import precise
from nas.search_spaces.architecture import Architecture, Layer

Convolve = Callable[[ShortConvolution, Tensor], Tensor]
"""(a convolution, its inputs [B, T, channels]) to outputs of that shape."""
Policy = Callable[[int, Tensor], Tensor]
"""(layer index, router logits [B, N, R, 2] of N chunks from the first on) to weights of that shape, which
sum to 1 over the last dimension but where each chunk gets both operations."""


def first_alone(layer: int, logits: Tensor) -> Tensor:
    """The policy under which routers are not used: a layer with a router is its first operation alone.

    A mixer knows this policy and computes no logits for it, so that it is never called.
    """
    raise AssertionError("routers are not used under this policy")


class LayerChoice(NamedTuple):
    """What a layer is for one forward pass: one option alone, or a mixture.

    Attributes:
        option: index of the option that is computed; None for a mixture.
        weights: [options] of a mixture; of one option alone its weight, a number that is 1 and hands a gradient on.
        among: indices of the options of a mixture; None for all of them.
    """

    option: int | None
    weights: Tensor | None = None
    among: tuple[int, ...] | None = None

    def of(self, options: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """The options that are computed."""
        if self.option is not None:
            return (options[self.option],)
        return options if self.among is None else tuple(options[index] for index in self.among)


FIRST_OPTION = LayerChoice(0)


class Routing(NamedTuple):
    """What one layer's router decided: its logits and the weights made of them, both [B, N, R, 2], N chunks."""

    logits: Tensor
    weights: Tensor
    chunk_size: int


class TokenMixer(nn.Module):
    """Mixes tokens in layer ``index``: [B, T, width] to [B, T, width], and what its routers decided, if anything.

    Branches share the projections of q, k and v and their short convolutions; each output has its own RMSNorm. With two
    branches, a softmax over the branches, linear in the convolved q, weighs them per token and softmax head. A SiLU
    gate and the output projection follow. Source: NAtS-L (Deng et al. 2026); gates as in Gated DeltaNet (Yang et al.
    2025). A layer of another library stands alone, with projections of its own.

    Under the policy `first_alone` an option with a router is its first operation alone.

    Args:
        architecture: sizes.
        index: of the layer.
        route_grad: which chunks' routes get a gradient.
        options: what the layer can be; that of the architecture alone by default.
    """

    def __init__(
        self, architecture: Architecture, index: int, route_grad: RouteGrad, options: tuple[Layer, ...] | None = None
    ) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.options = options or (architecture.layers[index],)
        self.route_grad = route_grad
        self.index = index
        operations = in_order({name for option in self.options for name in option.operations})
        self.pair = self._pair()
        branches = [operation for operation in operations if isinstance(operation, Branch)]
        keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
        if branches:
            self.q = nn.Linear(a.width, keys, bias=False)
            self.k = nn.Linear(a.width, keys, bias=False)
            self.v = nn.Linear(a.width, values, bias=False)
            self.q_convolution = ShortConvolution(keys, a.conv_size)
            self.k_convolution = ShortConvolution(keys, a.conv_size)
            self.v_convolution = ShortConvolution(values, a.conv_size)
        for operation in operations:
            operation.add_parameters(self, a)
        if self.pair is not None:
            self.router = Router(a.width, a.routing_heads)
            self.branch_score = nn.Linear(keys, 2 * a.softmax_heads, bias=False)
        if branches:
            self.gate = nn.Linear(a.width, values, bias=False)
            self.out = nn.Linear(values, a.width, bias=False)

    def _pair(self) -> Pair | None:
        """The two branches between which the layer's router chooses; None without a router."""
        routed = sorted({option.operations for option in self.options if option.routed})
        if not routed:
            return None
        operations = [find(name) for name in routed[0]]
        if len(routed) > 1 or len(operations) != 2 or not all(isinstance(one, Branch) for one in operations):
            raise ValueError(f"a router chooses between two branches; options of layer {self.index} have {routed}.")
        first, second = cast("list[Branch]", operations)
        return pair_of((first, second))

    def forward(self, x: Tensor, policy: Policy, choice: LayerChoice = FIRST_OPTION) -> tuple[Tensor, list[Routing]]:
        options = choice.of(self.options)
        if choice.option is None:
            assert choice.weights is not None
            return self._mixture(x, policy, options, choice.weights)
        (option,) = options
        y, routings = self._option(x, policy, option)
        return (y if choice.weights is None else y * choice.weights.to(y.dtype)), routings

    def project(self, x: Tensor, convolve: Convolve = ShortConvolution.__call__) -> Projected:
        """The convolved projections of x [B, T, width], with another way to apply the convolutions if one is given."""
        if x.is_cuda:
            x = x.to(operand_dtype(x))  # under autocast once, and not in each projection
        q, k = convolve(self.q_convolution, self.q(x)), convolve(self.k_convolution, self.k(x))
        return Projected(x, q, k, convolve(self.v_convolution, self.v(x)))

    def _option(self, x: Tensor, policy: Policy, option: Layer) -> tuple[Tensor, list[Routing]]:
        """One option alone."""
        operation = find(option.operations[0])
        if isinstance(operation, Standalone):
            return operation.output(self, x), []
        assert isinstance(operation, Branch)
        given = self.project(x)
        if option.routed and policy is not first_alone:
            assert self.pair is not None
            routing = self._decide(given.x, policy, option.chunk_size)
            both = self._both(given, routing.weights.unbind(-1), option.chunk_size)
            return self.out(self.pair.merge(self, both, given.q, self.gate(given.x))), [routing]
        o = operation.attend(self, operation.heads(self, given), option.chunk_size)
        return self.out(operation.merge(self, o, self.gate(given.x))), []

    def _mixture(
        self, x: Tensor, policy: Policy, options: tuple[Layer, ...], weights: Tensor
    ) -> tuple[Tensor, list[Routing]]:
        """Options, weighed.

        Options with a router of one chunk size share its two branches. What the branches see of earlier chunks is the
        weighted mean of what the options that use them would see, so that a mixture costs no more than a token hybrid,
        and is exactly an option where that has all the weight. Both operations alone belong to the first chunk size.
        """
        alone: dict[str, Tensor] = {}
        routed: dict[int, Tensor] = {}
        for option, weight in zip(options, weights, strict=True):
            if option.routed and policy is not first_alone:
                chunk = option.chunk_size
                routed[chunk] = routed[chunk] + weight if chunk in routed else weight
            else:
                name = option.operations[0]
                alone[name] = alone.get(name, weights.new_zeros(())) + weight
        outputs, parts, routings = [], [], []
        for operation in in_order(set(alone)):
            if isinstance(operation, Standalone):
                outputs.append(alone.pop(operation.name) * operation.output(self, x))
        if alone or routed:
            given = self.project(x)
            gate = self.gate(given.x)
            for chunk_size, weight in routed.items():
                routing = self._decide(given.x, policy, chunk_size)
                parts.append(self._grain(given, gate, routing, alone, weight))
                routings.append(routing)
            parts += [
                alone[branch.name] * self._branch(branch, given, gate, options[0].chunk_size)
                for branch in cast("list[Branch]", in_order(set(alone)))
            ]
            outputs.insert(0, self.out(torch.stack(parts).sum(0)))
        return torch.stack(outputs).sum(0) if len(outputs) > 1 else outputs[0], routings

    def _branch(self, branch: Branch, given: Projected, gate: Tensor, chunk_size: int) -> Tensor:
        """A branch alone: what the output projection gets, [B, T, channels of v]."""
        return branch.merge(self, branch.attend(self, branch.heads(self, given), chunk_size), gate)

    def _grain(
        self, given: Projected, gate: Tensor, routing: Routing, alone: dict[str, Tensor], hybrid: Tensor
    ) -> Tensor:
        """One router's option and its two branches alone, each times its weight (numbers), which is used up."""
        assert self.pair is not None
        zero = hybrid.new_zeros(())
        first, second = (alone.pop(branch.name, zero) for branch in self.pair.branches)
        kept, compressed = routing.weights.unbind(-1)
        routes = _mean_route(first, hybrid, kept), _mean_route(second, hybrid, compressed)
        both = self._both(given, routes, routing.chunk_size)
        shares = self.branch_score(given.q).unflatten(-1, (-1, 2)).softmax(-1)  # [B, T, softmax heads, 2]
        by_first, by_second = (hybrid * shares).repeat_interleave(both[0].shape[-1], dim=-2).unbind(-1)
        merged = [branch.merge(self, own, gate) for branch, own in zip(self.pair.branches, both, strict=True)]
        return (first + by_first) * merged[0] + (second + by_second) * merged[1]

    def _decide(self, x: Tensor, policy: Policy, chunk_size: int) -> Routing:
        logits = self.router(x, chunk_size)
        return Routing(logits, policy(self.index, logits), chunk_size)

    def _both(self, given: Projected, routes: tuple[Tensor, ...], chunk_size: int) -> tuple[Tensor, Tensor]:
        """Both branches, side by side if the machine can."""
        assert self.pair is not None
        first, second = routes
        heads = self.pair.heads(self, given)
        return self.pair.attend(self, heads, given.v, (first, second), chunk_size, self.route_grad)


def _mean_route(plain: Tensor, hybrid: Tensor, route: Tensor) -> Tensor:
    """What a branch sees of earlier chunks: ``plain`` of its weight sees all of them, ``hybrid`` the ``route``."""
    total = plain + hybrid
    return torch.where(total > 0, (plain + hybrid * route) / total.clamp(min=torch.finfo(total.dtype).tiny), 1.0)


def kept_weight(routing: Routing) -> Tensor:
    """[B, N, R]: how much of each chunk the first operation keeps, that is softmax attention."""
    return routing.weights[..., 0]


def kept_margin(routing: Routing) -> Tensor:
    """[B, N, R]: the logit of the operation that keeps chunks minus the other's; from 0 on a chunk is kept."""
    kept, dropped = precise(routing.logits).unbind(-1)
    return kept - dropped
