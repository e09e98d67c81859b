"""The mixer of a layer: shared projections, then softmax attention, Gated DeltaNet, or both by route."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import chunk_softmax_attention, gated_delta_rule, hybrid_attention
from kernels.arguments import RouteGrad
from kernels.branch_merge import branch_merge
from kernels.head_norms import head_norms
from kernels.triton_support import operand_dtype
from nas.architecture import Architecture
from nas.models.layers import NORM_EPS, ShortConvolution, rms_norm
from nas.models.router import Router

Policy = Callable[[int, Tensor], Tensor]
"""(layer index, router logits [B, N, R, 2]) to weights of that shape that sum to 1 over the last dimension."""


class Routing(NamedTuple):
    """What one layer's router decided: its logits and the weights made of them, both [B, N, R, 2]."""

    logits: Tensor
    weights: Tensor


class TokenMixer(nn.Module):
    """Mixes tokens in layer ``index``: [B, T, width] to [B, T, width], and the routing if it has a router.

    Both operations share the projections of q, k and v and their short convolutions. The linear branch
    l2-normalises q and k, the softmax branch RMS-normalises them per head; each output has its own RMSNorm.
    With both, a softmax over the branches, linear in the convolved q, weighs them per token and softmax head. A
    SiLU gate and the output projection follow. Source: NAtS-L (Deng et al. 2026); gates and their initial
    values as in Gated DeltaNet (Yang et al. 2025).

    Without a policy a layer that could do both is plain softmax attention.
    """

    def __init__(self, architecture: Architecture, index: int, route_grad: RouteGrad) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.route_grad = route_grad
        self.index = index
        self.has_softmax = architecture.mixers[index] != "linear"
        self.has_linear = architecture.mixers[index] != "softmax"
        keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
        self.q = nn.Linear(a.width, keys, bias=False)
        self.k = nn.Linear(a.width, keys, bias=False)
        self.v = nn.Linear(a.width, values, bias=False)
        self.q_convolution = ShortConvolution(keys, a.conv_size)
        self.k_convolution = ShortConvolution(keys, a.conv_size)
        self.v_convolution = ShortConvolution(values, a.conv_size)
        if self.has_softmax:
            self.q_norm = rms_norm(keys // a.softmax_heads)
            self.k_norm = rms_norm(keys // a.softmax_heads)
            self.softmax_norm = rms_norm(values // a.softmax_heads)
        if self.has_linear:
            self.decay = nn.Linear(a.width, a.linear_heads, bias=False)
            self.write = nn.Linear(a.width, a.linear_heads, bias=False)
            self.log_decay_rate = nn.Parameter(torch.empty(a.linear_heads).uniform_(1, 16).log())
            step = torch.empty(a.linear_heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            self.decay_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(decay_bias) == step
            self.linear_norm = rms_norm(values // a.softmax_heads)
        if self.has_softmax and self.has_linear:
            self.router = Router(a.width, a.routing_heads, a.chunk_size)
            self.branch_score = nn.Linear(keys, 2 * a.softmax_heads, bias=False)
        self.gate = nn.Linear(a.width, values, bias=False)
        self.out = nn.Linear(values, a.width, bias=False)

    def forward(self, x: Tensor, policy: Policy | None) -> tuple[Tensor, Routing | None]:
        if x.is_cuda:
            x = x.to(operand_dtype(x))  # under autocast once, and not in each projection
        q, k = self.q_convolution(self.q(x)), self.k_convolution(self.k(x))
        v = self.v_convolution(self.v(x))
        if self.has_softmax and self.has_linear and policy is not None:
            merged, routing = self._routed(x, q, k, v, policy)
            return self.out(merged), routing
        if self.has_softmax:
            (_, q), (_, k) = (
                head_norms(z, weight, softmax_heads=self.architecture.softmax_heads, eps=NORM_EPS)
                for z, weight in ((q, self.q_norm.weight), (k, self.k_norm.weight))
            )
            v = v.unflatten(-1, (self.architecture.softmax_heads, -1))
            o = chunk_softmax_attention(q, k, v, chunk_size=self.architecture.chunk_size)
            merged = branch_merge(o, None, self.softmax_norm.weight, None, None, self.gate(x), eps=NORM_EPS)
        else:
            (q, _), (k, _) = (head_norms(z, linear_heads=self.architecture.linear_heads) for z in (q, k))
            v = v.unflatten(-1, (self.architecture.linear_heads, -1))
            o = gated_delta_rule(q, k, v, *self._gates(x), chunk_size=self.architecture.chunk_size)
            merged = branch_merge(None, o, None, self.linear_norm.weight, None, self.gate(x), eps=NORM_EPS)
        return self.out(merged), None

    def _routed(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, policy: Policy) -> tuple[Tensor, Routing]:
        """What the output projection of both branches on one route gets, [B, T, channels of v], and the routing."""
        a = self.architecture
        logits = self.router(x)
        routing = Routing(logits, policy(self.index, logits))
        to_softmax, to_linear = routing.weights.unbind(-1)
        (q_l2, q_rms), (k_l2, k_rms) = (
            head_norms(z, weight, linear_heads=a.linear_heads, softmax_heads=a.softmax_heads, eps=NORM_EPS)
            for z, weight in ((q, self.q_norm.weight), (k, self.k_norm.weight))
        )
        o = hybrid_attention(
            q_rms, k_rms, q_l2, k_l2, v, *self._gates(x), to_softmax, to_linear,
            chunk_size=a.chunk_size, route_grad=self.route_grad,
        )  # fmt: skip
        weights = self.softmax_norm.weight, self.linear_norm.weight
        merged = branch_merge(o.softmax, o.linear, *weights, self.branch_score(q), self.gate(x), eps=NORM_EPS)
        return merged, routing

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-decay and write strength of the linear branch, both [B, T, linear heads]."""
        g = -self.log_decay_rate.exp() * F.softplus(self.decay(x) + self.decay_bias)
        return g, self.write(x).sigmoid()
