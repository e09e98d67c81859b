"""The mixer of a layer: shared projections, then softmax attention, Gated DeltaNet, or both by route.

A layer may have several options, of which the same projections serve every one; a `Path` says which of them it is.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.kernels import chunk_softmax_attention, gated_delta_rule, hybrid_attention
from nas.kernels.arguments import RouteGrad
from nas.kernels.branch_merge import branch_merge
from nas.kernels.head_norms import head_norms
from nas.kernels.triton_support import operand_dtype
from nas.models.layers import NORM_EPS, ShortConvolution, rms_norm
from nas.models.rotary import rotate
from nas.models.router import OPERATIONS, Router
from nas.relaxations import precise
from nas.search_spaces.architecture import Architecture, Layer

Convolve = Callable[[ShortConvolution, Tensor], Tensor]
"""(a convolution, its inputs [B, T, channels]) to outputs of that shape."""
Policy = Callable[[int, Tensor], Tensor]
"""(layer index, router logits [B, N, R, 2] of N chunks from the first on) to weights of that shape, which
sum to 1 over the last dimension but where each chunk gets both operations."""

INITIAL_DECAY_RATES = (0.02, 0.3)
"""Least and largest rate of forgetting of a linear head at the start, drawn log-uniformly. Published are 1 to 16."""
INITIAL_WRITE = -4.0
"""Logit of the strength with which linear attention writes a token at the start. Published are strengths of a half.

As published, most of what a small model stores is forgotten or written over within tens of tokens, no gradient asks for
more, and linear layers stay on the plateau before recall; from this start they leave it as softmax layers do.
"""
INITIAL_WIDE_WRITE = 0.0
"""The same where strengths go up to 2: a strength of 1, in the middle. From sparing ones up, eigenvalues of -1 are too
far to be learnt.
"""


class Path(NamedTuple):
    """What a layer is for one forward pass: one option alone, or a mixture.

    Attributes:
        option: index of the option that is computed; None for a mixture.
        weights: [options] of a mixture; of one option alone its weight, a number that is 1 and hands a gradient on.
        among: indices of the options of a mixture; None for all of them.
    """

    option: int | None
    weights: Tensor | None = None
    among: tuple[int, ...] | None = None


FIRST = Path(0)


class Routing(NamedTuple):
    """What one layer's router decided: its logits and the weights made of them, both [B, N, R, 2], N chunks."""

    logits: Tensor
    weights: Tensor
    chunk_size: int


class Projected(NamedTuple):
    """What every option of a layer works on: x [B, T, width] and its convolved projections [B, T, channels]."""

    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor


class SoftmaxHeads(NamedTuple):
    """What softmax attention works on: q, k [B, T, H, K] and v [B, T, H, V] of its heads."""

    q: Tensor
    k: Tensor
    v: Tensor


class LinearHeads(NamedTuple):
    """What Gated DeltaNet works on: q, k [B, T, H, K], v [B, T, H, V] and g, beta [B, T, H] of its heads."""

    q: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    beta: Tensor


class TokenMixer(nn.Module):
    """Mixes tokens in layer ``index``: [B, T, width] to [B, T, width], and what its routers decided, if anything.

    Both operations share the projections of q, k and v and their short convolutions. The linear branch
    l2-normalises q and k, the softmax branch RMS-normalises them per head and, where the architecture has a rope_base,
    rotates them by their positions; each output has its own RMSNorm. With both, a softmax over the branches, linear in
    the convolved q, weighs them per token and softmax head. A SiLU gate and the output projection follow. Source:
    NAtS-L (Deng et al. 2026); gates as in Gated DeltaNet (Yang et al. 2025), which start out more
    retentive: INITIAL_DECAY_RATES, INITIAL_WRITE. With negative_eigenvalues write strengths are twice as large.

    Without a policy an option that could do both is plain softmax attention.

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
        mixers = {option.mixer for option in self.options}
        has_router = "token_hybrid" in mixers
        keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
        self.q = nn.Linear(a.width, keys, bias=False)
        self.k = nn.Linear(a.width, keys, bias=False)
        self.v = nn.Linear(a.width, values, bias=False)
        self.q_convolution = ShortConvolution(keys, a.conv_size)
        self.k_convolution = ShortConvolution(keys, a.conv_size)
        self.v_convolution = ShortConvolution(values, a.conv_size)
        if has_router or "softmax" in mixers:
            self.q_norm = rms_norm(keys // a.softmax_heads)
            self.k_norm = rms_norm(keys // a.softmax_heads)
            self.softmax_norm = rms_norm(values // a.softmax_heads)
        if has_router or "linear" in mixers:
            self.decay = nn.Linear(a.width, a.linear_heads, bias=False)
            self.write = nn.Linear(a.width, a.linear_heads)
            nn.init.constant_(self.write.bias, INITIAL_WIDE_WRITE if a.negative_eigenvalues else INITIAL_WRITE)
            slowest, fastest = map(math.log, INITIAL_DECAY_RATES)
            self.log_decay_rate = nn.Parameter(torch.empty(a.linear_heads).uniform_(slowest, fastest))
            step = torch.empty(a.linear_heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            self.decay_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(decay_bias) == step
            self.linear_norm = rms_norm(values // a.softmax_heads)
        if has_router:
            self.router = Router(a.width, a.routing_heads)
            self.branch_score = nn.Linear(keys, 2 * a.softmax_heads, bias=False)
        self.gate = nn.Linear(a.width, values, bias=False)
        self.out = nn.Linear(values, a.width, bias=False)

    def forward(self, x: Tensor, policy: Policy | None, path: Path = FIRST) -> tuple[Tensor, list[Routing]]:
        given = self.project(x)
        if path.option is None:
            assert path.weights is not None
            options = self.options if path.among is None else tuple(self.options[index] for index in path.among)
            merged, routings = self._mixture(given, policy, options, path.weights)
            return self.out(merged), routings
        merged, routings = self._option(given, policy, self.options[path.option])
        y = self.out(merged)
        return (y if path.weights is None else y * path.weights.to(y.dtype)), routings

    def project(self, x: Tensor, convolve: Convolve = ShortConvolution.__call__) -> Projected:
        """The convolved projections of x [B, T, width], with another way to apply the convolutions if one is given."""
        if x.is_cuda:
            x = x.to(operand_dtype(x))  # under autocast once, and not in each projection
        q, k = convolve(self.q_convolution, self.q(x)), convolve(self.k_convolution, self.k(x))
        return Projected(x, q, k, convolve(self.v_convolution, self.v(x)))

    def _option(self, given: Projected, policy: Policy | None, option: Layer) -> tuple[Tensor, list[Routing]]:
        """One option alone: what the output projection gets, [B, T, channels of v]."""
        if option.mixer == "token_hybrid" and policy is not None:
            routing = self._decide(given.x, policy, option.chunk_size)
            to_softmax, to_linear = routing.weights.unbind(-1)
            return self.merge(given, *self._both(given, to_softmax, to_linear, option.chunk_size)), [routing]
        if option.mixer == "linear":
            return self.merge(given, linear=self._linear(given, option.chunk_size)), []
        return self.merge(given, softmax=self._softmax(given, option.chunk_size)), []

    def _mixture(
        self, given: Projected, policy: Policy | None, options: tuple[Layer, ...], weights: Tensor
    ) -> tuple[Tensor, list[Routing]]:
        """Options, weighed: what the output projection gets.

        Options of one chunk size share a softmax and a linear branch. What the branches see of earlier chunks is the
        weighted mean of what the options that use them would see, so that a mixture costs no more than a token hybrid,
        and is exactly an option where that has all the weight. Softmax and linear belong to the first chunk size.
        """
        gate = self.gate(given.x)
        zero = weights.new_zeros(())
        softmax, linear, hybrids = zero, zero, {}
        for option, weight in zip(options, weights, strict=True):
            if option.mixer == "token_hybrid" and policy is not None:
                hybrids[option.chunk_size] = weight
            elif option.mixer == "linear":
                linear = linear + weight
            else:
                softmax = softmax + weight
        if not hybrids:
            chunk_size, mixers = options[0].chunk_size, {option.mixer for option in options}
            plain = []
            if mixers != {"linear"}:
                plain.append(softmax * self._merge_softmax(self._softmax(given, chunk_size), gate))
            if "linear" in mixers:
                plain.append(linear * self._merge_linear(self._linear(given, chunk_size), gate))
            return torch.stack(plain).sum(0), []
        parts, routings = [], []
        for chunk_size, weight in hybrids.items():
            routing = self._decide(given.x, policy, chunk_size)  # type: ignore[arg-type]  # there is one
            parts.append(self._grain(given, gate, routing, softmax, linear, weight))
            routings.append(routing)
            softmax = linear = zero
        return torch.stack(parts).sum(0), routings

    def _grain(
        self, given: Projected, gate: Tensor, routing: Routing, softmax: Tensor, linear: Tensor, hybrid: Tensor
    ) -> Tensor:
        """Softmax, linear and one router's option, each times its weight (numbers)."""
        to_softmax, to_linear = routing.weights.unbind(-1)
        to_softmax, to_linear = _mean_route(softmax, hybrid, to_softmax), _mean_route(linear, hybrid, to_linear)
        o_softmax, o_linear = self._both(given, to_softmax, to_linear, routing.chunk_size)
        shares = self.branch_score(given.q).unflatten(-1, (-1, 2)).softmax(-1)  # [B, T, softmax heads, 2]
        by_softmax, by_linear = (hybrid * shares).repeat_interleave(o_softmax.shape[-1], dim=-2).unbind(-1)
        merged_softmax, merged_linear = self._merge_softmax(o_softmax, gate), self._merge_linear(o_linear, gate)
        return (softmax + by_softmax) * merged_softmax + (linear + by_linear) * merged_linear

    def _decide(self, x: Tensor, policy: Policy, chunk_size: int) -> Routing:
        logits = self.router(x, chunk_size)
        return Routing(logits, policy(self.index, logits), chunk_size)

    def _softmax(self, given: Projected, chunk_size: int) -> Tensor:
        """The softmax branch without a route: [B, T, softmax heads, V of a head]."""
        return chunk_softmax_attention(*self.softmax_heads(given), chunk_size=chunk_size)

    def _linear(self, given: Projected, chunk_size: int) -> Tensor:
        """The linear branch without a route: [B, T, linear heads, V of a head]."""
        return gated_delta_rule(*self.linear_heads(given), chunk_size=chunk_size)

    def _both(self, given: Projected, to_softmax: Tensor, to_linear: Tensor, chunk_size: int) -> tuple[Tensor, Tensor]:
        """Both branches, side by side where the machine can."""
        softmax, linear = self.all_heads(given)
        o = hybrid_attention(
            softmax.q, softmax.k, linear.q, linear.k, given.v, linear.g, linear.beta, to_softmax, to_linear,
            chunk_size=chunk_size, route_grad=self.route_grad,
        )  # fmt: skip
        return o.softmax, o.linear

    def softmax_heads(self, given: Projected, start: int = 0) -> SoftmaxHeads:
        """What the softmax branch works on, where the first token is at position ``start``."""
        heads = self.architecture.softmax_heads
        (_, q), (_, k) = (
            head_norms(z, weight, softmax_heads=heads, eps=NORM_EPS)
            for z, weight in ((given.q, self.q_norm.weight), (given.k, self.k_norm.weight))
        )
        return self._softmax_heads(given, q, k, start)

    def linear_heads(self, given: Projected) -> LinearHeads:
        """What the linear branch works on."""
        (q, _), (k, _) = (head_norms(z, linear_heads=self.architecture.linear_heads) for z in (given.q, given.k))
        return self._linear_heads(given, q, k)

    def all_heads(self, given: Projected, start: int = 0) -> tuple[SoftmaxHeads, LinearHeads]:
        """What both branches work on, where the first token is at position ``start``."""
        a = self.architecture
        (q_l2, q_rms), (k_l2, k_rms) = (
            head_norms(z, weight, linear_heads=a.linear_heads, softmax_heads=a.softmax_heads, eps=NORM_EPS)
            for z, weight in ((given.q, self.q_norm.weight), (given.k, self.k_norm.weight))
        )
        return self._softmax_heads(given, q_rms, k_rms, start), self._linear_heads(given, q_l2, k_l2)

    def _softmax_heads(self, given: Projected, q: Tensor, k: Tensor, start: int) -> SoftmaxHeads:
        if self.architecture.rope_base is not None:
            q, k = rotate(q, k, self.architecture.rope_base, start)
        return SoftmaxHeads(q, k, given.v.unflatten(-1, (q.shape[2], -1)))

    def _linear_heads(self, given: Projected, q: Tensor, k: Tensor) -> LinearHeads:
        return LinearHeads(q, k, given.v.unflatten(-1, (q.shape[2], -1)), *self._gates(given.x))

    def merge(self, given: Projected, softmax: Tensor | None = None, linear: Tensor | None = None) -> Tensor:
        """What the output projection gets, [B, T, channels of v], of one branch alone or of both."""
        gate = self.gate(given.x)
        if softmax is None:
            assert linear is not None
            return self._merge_linear(linear, gate)
        if linear is None:
            return self._merge_softmax(softmax, gate)
        weights = self.softmax_norm.weight, self.linear_norm.weight
        return branch_merge(softmax, linear, *weights, self.branch_score(given.q), gate, eps=NORM_EPS)

    def _merge_softmax(self, o: Tensor, gate: Tensor) -> Tensor:
        return branch_merge(o, None, self.softmax_norm.weight, None, None, gate, eps=NORM_EPS)

    def _merge_linear(self, o: Tensor, gate: Tensor) -> Tensor:
        return branch_merge(None, o, None, self.linear_norm.weight, None, gate, eps=NORM_EPS)

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-decay and write strength of the linear branch, both [B, T, linear heads]."""
        g = -self.log_decay_rate.exp() * F.softplus(self.decay(x) + self.decay_bias)
        beta = self.write(x).sigmoid()
        return g, 2 * beta if self.architecture.negative_eigenvalues else beta


def _mean_route(plain: Tensor, hybrid: Tensor, route: Tensor) -> Tensor:
    """What a branch sees of earlier chunks: ``plain`` of its weight sees all of them, ``hybrid`` the ``route``."""
    total = plain + hybrid
    return torch.where(total > 0, (plain + hybrid * route) / total.clamp(min=torch.finfo(total.dtype).tiny), 1.0)


def softmax_weight(routing: Routing) -> Tensor:
    """[B, N, R]: how much of each chunk the softmax branch keeps."""
    return routing.weights[..., OPERATIONS.index("softmax")]


def leads(routing: Routing) -> Tensor:
    """[B, N, R]: by how much the logit of softmax is over that of linear attention; from 0 on softmax is chosen."""
    logits = precise(routing.logits)
    softmax, linear = (logits[..., OPERATIONS.index(operation)] for operation in ("softmax", "linear"))
    return softmax - linear
