"""Linear attention: Gated DeltaNet, which compresses the past into a state of fixed size (Yang et al. 2025)."""

import math
from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from nas.distributed.context.group import Context
from nas.distributed.context.state import pass_state
from nas.kernels import gated_delta_rule
from nas.kernels.arguments import RouteGrad
from nas.kernels.branch_merge import branch_merge
from nas.kernels.delta_gates import delta_gates
from nas.kernels.gated_delta_rule import decode
from nas.kernels.gated_delta_rule.decode import LinearState
from nas.models.layers import NORM_EPS, rms_norm
from nas.models.operations.operation import STATE_BYTES, Branch, CostLine, Ends, Heads, Look, Memory, Projected
from nas.search_spaces.architecture import Architecture

INITIAL_DECAY_RATES = (0.02, 0.3)
"""Smallest and largest initial decay rate of a linear head, drawn log-uniformly. Published rates are 1 to 16."""
INITIAL_WRITE = -4.0
"""Initial logit of the write strength. Published strengths are 0.5, a logit of 0.

With the published values a small model forgets or overwrites most of its state within tens of tokens. No gradient
increases retention, and linear layers stay on the plateau before recall. With these values they leave it as softmax
layers do.
"""
INITIAL_WIDE_WRITE = 0.0
"""Initial logit of the write strength if strengths lie in (0, 2). It gives a strength of 1.

From small strengths, eigenvalues of -1 are too far away to be learnt.
"""


class LinearWeights(Protocol):
    """Parameters of Gated DeltaNet in a mixer: decay and write strength of the heads, and the output norm."""

    architecture: Architecture
    decay: nn.Linear
    write: nn.Linear
    log_decay_rate: nn.Parameter
    decay_bias: nn.Parameter
    linear_norm: nn.RMSNorm


class Linear(Branch):
    """Gated DeltaNet with l2-normalised q and k. ``negative_eigenvalues`` doubles the write strengths."""

    name = "linear"
    look = Look("linear", "#0072B2", "l")
    reads_l2 = True
    packs = True
    across = True

    def add_parameters(self, mixer: nn.Module, a: Architecture) -> None:
        mixer.decay = nn.Linear(a.width, a.linear_heads, bias=False)
        write = mixer.write = nn.Linear(a.width, a.linear_heads)
        nn.init.constant_(write.bias, INITIAL_WIDE_WRITE if a.negative_eigenvalues else INITIAL_WRITE)
        slowest, fastest = map(math.log, INITIAL_DECAY_RATES)
        mixer.log_decay_rate = nn.Parameter(torch.empty(a.linear_heads).uniform_(slowest, fastest))
        step = torch.empty(a.linear_heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        mixer.decay_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(decay_bias) == step
        mixer.linear_norm = rms_norm(a.linear_heads * a.value_dim // a.softmax_heads)

    def heads(self, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> Heads:
        """Return q, k [B, T, H, K], v [B, T, H, V], log-decay and write strength [B, T, H]."""
        heads = cast("LinearWeights", mixer).architecture.linear_heads
        q, k = (cast("Tensor", l2) for l2, _ in given.norms(linear_heads=heads))
        return self.heads_of(mixer, given, q, k)

    def heads_of(self, mixer: nn.Module, given: Projected, q: Tensor, k: Tensor) -> Heads:
        """Return the same as `heads` for q and k that are already normalised."""
        own = cast("LinearWeights", mixer)
        v = given.v.unflatten(-1, (q.shape[2], -1))
        strongest = 2.0 if own.architecture.negative_eigenvalues else 1.0
        decay, (write, write_bias) = given.linear(own.decay), given.linear_and_bias(own.write)
        g, beta = delta_gates(decay, write, own.log_decay_rate, own.decay_bias, write_bias, strongest=strongest)
        return q, k, v, g, beta

    def attend(
        self,
        mixer: nn.Module,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
        cu_seqlens: Tensor | None = None,
    ) -> Tensor:
        q, k, v, g, beta = heads
        return gated_delta_rule(
            q, k, v, g, beta, route, chunk_size=chunk_size, cu_seqlens=cu_seqlens, route_grad=route_grad
        )

    def attend_across(
        self,
        mixer: nn.Module,
        context: Context,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
    ) -> Tensor:
        """Compute the stretch from a state of zeros, and add what the state at its start contributes.

        All outputs are linear in that state S. A second call, with values of zero and the identity as state, therefore
        returns matrices P_t with outputs P_t S, and the transition of the whole stretch.
        """
        q, k, v, g, beta = heads
        options = {"chunk_size": chunk_size, "route_grad": route_grad}
        o, end = gated_delta_rule(q, k, v, g, beta, route, return_final_state=True, **options)  # type: ignore[call-overload]
        batch, _, value_heads, _ = v.shape
        size = q.shape[-1]
        identity = torch.eye(size, dtype=end.dtype, device=end.device).expand(batch, value_heads, size, size)
        none = v.new_zeros(*v.shape[:3], size)
        by_state, transition = gated_delta_rule(  # type: ignore[call-overload]
            q, k, none, g, beta, route, initial_state=identity, return_final_state=True, **options
        )
        start = pass_state(context, transition, end)
        return o + torch.einsum("bthk,bhkv->bthv", by_state, start.to(by_state.dtype)).to(o.dtype)

    def merge(self, mixer: nn.Module, o: Tensor, gate: Tensor) -> Tensor:
        weight = cast("LinearWeights", mixer).linear_norm.weight
        return branch_merge(None, o, None, weight, None, gate, eps=NORM_EPS)

    def projections(self, mixer: nn.Module) -> list[nn.Linear]:
        own = cast("LinearWeights", mixer)
        return [own.decay, own.write]

    def memory(self, mixer: nn.Module, chunk_size: int) -> Memory:
        return LinearMemory(chunk_size)

    def weights(self, a: Architecture) -> int:
        return a.linear_heads * (2 * a.width + 3) + a.linear_heads * a.value_dim // a.softmax_heads

    def kv_bytes(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        """Count the running state, the state at the start of the current chunk, and the decay since then."""
        return CostLine(STATE_BYTES * (2 * _state(a) + a.linear_heads))

    def flops(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        """Count 6 K V for each head: the state is read for the correction and for the output, and written once."""
        return CostLine(6 * _state(a))


def _state(a: Architecture) -> int:
    """Return the number of elements of the state of a layer."""
    return a.linear_heads * a.key_dim * a.value_dim


class LinearMemory:
    """The decoding state of Gated DeltaNet. Without a router, chunk ends have no effect on it."""

    def __init__(self, chunk_size: int) -> None:
        self._chunk_size = chunk_size
        self._state: LinearState

    def prefill(self, heads: Heads, route: Tensor | None) -> Tensor:
        q, k, v, g, beta = heads
        o, self._state = decode.gated_delta_rule_prefill(q, k, v, g, beta, route, chunk_size=self._chunk_size)
        return o

    def step(self, heads: Heads) -> Tensor:
        q, k, v, g, beta = (x.squeeze(1) for x in heads)
        o, self._state = decode.gated_delta_rule_step(q, k, v, g, beta, self._state)
        return o.unsqueeze(1)

    def join(self, others: Sequence["LinearMemory"]) -> None:
        states = [self._state, *(other._state for other in others)]
        self._state = LinearState(*(torch.cat(buffers) for buffers in zip(*states, strict=True)))

    def close(self, route: Tensor | None, ends: Ends | None = None) -> None:
        if route is not None:
            self._state = decode.close_chunk(self._state, route, where=None if ends is None else ends.where)

    @property
    def bytes_in_use(self) -> int:
        return sum(buffer.numel() * buffer.element_size() for buffer in self._state)

    @property
    def buffers(self) -> list[Tensor]:
        """The tensors that steps update in place; see `nas.models.operations.operation.Memory`."""
        return [x for x in self._state if isinstance(x, Tensor)]
