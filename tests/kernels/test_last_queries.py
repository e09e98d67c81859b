"""Attention of the last tokens of a sequence is that part of the attention of all tokens."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention
from nas.kernels.arguments import Impl
from nas.kernels.chunk_softmax_attention.last_queries import attention_of_last

TOKENS, CHUNK = 80, 16
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def inputs(tokens: int, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    sizes = ((1, tokens, 4, 16), (1, tokens, 2, 16), (1, tokens, 2, 16))
    return tuple(torch.randn(*size, dtype=dtype, device=device, requires_grad=True) for size in sizes)


def compare(options: dict[str, Any], last: int, dtype: torch.dtype, impl: Impl, within: float, device: str) -> None:
    """Compare outputs and gradients with those of all tokens, in float64 by the reference."""
    tokens = TOKENS if "route" not in options else CHUNK * options["route"].shape[1]
    given = inputs(tokens, dtype, device)
    exact = tuple(x.detach().double().requires_grad_() for x in given)
    route = options.pop("route", None)
    routes = [
        None if route is None else route.detach().to(device, x, copy=True).requires_grad_()
        for x in (dtype, torch.float64)
    ]
    q, k, v = given
    o = attention_of_last(q[:, -last:], k, v, routes[0], **options, impl=impl)
    whole = chunk_softmax_attention(*exact, routes[1], **options, impl="reference")[:, -last:]
    weights = torch.randn_like(whole)
    (o * weights).sum().backward()
    (whole * weights).sum().backward()
    assert torch.allclose(o.double(), whole, atol=within)
    for mine, other in zip((*given, routes[0]), (*exact, routes[1]), strict=True):
        if mine is not None:
            assert mine.grad is not None
            assert torch.allclose(mine.grad.double(), other.grad, atol=within)


def cases() -> list[Any]:
    route = torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0])[None, :, None]
    kinds = {
        "plain": {},
        "window": {"window": 37},
        "routed": {"route": route, "route_grad": "full"},
    }
    return [pytest.param(options | {"chunk_size": CHUNK}, id=name) for name, options in kinds.items()]


@pytest.mark.parametrize("last", [TOKENS, 48])
@pytest.mark.parametrize("options", cases())
def test_the_last_queries(options: dict[str, Any], last: int) -> None:
    compare(dict(options), last, torch.float64, "auto", 1e-12, "cpu")


@pytest.mark.parametrize(("route_grad", "dtype"), [("full", torch.float32), ("selected", torch.bfloat16)])
def test_triton_skips_blocks_of_earlier_queries(route_grad: str, dtype: torch.dtype) -> None:
    route = torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0, 0.0, 1.0, 1.0, 0.25, 1.0])[None, :, None]
    options = {"route": route, "route_grad": route_grad, "chunk_size": CHUNK}
    compare(options, 48, dtype, "triton", 1e-4 if dtype == torch.float32 else 0.1, DEVICE)


@torch.no_grad()
def test_whole_blocks_of_earlier_queries_are_not_computed() -> None:
    from nas.kernels.chunk_softmax_attention import triton_op

    q, k, v = (torch.randn(1, 80, 1, 16, device=DEVICE) for _ in range(3))
    route = torch.ones(1, 5, 1, device=DEVICE)
    o = triton_op.chunk_softmax_attention(q, k, v, route, CHUNK, 0.25, False, None, 72)
    assert not o[:, :64].any()
    assert torch.allclose(o[:, 64:], chunk_softmax_attention(q, k, v, impl="reference")[:, 64:], atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("options", cases())
def test_the_last_queries_on_a_gpu(options: dict[str, Any]) -> None:
    compare(dict(options), 48, torch.bfloat16, "auto", 0.1, "cuda")
