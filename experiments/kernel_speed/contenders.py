"""The compared operations, each with its inputs: ours, and the peers on the same tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.kernel_speed import peers
from experiments.kernel_speed.inputs import Inputs, hard_routes, inputs
from experiments.kernel_speed.rows import Bench
from experiments.kernel_speed.timing import Call
from nas.kernels import chunk_softmax_attention, gated_delta_rule, hybrid_attention
from nas.kernels.arguments import RouteGrad

SETS = 2
"""Input sets; the rounds alternate between them."""

FLA = "fla"
CUDNN = ("SDPA cuDNN", "SDPA cuDNN, contiguous")
"""cuDNN on views of [B, T, H, D], the layout of a model, and on contiguous [B, H, T, D]; the faster one counts."""


@dataclass(frozen=True)
class Contender:
    """An operation of leaf tensors.

    Attributes:
        operation: function of one set's leaves that returns one tensor or several.
        leaves: tensors with gradients, by set.
        grads: gradients of the outputs, by set.
    """

    operation: Callable[..., Tensor | tuple[Tensor, ...]]
    leaves: Sequence[tuple[Tensor, ...]]
    grads: Sequence[tuple[Tensor, ...]]

    def forward(self, number: int) -> object:
        """Run the forward pass of evaluation: nothing is kept for a backward pass."""
        with torch.no_grad():
            return self.keep(number)

    def keep(self, number: int) -> object:
        """Run the forward pass of training."""
        return self.operation(*self.leaves[number % len(self.leaves)])

    def train(self, number: int) -> object:
        """Run forward and backward pass; returns the gradients of all leaves."""
        one = number % len(self.leaves)
        outputs = self.operation(*self.leaves[one])
        return torch.autograd.grad(outputs, self.leaves[one], self.grads[one], allow_unused=True)


def calls(contenders: dict[str, Contender], how: str) -> dict[str, Call]:
    """Return the method ``how`` of each contender."""
    return {name: getattr(contender, how) for name, contender in contenders.items()}


def input_sets(bench: Bench, length: int) -> list[Inputs]:
    """Return inputs of both branches with B * T = tokens."""
    shapes = bench.shapes
    return [inputs(shapes, shapes.batch(length), length, bench.clock.device, seed) for seed in range(SETS)]


def route_sets(bench: Bench, length: int, share: float) -> list[tuple[Tensor, Tensor]]:
    """Return hard routes (to softmax, to linear) for the sets of `input_sets`."""
    shapes = bench.shapes
    batch = shapes.batch(length)
    return [hard_routes(shapes, batch, length, share, bench.clock.device, seed) for seed in range(SETS)]


def ours_linear(bench: Bench, sets: list[Inputs], routes: list[tuple[Tensor, Tensor]] | None = None) -> Contender:
    """Return our gated delta rule, plain or routed."""
    chunk_size = bench.shapes.architecture.chunk_size

    def operation(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, route: Tensor | None = None) -> Tensor:
        return gated_delta_rule(q, k, v, g, beta, route, chunk_size=chunk_size, impl=bench.impl)

    extra = [()] * len(sets) if routes is None else [(to_linear,) for _, to_linear in routes]
    leaves = [(*one.linear, *more) for one, more in zip(sets, extra, strict=True)]
    return Contender(operation, leaves, [(one.do_linear,) for one in sets])


def ours_softmax(
    bench: Bench,
    sets: list[Inputs],
    routes: list[tuple[Tensor, Tensor]] | None = None,
    window: int | None = None,
) -> Contender:
    """Return our softmax attention, plain, routed or with a window."""
    chunk_size = bench.shapes.architecture.chunk_size

    def operation(q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None) -> Tensor:
        return chunk_softmax_attention(q, k, v, route, chunk_size=chunk_size, window=window, impl=bench.impl)

    extra = [()] * len(sets) if routes is None else [(to_softmax,) for to_softmax, _ in routes]
    leaves = [(*one.softmax, *more) for one, more in zip(sets, extra, strict=True)]
    return Contender(operation, leaves, [(one.do_softmax,) for one in sets])


def ours_both(
    bench: Bench, sets: list[Inputs], routes: list[tuple[Tensor, Tensor]], route_grad: RouteGrad = "selected"
) -> Contender:
    """Return both branches in one call, on the same values; the last two leaves are the routes; two outputs."""
    chunk_size = bench.shapes.architecture.chunk_size

    def operation(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v, g, beta, softmax_q, softmax_k, to_softmax, to_linear = leaves
        o = hybrid_attention(
            softmax_q, softmax_k, q, k, v.flatten(2), g, beta, to_softmax, to_linear,
            chunk_size=chunk_size, route_grad=route_grad, impl=bench.impl,
        )  # fmt: skip
        return o.linear, o.softmax

    leaves = [(*one.linear, *one.softmax[:2], *route) for one, route in zip(sets, routes, strict=True)]
    return Contender(operation, leaves, [(one.do_linear, one.do_softmax) for one in sets])


def fla(sets: list[Inputs]) -> Contender:
    """Return flash-linear-attention's gated delta rule."""
    return Contender(peers.fla_gated_delta_rule, [one.linear for one in sets], [(one.do_linear,) for one in sets])


def cudnn(bench: Bench, sets: list[Inputs]) -> dict[str, Contender]:
    """Return cuDNN's attention through SDPA, in both layouts."""
    backend = bench.backend("cudnn")
    views, contiguous = CUDNN
    return {views: _sdpa_views(sets, backend), contiguous: _sdpa_contiguous(sets, backend)}


def other_sdpa(bench: Bench, sets: list[Inputs]) -> dict[str, Contender]:
    """Return SDPA's other backends; flash supports one head size only, so its q and k are padded with zeros."""
    missing = sets[0].softmax[2].shape[-1] - sets[0].softmax[0].shape[-1]
    scale = sets[0].softmax[0].shape[-1] ** -0.5
    flash = _sdpa_contiguous(sets, bench.backend("flash"), max(missing, 0), scale)
    return {"SDPA flash, padded": flash, "SDPA efficient": _sdpa_views(sets, bench.backend("efficient"))}


def _sdpa_views(sets: list[Inputs], backend: str) -> Contender:
    def operation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        o = peers.sdpa(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), backend)
        return o.transpose(1, 2)

    return Contender(operation, [one.softmax for one in sets], [(one.do_softmax,) for one in sets])


def _sdpa_contiguous(sets: list[Inputs], backend: str, missing: int = 0, scale: float | None = None) -> Contender:
    def operation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return peers.sdpa(q, k, v, backend, scale)

    leaves, grads = [], []
    for one in sets:
        q, k, v = (x.detach().transpose(1, 2).contiguous() for x in one.softmax)
        q, k = F.pad(q, (0, missing)), F.pad(k, (0, missing))
        leaves.append(tuple(x.requires_grad_() for x in (q, k, v)))
        grads.append((one.do_softmax.transpose(1, 2).contiguous(),))
    return Contender(operation, leaves, grads)


def flex(bench: Bench, sets: list[Inputs], routes: list[tuple[Tensor, Tensor]], block_size: int) -> Contender:
    """Return FlexAttention with the first set's route as its block mask, made beforehand; the route has no gradient."""
    heads, length = sets[0].softmax[0].shape[2], sets[0].softmax[0].shape[1]
    chunk_size = bench.shapes.architecture.chunk_size
    mask = peers.flex_mask(routes[0][0], heads, length, chunk_size, block_size)

    def operation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return peers.flex_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask).transpose(1, 2)

    return Contender(operation, [sets[0].softmax], [(sets[0].do_softmax,)])
