"""Kernels of the routes of a mixture: a program takes some chunks, in both branches.

The gradients of the three weights are sums over all chunks. Each program writes its part of them.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl


@triton.jit
def mean_route(plain, hybrid, route):
    """Return the mean route of a branch, and one over its total weight; 1 and 0 where it has no weight."""
    total = plain + hybrid
    inverse = tl.where(total > 0.0, 1.0 / tl.maximum(total, 1e-37), 0.0)
    return tl.where(total > 0.0, (plain + hybrid * route) * inverse, 1.0), inverse


@triton.jit(do_not_specialize=["N"])
def forward(weights, mixture, routes, N, BLOCK: tl.constexpr):
    """Compute routes [2, N] for weights [N, 2]."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    hybrid = tl.load(mixture + 2)
    for branch in tl.static_range(2):
        given = tl.load(weights + 2 * i + branch, mask=i < N, other=0.0).to(tl.float32)
        route, _ = mean_route(tl.load(mixture + branch), hybrid, given)
        tl.store(routes + branch * N + i, route.to(routes.dtype.element_ty), mask=i < N)


@triton.jit(do_not_specialize=["N"])
def backward(dfirst, dsecond, weights, mixture, dweights, partials, N, BLOCK: tl.constexpr):
    """Compute dweights [N, 2], and this program's row of the gradients of the mixture, partials [programs, 3]."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    hybrid, place = tl.load(mixture + 2), partials + 3 * tl.program_id(0)
    dhybrid = 0.0
    for branch in tl.static_range(2):
        if branch == 0:
            droute = tl.load(dfirst + i, mask=i < N, other=0.0).to(tl.float32)
        else:
            droute = tl.load(dsecond + i, mask=i < N, other=0.0).to(tl.float32)
        given = tl.load(weights + 2 * i + branch, mask=i < N, other=0.0).to(tl.float32)
        route, inverse = mean_route(tl.load(mixture + branch), hybrid, given)
        dmean = droute * inverse
        tl.store(dweights + 2 * i + branch, (hybrid * dmean).to(dweights.dtype.element_ty), mask=i < N)
        tl.store(place + branch, tl.sum(dmean * (1.0 - route)))
        dhybrid += tl.sum(dmean * (given - route))
    tl.store(place + 2, dhybrid)
