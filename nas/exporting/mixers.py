"""The mixers of an exported model: projections, one operation or two with a router, and their decoding states."""

import functools
from importlib import import_module
from types import ModuleType
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.exporting.states import Inputs, Keys, LayerState, LinearHeads, LinearState, SoftmaxHeads
from nas.kernels.arguments import bounded_chunk_size, compute_dtype
from nas.kernels.branch_merge.reference import branch_merge, mix
from nas.kernels.chunk_softmax_attention.reference import chunk_softmax_attention, window_attention
from nas.kernels.delta_gates.reference import delta_gates
from nas.kernels.gated_delta_rule.reference import gated_delta_rule
from nas.kernels.head_norms.reference import head_norms
from nas.kernels.short_convolution.reference import short_convolution
from nas.models.layers import NORM_EPS
from nas.models.log_temperature import scale_by_log_n
from nas.models.rotary import frequencies_of, rotate, rotate_by
from nas.models.router import Router
from nas.relaxations import argmax_ste
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.backbone import FULL, SLIDING


@functools.cache
def toolkit() -> ModuleType | None:
    """Return the kernels of the toolkit; None where it is not installed."""
    try:
        return import_module("nas.kernels")
    except ImportError:
        return None


class Convolution(nn.Module):
    """Causal depthwise convolution over time, then SiLU."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, size, groups=channels, bias=False)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve x [B, T, D] after the inputs ``before`` [B, size - 1, D]; also return the last inputs."""
        x = torch.cat([before, x], dim=1)
        reach = before.shape[1]
        y = short_convolution(x, self.convolution.weight.squeeze(1))
        return y[:, reach:], x[:, x.shape[1] - reach :]


class Mixer(nn.Module):
    """Mixes the tokens of a layer: [B, T, width] to [B, T, width]."""

    def __init__(self, a: Architecture, layer: Layer) -> None:
        super().__init__()
        self.a, self.layer, self.routed = a, layer, layer.routed
        self.chunk_size = layer.chunk_size
        self.window = a.window if layer.mixer == SLIDING else None
        self.softmax = any(operation in (FULL, SLIDING) for operation in layer.operations)
        self.linear = any(operation not in (FULL, SLIDING) for operation in layer.operations)
        self.add_projections(a)
        if self.linear:
            self.decay = nn.Linear(a.width, a.linear_heads, bias=False)
            self.write = nn.Linear(a.width, a.linear_heads)
            self.log_decay_rate = nn.Parameter(torch.zeros(a.linear_heads))
            self.decay_bias = nn.Parameter(torch.zeros(a.linear_heads))
            self.linear_norm = nn.RMSNorm(a.linear_heads * a.value_dim // a.softmax_heads, eps=NORM_EPS)
        if self.routed:
            self.router = Router(a.width, a.routing_heads, a.router_reads)

    def add_projections(self, a: Architecture) -> None:
        """Add the projections, their convolutions, and the parameters of softmax attention."""
        keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
        for name, channels in (("q", keys), ("k", keys), ("v", values)):
            setattr(self, name, nn.Linear(a.width, channels, bias=False))
            setattr(self, f"{name}_convolution", Convolution(channels, a.conv_size))
        self.gate = nn.Linear(a.width, values, bias=False)
        self.out = nn.Linear(values, a.width, bias=False)
        if self.softmax:
            self.q_norm = nn.RMSNorm(keys // a.softmax_heads, eps=NORM_EPS)
            self.k_norm = nn.RMSNorm(keys // a.softmax_heads, eps=NORM_EPS)
            self.softmax_norm = nn.RMSNorm(values // a.softmax_heads, eps=NORM_EPS)
            if a.log_n:
                self.log_scale = nn.Parameter(torch.zeros(a.softmax_heads))
        if self.routed:
            self.branch_score = nn.Linear(keys, 2 * a.softmax_heads, bias=False)

    def forward(self, x: Tensor, state: LayerState | None, start: Tensor) -> Tensor:
        """Mix tokens.

        Args:
            x: [B, T, width], whole sequences; with a filled state the next token, T = 1.
            state: decoding state, which is updated; None for none.
            start: [B, 1], position of the first token.
        """
        given = self.project(x, state)
        softmax, linear = self.heads(given, start)
        if state is not None and state.filled:
            softmax_o = None if softmax is None else state.keys.step(softmax, start)
            linear_o = None if linear is None else state.linear.step(linear)
            y = self.merge(given, softmax_o, linear_o)
            self.close_chunks(x, state, start + 1)
            return y
        routes = self.routes(x)
        softmax_o = None if softmax is None else self.attend(softmax, routes[0])
        linear_o = None
        if linear is not None:
            linear_o, linear_state = self.recur(linear, routes[1], state is not None)
        if state is not None:
            state.filled = True
            if softmax is not None:
                state.keys = Keys.of(softmax, routes[0], self.chunk_size, self.window)
            if linear is not None:
                state.linear = linear_state
            if self.routed:
                state.begin_chunk(x, self.chunk_size, self.router.features)
        return self.merge(given, softmax_o, linear_o)

    def project(self, x: Tensor, state: LayerState | None) -> Inputs:
        """Return the convolved projections; a state keeps the last inputs of the convolutions."""
        made = []
        for name in ("q", "k", "v"):
            projected = getattr(self, name)(x)
            zeros = projected.new_zeros(x.shape[0], self.a.conv_size - 1, projected.shape[2])
            before = zeros if state is None else state.past.get(name, zeros)
            y, last = getattr(self, f"{name}_convolution")(projected, before)
            if state is not None:
                state.past[name] = last
            made.append(y)
        return Inputs(x, *made)

    def heads(self, given: Inputs, start: Tensor) -> tuple[SoftmaxHeads | None, LinearHeads | None]:
        """Return the inputs of both branches by head; None for a branch that the layer does not have."""
        a, softmax, linear = self.a, None, None
        if self.softmax:
            heads = a.softmax_heads
            q = cast("Tensor", head_norms(given.q, self.q_norm.weight, None, heads, NORM_EPS)[1])
            k = cast("Tensor", head_norms(given.k, self.k_norm.weight, None, heads, NORM_EPS)[1])
            if a.rope_base is not None:
                q, k = rotate(q, k, a.rope_base, start)
            if a.log_n:
                q = scale_by_log_n(q, self.log_scale, start, self.window or float("inf"))
            softmax = SoftmaxHeads(q, k, given.v.unflatten(-1, (heads, -1)))
        if self.linear:
            q, k = (cast("Tensor", head_norms(x, None, a.linear_heads, None, NORM_EPS)[0]) for x in given[1:3])
            linear = LinearHeads(q, k, given.v.unflatten(-1, (a.linear_heads, -1)), *self.gates(given))
        return softmax, linear

    def gates(self, given: Inputs) -> tuple[Tensor, Tensor]:
        """Return the log-decay and the write strength of linear attention, [B, T, H]."""
        strongest = 2.0 if self.a.negative_eigenvalues else 1.0
        decay, write = self.decay(given.x), self.write(given.x)
        return delta_gates(decay, write, self.log_decay_rate, self.decay_bias, None, strongest)

    def routes(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the route [B, N, R] of each branch; None without a router."""
        if not self.routed:
            return None, None
        kept, dropped = argmax_ste(self.router(x, self.chunk_size), 1.0).unbind(-1)
        return kept, dropped

    def attend(self, heads: SoftmaxHeads, route: Tensor | None) -> Tensor:
        """Compute softmax attention over whole sequences."""
        if (kernels := toolkit()) is not None:
            made: Tensor = kernels.chunk_softmax_attention(
                *heads, route, chunk_size=self.chunk_size, window=self.window, route_grad="full"
            )
            return made
        scale = heads.q.shape[-1] ** -0.5
        if self.window is not None:
            return window_attention(*heads, self.window, scale)
        return chunk_softmax_attention(*heads, route, self.chunk_size, scale, True)

    def recur(self, heads: LinearHeads, route: Tensor | None, decoding: bool) -> tuple[Tensor, LinearState]:
        """Compute linear attention over whole sequences; for decoding, also the states of an open chunk."""
        q, length, dtype = heads.q, heads.q.shape[1], compute_dtype(heads.q.dtype)
        closed = length - length % self.chunk_size if decoding and route is not None else length
        outputs, state = [], q.new_zeros(q.shape[0], *heads.v.shape[2:3], q.shape[3], heads.v.shape[3], dtype=dtype)
        if closed:
            own = None if route is None else route[:, : -(-closed // self.chunk_size)]
            o, state = self.delta_rule(LinearHeads(*(x[:, :closed] for x in heads)), own, state)
            outputs.append(o)
        begun, log_decay = state, heads.g[:, closed:].to(dtype).sum(1)
        if closed < length:
            o, state = self.delta_rule(LinearHeads(*(x[:, closed:] for x in heads)), None, state)
            outputs.append(o)
        return torch.cat(outputs, dim=1), LinearState(state, begun, log_decay)

    def delta_rule(self, heads: LinearHeads, route: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of the gated delta rule from a state, and the state after the last token."""
        if (kernels := toolkit()) is not None:
            made: tuple[Tensor, Tensor] = kernels.gated_delta_rule(
                *heads, route, chunk_size=self.chunk_size, initial_state=state, return_final_state=True,
                route_grad="full",
            )  # fmt: skip
            return made
        size, scale = bounded_chunk_size(self.chunk_size, heads.q.shape[1]), heads.q.shape[-1] ** -0.5
        return gated_delta_rule(*heads, route, size, scale, state, True)

    def merge(self, given: Inputs, softmax_o: Tensor | None, linear_o: Tensor | None) -> Tensor:
        """Normalise the outputs of the branches, weigh them by their scores, gate and project them."""
        scores = self.branch_score(given.q) if self.routed else None
        first = self.softmax_norm.weight if softmax_o is not None else None
        second = self.linear_norm.weight if linear_o is not None else None
        y: Tensor = self.out(
            branch_merge(softmax_o, linear_o, first, second, scores, self.gate(given.x), None, NORM_EPS)
        )
        return y

    def close_chunks(self, x: Tensor, state: LayerState, length: Tensor) -> None:
        """End the chunk of the sequences for which x [B, 1, width] completes one; ``length`` is [B, 1]."""
        if not self.routed:
            return
        ends = state.add(x, length, self.chunk_size)
        if not ends.any():
            return
        logits = self.router.logits(state.pooled(self.chunk_size, x.dtype))
        kept, dropped = argmax_ste(logits, 1.0)[:, -1].unbind(-1)
        state.keys.close(kept, ends, length - self.chunk_size)
        state.linear.close(dropped, ends)
        state.clear(ends)


class PretrainedMixer(Mixer):
    """A mixer with the projections, norms and positions of a pretrained model; softmax is the original attention."""

    def __init__(self, a: Architecture, layer: Layer, index: int) -> None:
        super().__init__(a, layer)
        assert a.backbone is not None
        self.rope = a.backbone.ropes[index]

    def add_projections(self, a: Architecture) -> None:
        b = a.backbone
        assert b is not None
        queries, keys = a.softmax_heads * a.key_dim, b.key_value_heads * a.key_dim
        self.q = nn.Linear(a.width, queries, bias=b.qkv_bias)
        self.k = nn.Linear(a.width, keys, bias=b.qkv_bias)
        self.v = nn.Linear(a.width, keys, bias=b.qkv_bias)
        if b.qk_norm is not None:
            sizes = (queries, keys) if b.qk_norm == "layer" else (a.key_dim, a.key_dim)
            self.q_norm, self.k_norm = (nn.RMSNorm(size, eps=b.norm_eps) for size in sizes)
        self.out = nn.Linear(queries, a.width, bias=b.out_bias)
        if self.routed:
            self.branch_score = nn.Linear(queries, 2 * a.softmax_heads)

    def project(self, x: Tensor, state: LayerState | None) -> Inputs:
        return Inputs(x, self.q(x), self.k(x), self.v(x))

    def heads(self, given: Inputs, start: Tensor) -> tuple[SoftmaxHeads | None, LinearHeads | None]:
        b, q, k = self.a.backbone, given.q, given.k
        assert b is not None
        if b.qk_norm == "layer":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (x.unflatten(-1, (-1, self.a.key_dim)) for x in (q, k, given.v))
        if b.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        frequencies = frequencies_of(self.rope, self.a.key_dim, q.device)
        q, k = rotate_by(q, k, frequencies, start, self.rope.attention_factor)
        softmax = linear = None
        if self.softmax:
            scale = 1.0 if b.score_scale is None else b.score_scale * q.shape[-1] ** 0.5
            softmax = SoftmaxHeads(q * scale, k, v)
        if self.linear:
            times = q.shape[2] // k.shape[2]
            q, k, v = F.normalize(q, dim=-1), k.repeat_interleave(times, dim=2), v.repeat_interleave(times, dim=2)
            linear = LinearHeads(q, F.normalize(k, dim=-1), v, *self.gates(given))
        return softmax, linear

    def merge(self, given: Inputs, softmax_o: Tensor | None, linear_o: Tensor | None) -> Tensor:
        branches = [] if softmax_o is None else [softmax_o.flatten(-2)]
        if linear_o is not None:
            branches.append(self.linear_norm(linear_o).flatten(-2))
        if self.routed:
            none = given.q.new_zeros(())
            branches = [mix(branches, self.branch_score(given.q), self.a.value_dim, (none, none, none + 1))]
        y: Tensor = self.out(branches[0])
        return y
