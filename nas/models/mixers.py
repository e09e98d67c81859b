"""The mixer of a layer: shared projections, then softmax attention, Gated DeltaNet, or both by route."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import chunk_softmax_attention, gated_delta_rule
from kernels.arguments import RouteGrad
from nas.architecture import Architecture
from nas.models.layers import ShortConvolution, rms_norm
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
        q, k = self.q_convolution(self.q(x)), self.k_convolution(self.k(x))
        v = self.v_convolution(self.v(x))
        routing = None
        if self.has_softmax and self.has_linear and policy is not None:
            logits = self.router(x)
            routing = Routing(logits, policy(self.index, logits))
            to_softmax, to_linear = routing.weights.unbind(-1)
            branches = torch.stack([self._softmax(q, k, v, to_softmax), self._linear(x, q, k, v, to_linear)], dim=-1)
            share = self.branch_score(q).unflatten(-1, (-1, 1, 2)).softmax(-1)  # [B, T, softmax heads, 1, 2]
            o = (branches * share).sum(-1)
        elif self.has_softmax:
            o = self._softmax(q, k, v, None)
        else:
            o = self._linear(x, q, k, v, None)
        return self.out(o.flatten(-2) * F.silu(self.gate(x))), routing

    def _softmax(self, q: Tensor, k: Tensor, v: Tensor, route: Tensor | None) -> Tensor:
        """Normalised output of the softmax branch, [B, T, softmax heads, channels]."""
        a = self.architecture
        q, k, v = (z.unflatten(-1, (a.softmax_heads, -1)) for z in (q, k, v))
        o = chunk_softmax_attention(
            self.q_norm(q), self.k_norm(k), v, route, chunk_size=a.chunk_size, route_grad=self.route_grad
        )
        return self.softmax_norm(o)

    def _linear(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, route: Tensor | None) -> Tensor:
        """Normalised output of the linear branch, in the softmax branch's split of the channels."""
        a = self.architecture
        q, k, v = (z.unflatten(-1, (a.linear_heads, -1)) for z in (q, k, v))
        g = -self.log_decay_rate.exp() * F.softplus(self.decay(x) + self.decay_bias)
        o = gated_delta_rule(
            F.normalize(q, dim=-1),
            F.normalize(k, dim=-1),
            v,
            g,
            self.write(x).sigmoid(),
            route,
            chunk_size=a.chunk_size,
            route_grad=self.route_grad,
        )
        return self.linear_norm(o.flatten(-2).unflatten(-1, (a.softmax_heads, -1)))
