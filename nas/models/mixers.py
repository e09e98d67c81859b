"""The mixer of a layer: shared projections, then one operation, or two operations and a router.

A layer of a supernet has several options, which share one set of projections. A `LayerChoice` selects among them for
one forward pass.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from nas.data.documents import Documents
from nas.distributed.context.exchange import before
from nas.distributed.context.group import Context
from nas.kernels.arguments import RouteGrad
from nas.kernels.mixed_routes import mixed_routes
from nas.kernels.triton_support import operand_dtype
from nas.models.layers import ShortConvolution, linear_together
from nas.models.operations import Branch, Operation, Standalone, in_order, operation_of
from nas.models.operations.operation import Heads, Projected, packing
from nas.models.operations.pairs import Pair, pair_of
from nas.models.recomputation import large_on_gpu, recomputing
from nas.models.router import Router
from nas.models.routing import FIRST_OPTION, LayerChoice, Policy, Routing, first_alone
from nas.search_spaces.architecture import Architecture, Layer

Convolve = Callable[[ShortConvolution, Tensor, int | None], Tensor]
"""Maps (a convolution, its inputs [B, T, channels], heads of its l2 norm or None) to outputs of the same shape."""


class Prepared(NamedTuple):
    """What both branches of a routed layer read, whatever the chunk size.

    Attributes:
        heads: inputs of each branch by head.
        scores: [B, T, 2 * softmax heads], scores by which the branches are weighed.
    """

    heads: tuple[Heads, Heads]
    scores: Tensor


def shares_inputs(x: Tensor) -> bool:
    """Return whether the chunk sizes of a mixture share the inputs of their branches, which are the same.

    On a CPU each chunk size computes its own. Shared ones would sum their gradients in another order, and searches of
    earlier versions could not be repeated to the bit.
    """
    return x.is_cuda


class TokenMixer(nn.Module):
    """Mixes the tokens of a layer: [B, T, width] to [B, T, width]. Also returns the routings of the layer.

    Branches share the projections of q, k and v and their short convolutions. The output of each branch has its own
    RMSNorm. With two branches, a softmax over the branches, linear in the convolved q, weighs them per token and
    softmax head. A SiLU gate and the output projection follow. Source: NAtS-L (Deng et al. 2026), with the gates of
    Gated DeltaNet (Yang et al. 2025). A standalone operation of another library has projections of its own.

    Under the policy `first_alone`, an option with a router is its first operation alone.

    Args:
        architecture: sizes of the model.
        index: index of the layer.
        route_grad: chunks whose routes get a gradient, "full" or "selected".
        options: options of the layer; the layer of the architecture by default.
    """

    def __init__(
        self, architecture: Architecture, index: int, route_grad: RouteGrad, options: tuple[Layer, ...] | None = None
    ) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.options = options or (architecture.layers[index],)
        self.route_grad = route_grad
        self.index = index
        operations = self.in_order({name for option in self.options for name in option.operations})
        self.pair = self._pair()
        self.context: Context | None = None
        """The processes that share each sequence, of which x is one stretch; None if x is the whole sequence."""
        branches = any(isinstance(operation, Branch) for operation in operations)
        if branches:
            self.add_projections(a)
        for operation in operations:
            operation.add_parameters(self, a)
        if self.pair is not None:
            self.router = Router(a.width, a.routing_heads, a.router_reads)
            self.add_branch_score(a)
        if branches:
            self.add_output(a)

    def add_projections(self, a: Architecture) -> None:
        """Add the projections of q, k and v, and their convolutions."""
        keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
        self.q = nn.Linear(a.width, keys, bias=False)
        self.k = nn.Linear(a.width, keys, bias=False)
        self.v = nn.Linear(a.width, values, bias=False)
        self.q_convolution = ShortConvolution(keys, a.conv_size)
        self.k_convolution = ShortConvolution(keys, a.conv_size)
        self.v_convolution = ShortConvolution(values, a.conv_size)

    def add_branch_score(self, a: Architecture) -> None:
        """Add the layer whose outputs weigh the branches."""
        self.branch_score = nn.Linear(a.linear_heads * a.key_dim, 2 * a.softmax_heads, bias=False)

    def add_output(self, a: Architecture) -> None:
        """Add the output gate and the output projection."""
        values = a.linear_heads * a.value_dim
        self.gate = nn.Linear(a.width, values, bias=False)
        self.out = nn.Linear(values, a.width, bias=False)

    def operation(self, name: str) -> Operation:
        """Return an operation by its name, as this mixer has it."""
        return operation_of(name, self.architecture)

    def in_order(self, names: set[str]) -> list[Operation]:
        """Return the operations of these names, as this mixer has them, in the order of their table."""
        return [self.operation(operation.name) for operation in in_order(names)]

    @property
    def convolutions(self) -> tuple[ShortConvolution, ...]:
        """The convolutions of q, k and v; none in a pretrained model."""
        return self.q_convolution, self.k_convolution, self.v_convolution

    def gate_of(self, given: Projected) -> Tensor:
        """Return the output gate [B, T, channels of v] before its activation."""
        return given.linear(self.gate)

    def _pair(self) -> Pair | None:
        """Return the two branches between which the router chooses; None without a router."""
        routed = sorted({option.operations for option in self.options if option.routed})
        if not routed:
            return None
        operations = [self.operation(name) for name in routed[0]]
        if len(routed) > 1 or len(operations) != 2 or not all(isinstance(one, Branch) for one in operations):
            raise ValueError(f"a router chooses between two branches; options of layer {self.index} have {routed}.")
        first, second = cast("list[Branch]", operations)
        return self.pair_of((first, second))

    def pair_of(self, branches: tuple[Branch, Branch]) -> Pair:
        """Return the pair of two branches."""
        return pair_of(branches)

    def forward(
        self, x: Tensor, policy: Policy, choice: LayerChoice = FIRST_OPTION, documents: Documents | None = None
    ) -> tuple[Tensor, list[Routing]]:
        options = choice.of(self.options)
        with recomputing(x):
            if choice.option is None:
                assert choice.weights is not None
                return self._mixture(x, policy, options, choice.weights, documents)
            (option,) = options
            y, routings = self._option(x, policy, option, documents)
        return (y if choice.weights is None else y * choice.weights.to(y.dtype)), routings

    def project(
        self,
        x: Tensor,
        convolve: Convolve | None = None,
        branches: Iterable[Branch] = (),
        documents: Documents | None = None,
    ) -> Projected:
        """Return the convolved projections of x [B, T, width].

        Args:
            x: input of the layer.
            convolve: applies the convolutions; None to convolve x as it is.
            branches: branches that will use the result, all of them; none if that is not known. In training of large
                layers, their projections and the gate are computed in the same matrix product.
            documents: packed documents of x; None if each sequence is one.
        """
        if documents is not None:
            convolve = partial(_convolve_packed, documents)
        elif convolve is None:
            convolve = self._convolve
        if x.is_cuda:
            x = x.to(operand_dtype(x))  # under autocast, cast once and not in each projection
        made: dict[nn.Linear, Tensor] = {}
        used = tuple(branches)
        if used and large_on_gpu(x) and torch.is_grad_enabled():
            layers = self.projections(used)
            made = dict(zip(layers, linear_together(x, layers), strict=True))
        q, k, v = (made.pop(layer) if made else layer(x) for layer in (self.q, self.k, self.v))
        normalised = len(used) == 1 and used[0].reads_l2
        heads = self.architecture.linear_heads if normalised else None
        q, k = convolve(self.q_convolution, q, heads), convolve(self.k_convolution, k, heads)
        v = convolve(self.v_convolution, v, None)
        return Projected(x, q, k, v, made, normalised=normalised, documents=documents)

    def _convolve(self, convolution: ShortConvolution, x: Tensor, heads: int | None) -> Tensor:
        if self.context is None:
            y: Tensor = convolution(x, heads)
            return y
        return convolution.after(before(self.context, "convolutions", x, convolution.reach), x, heads)

    def _start(self, given: Projected) -> int | Tensor:
        """Return the positions of the tokens, as `Branch.heads` takes them."""
        return given.start if self.context is None else self.context.start(given.x)

    def projections(self, branches: Iterable[Branch]) -> list[nn.Linear]:
        """Return the layers that project x for these branches: q, k, v, the gate, and those of the branches."""
        own = [layer for branch in branches for layer in branch.projections(self)]
        return [self.q, self.k, self.v, self.gate, *own]

    def _option(
        self, x: Tensor, policy: Policy, option: Layer, documents: Documents | None
    ) -> tuple[Tensor, list[Routing]]:
        """Compute a single option."""
        operation = self.operation(option.operations[0])
        if isinstance(operation, Standalone):
            return operation.output(self, x, **packing(documents)), []
        assert isinstance(operation, Branch)
        if option.routed and policy is not first_alone:
            assert self.pair is not None
            given = self.project(x, branches=self.pair.branches, documents=documents)
            routing = self._decide(given, policy, option.chunk_size)
            heads, scores = self._prepare(given)
            both = self._both(given, heads, routing.weights.unbind(-1), option.chunk_size)
            return self.out(self.pair.merge(self, both, scores, self.gate_of(given))), [routing]
        given = self.project(x, branches=(operation,), documents=documents)
        o = self._alone(operation, given, option.chunk_size)
        return self.out(operation.merge(self, o, self.gate_of(given))), []

    def _mixture(
        self,
        x: Tensor,
        policy: Policy,
        options: tuple[Layer, ...],
        weights: Tensor,
        documents: Documents | None,
    ) -> tuple[Tensor, list[Routing]]:
        """Compute a weighted mixture of options.

        Options with routers of the same chunk size share two branches. The route of a shared branch is the weighted
        mean of the routes in these options. A mixture therefore costs no more than a token hybrid, and equals an option
        that has all the weight. The two operations alone are computed together with the first chunk size.
        """
        alone: dict[str, Tensor] = {}
        routed: dict[int, Tensor] = {}
        for option, weight in zip(options, weights, strict=True):
            if option.routed and policy is not first_alone:
                chunk = option.chunk_size
                routed[chunk] = routed[chunk] + weight if chunk in routed else weight
            else:
                name = option.operations[0]
                alone[name] = alone[name] + weight if name in alone else weight
        outputs, parts, routings = [], [], []
        for operation in self.in_order(set(alone)):
            if isinstance(operation, Standalone):
                outputs.append(alone.pop(operation.name) * operation.output(self, x, **packing(documents)))
        if alone or routed:
            given = self.project(x, documents=documents)
            gate = self.gate_of(given)
            shared = self._prepare(given) if len(routed) > 1 and shares_inputs(x) else None
            for chunk_size, weight in routed.items():
                routing = self._decide(given, policy, chunk_size)
                prepared = shared or self._prepare(given)
                parts.append(self._grain(given, prepared, gate, routing, alone, weight))
                routings.append(routing)
            parts += [
                alone[branch.name] * self._branch(branch, given, gate, options[0].chunk_size)
                for branch in cast("list[Branch]", self.in_order(set(alone)))
            ]
            outputs.insert(0, self.out(torch.stack(parts).sum(0) if len(parts) > 2 else sum(parts[1:], parts[0])))
        return torch.stack(outputs).sum(0) if len(outputs) > 1 else outputs[0], routings

    def _branch(self, branch: Branch, given: Projected, gate: Tensor, chunk_size: int) -> Tensor:
        """Compute a branch alone; returns the input of the output projection, [B, T, channels of v]."""
        return branch.merge(self, self._alone(branch, given, chunk_size), gate)

    def _alone(self, branch: Branch, given: Projected, chunk_size: int) -> Tensor:
        """Mix tokens in a branch without a router; returns [B, T, H, V]."""
        heads = branch.heads(self, given, self._start(given))
        if self.context is None:
            return branch.attend(self, heads, chunk_size, **given.packing)
        return branch.attend_across(self, self.context, heads, chunk_size)

    def _prepare(self, given: Projected) -> Prepared:
        """Compute what both branches read, whatever the chunk size."""
        assert self.pair is not None
        return Prepared(self.pair.heads(self, given, self._start(given)), self.branch_score(given.q))

    def _grain(
        self,
        given: Projected,
        prepared: Prepared,
        gate: Tensor,
        routing: Routing,
        alone: dict[str, Tensor],
        hybrid: Tensor,
    ) -> Tensor:
        """Compute a routed option and its two branches alone, weighted; removes the branches from ``alone``."""
        assert self.pair is not None
        zero = hybrid.new_zeros(())
        first, second = (alone.pop(branch.name, zero) for branch in self.pair.branches)
        routes = mixed_routes(routing.weights, first, second, hybrid)
        both = self._both(given, prepared.heads, routes, routing.chunk_size)
        return self.pair.mix(self, both, prepared.scores, gate, (first, second, hybrid))

    def _decide(self, given: Projected, policy: Policy, chunk_size: int) -> Routing:
        logits = self.router(given.x, chunk_size, given.documents)
        if given.documents is not None:
            chunks = given.documents.chunks(chunk_size)
            weights = chunks.from_rows(policy(self.index, chunks.as_rows(logits)))
            return Routing(logits, weights, chunk_size, tokens=chunks.tokens)
        if self.context is None:
            return Routing(logits, policy(self.index, logits), chunk_size)
        weights = self.context.of_all_chunks(lambda whole: policy(self.index, whole), logits)
        return Routing(logits, weights, chunk_size)

    def _both(
        self, given: Projected, heads: tuple[Heads, Heads], routes: tuple[Tensor, ...], chunk_size: int
    ) -> tuple[Tensor, Tensor]:
        """Compute both branches, in parallel if the device supports it."""
        assert self.pair is not None
        first, second = routes
        if self.context is None:
            return self.pair.attend(self, heads, given.v, (first, second), chunk_size, self.route_grad, **given.packing)
        return self.pair.attend_across(self, self.context, heads, (first, second), chunk_size, self.route_grad)


def _convolve_packed(documents: Documents, convolution: ShortConvolution, x: Tensor, heads: int | None) -> Tensor:
    y: Tensor = convolution(x, heads, documents.cu_seqlens)
    return y
