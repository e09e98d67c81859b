"""The two branches of a routed layer: computed one after the other, or by kernels fused for the pair.

To add fused kernels for a pair, derive a class from `Pair` and add it to `FUSED`.
"""

from typing import cast

import torch
from torch import Tensor, nn

from nas.distributed.context.group import Context
from nas.kernels import hybrid_attention
from nas.kernels.arguments import RouteGrad
from nas.kernels.branch_merge import branch_merge
from nas.kernels.branch_merge.reference import mix
from nas.models.layers import NORM_EPS
from nas.models.operations.linear import Linear, LinearWeights
from nas.models.operations.operation import Branch, Heads, Packing, Projected
from nas.models.operations.softmax import Softmax, SoftmaxWeights


class Pair:
    """Two branches, computed one after the other and merged by a softmax over their scores.

    Args:
        branches: the branch that keeps chunks, and the branch that compresses them.
    """

    def __init__(self, branches: tuple[Branch, Branch]) -> None:
        self.branches = branches

    def heads(self, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> tuple[Heads, Heads]:
        """Return the inputs of each branch by head; the first token is at position ``start``."""
        first, second = self.branches
        return first.heads(mixer, given, start), second.heads(mixer, given, start)

    def attend(
        self,
        mixer: nn.Module,
        heads: tuple[Heads, Heads],
        values: Tensor,
        routes: tuple[Tensor, Tensor],
        chunk_size: int,
        route_grad: RouteGrad,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Mix tokens in each branch.

        Args:
            mixer: mixer with the parameters of both operations.
            heads: inputs of each branch by head, as `heads` returns them.
            values: [B, T, channels of v].
            routes: route [B, N, R] of each branch.
            chunk_size: tokens in a chunk.
            route_grad: chunks whose routes get a gradient, "full" or "selected".
            cu_seqlens: where packed documents begin and end; None without. Both branches then pack.

        Returns:
            Output [B, T, H, V] of each branch.
        """
        packing: Packing = {} if cu_seqlens is None else {"cu_seqlens": cu_seqlens}
        first, second = (
            branch.attend(mixer, own, chunk_size, route, route_grad, **packing)
            for branch, own, route in zip(self.branches, heads, routes, strict=True)
        )
        return first, second

    def attend_across(
        self,
        mixer: nn.Module,
        context: Context,
        heads: tuple[Heads, Heads],
        routes: tuple[Tensor, Tensor],
        chunk_size: int,
        route_grad: RouteGrad,
    ) -> tuple[Tensor, Tensor]:
        """Mix the tokens of one stretch in each branch; see `attend` and `Branch.attend_across` for the arguments."""
        first, second = (
            branch.attend_across(mixer, context, own, chunk_size, route, route_grad)
            for branch, own, route in zip(self.branches, heads, routes, strict=True)
        )
        return first, second

    def merge(self, mixer: nn.Module, o: tuple[Tensor, Tensor], scores: Tensor, gate: Tensor) -> Tensor:
        """Normalise both outputs, weigh them by scores [B, T, 2 * softmax heads], and gate the sum."""
        ones = torch.ones_like(gate)
        first, second = (branch.merge(mixer, own, ones) for branch, own in zip(self.branches, o, strict=True))
        shares = scores.unflatten(-1, (-1, 2)).softmax(-1)
        by_first, by_second = shares.repeat_interleave(gate.shape[-1] // shares.shape[-2], dim=-2).unbind(-1)
        return (by_first * first + by_second * second) * nn.functional.silu(gate) / nn.functional.silu(ones)

    def mix(
        self, mixer: nn.Module, o: tuple[Tensor, Tensor], scores: Tensor, gate: Tensor, weights: tuple[Tensor, ...]
    ) -> Tensor:
        """Merge both outputs in a mixture.

        Args:
            mixer, o, scores, gate: as for `merge`.
            weights: weights of the first branch alone, of the second alone, and of both, each a scalar.
        """
        merged = [branch.merge(mixer, own, gate) for branch, own in zip(self.branches, o, strict=True)]
        return mix(merged, scores, o[0].shape[-1], weights)


class SoftmaxAndLinear(Pair):
    """Softmax attention and Gated DeltaNet (NAtS-L, Deng et al. 2026), with kernels that compute both at once."""

    def heads(self, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> tuple[Heads, Heads]:
        softmax, linear = cast("tuple[Softmax, Linear]", self.branches)
        own = cast("SoftmaxWeights", mixer)
        a = own.architecture
        heads = {"linear_heads": a.linear_heads, "softmax_heads": a.softmax_heads}
        norms = given.norms(own.q_norm.weight, own.k_norm.weight, **heads)
        (q_l2, q_rms), (k_l2, k_rms) = cast("tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]", norms)
        return softmax.heads_of(mixer, given, q_rms, k_rms, start), linear.heads_of(mixer, given, q_l2, k_l2)

    def attend(
        self,
        mixer: nn.Module,
        heads: tuple[Heads, Heads],
        values: Tensor,
        routes: tuple[Tensor, Tensor],
        chunk_size: int,
        route_grad: RouteGrad,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if cu_seqlens is not None:  # the fused kernels compute whole sequences
            return super().attend(mixer, heads, values, routes, chunk_size, route_grad, cu_seqlens)
        (softmax_q, softmax_k, _), (linear_q, linear_k, _, g, beta) = heads
        o = hybrid_attention(
            softmax_q, softmax_k, linear_q, linear_k, values, g, beta, *routes,
            chunk_size=chunk_size, route_grad=route_grad,
        )  # fmt: skip
        return o.softmax, o.linear

    def merge(self, mixer: nn.Module, o: tuple[Tensor, Tensor], scores: Tensor, gate: Tensor) -> Tensor:
        return self._merged(mixer, o, scores, gate, None)

    def mix(
        self, mixer: nn.Module, o: tuple[Tensor, Tensor], scores: Tensor, gate: Tensor, weights: tuple[Tensor, ...]
    ) -> Tensor:
        return self._merged(mixer, o, scores, gate, torch.stack(weights))

    def _merged(
        self, mixer: nn.Module, o: tuple[Tensor, Tensor], scores: Tensor, gate: Tensor, mixture: Tensor | None
    ) -> Tensor:
        norms = cast("SoftmaxWeights", mixer).softmax_norm.weight, cast("LinearWeights", mixer).linear_norm.weight
        return branch_merge(*o, *norms, scores, gate, mixture=mixture, eps=NORM_EPS)


FUSED: dict[tuple[str, str], type[Pair]] = {(Softmax.name, Linear.name): SoftmaxAndLinear}
"""Pairs of operations with fused kernels, by name."""


def pair_of(branches: tuple[Branch, Branch]) -> Pair:
    """Return the pair of two branches, with fused kernels if `FUSED` has them."""
    first, second = branches
    return FUSED.get((first.name, second.name), Pair)(branches)
