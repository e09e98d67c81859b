"""Softmax attention with fewer heads of k and v than of q equals attention with repeated heads."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention
from nas.kernels.chunk_softmax_attention import decode
from nas.kernels.chunk_softmax_attention.window_decode import window_attention_step, window_cache_of_prefill
from tests.kernels.cases import Inputs, Shape, assert_all_close, results_and_gradients, softmax_inputs
from tests.kernels.decoding import decode_softmax
from tests.kernels.triton_cases import CUDA, assert_close, cast, on_cpu

pytest.importorskip("triton")
from nas.kernels.chunk_softmax_attention import (
    triton_backward,
    triton_forward,
    triton_op,
    triton_own_chunks,
    triton_skipped,
    triton_window,
)
from nas.kernels.chunk_softmax_attention.triton_tiles import Launch

pytestmark = pytest.mark.filterwarnings(
    "ignore:(divide by zero|invalid value|All-NaN slice) encountered:RuntimeWarning"
)
SHARE = 2
"""Heads of q that read one head of k and v."""


def grouped_inputs(shape: Shape, route: str, dtype: torch.dtype = torch.float64, share: int = SHARE) -> Inputs:
    """Return leaves with H heads of k, v and the route's routing heads, and ``share`` times as many heads of q."""
    inputs = softmax_inputs(shape, route, dtype)
    q = torch.randn(shape.B, shape.T, shape.H * share, shape.K, dtype=torch.float64)
    return inputs | {"q": q.to(dtype).requires_grad_()}


def repeated(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None, impl: Any = "reference", **options: Any
) -> Tensor:
    """Compute attention with each head of k and v repeated; autograd sums its gradients over the repetitions."""
    k, v = (x.repeat_interleave(q.shape[2] // k.shape[2], dim=2) for x in (k, v))
    return chunk_softmax_attention(q, k, v, route, **options, impl=impl)


def cotangents_for(inputs: Inputs) -> list[Tensor]:
    return [torch.randn(*inputs["q"].shape[:3], inputs["v"].shape[3], dtype=torch.float64)]


def set_tiles(monkeypatch: pytest.MonkeyPatch, queries: int, keys: int) -> None:
    """Use tiles smaller than the sequences in the interpreter."""
    forward, square, backward = ((queries, 16), (queries, queries), (16, keys))
    for module, name, sizes in (
        (triton_forward, "choose_launch", forward),
        (triton_own_chunks, "choose_launch", square),
        (triton_backward, "choose_launch", backward),
        (triton_skipped, "choose_launch", backward),
        (triton_window, "choose_forward_launch", forward),
        (triton_window, "choose_backward_launch", backward),
    ):
        monkeypatch.setattr(module, name, lambda *_, sizes=sizes: Launch(*sizes, warps=4, stages=2))


@pytest.mark.parametrize(
    ("options", "route"),
    [
        ({"chunk_size": 4}, "none"),
        ({"chunk_size": 4, "route_grad": "full"}, "mixed"),
        ({"chunk_size": 4, "route_grad": "selected"}, "hard"),
        ({"window": 5}, "none"),
    ],
    ids=str,
)
def test_reference_equals_repeated_heads(options: dict[str, Any], route: str) -> None:
    inputs = grouped_inputs(Shape(T=14, chunk_size=4, H=4, R=2), route)
    operation = functools.partial(chunk_softmax_attention, **options, impl="reference")
    cotangents = cotangents_for(inputs)
    runs = (results_and_gradients(x, inputs, cotangents) for x in (operation, functools.partial(repeated, **options)))
    for actual, expected in zip(*runs, strict=True):
        assert_all_close(actual, expected, atol=1e-12)


def test_reference_sums_the_gradients_of_a_group_in_float32() -> None:
    inputs = grouped_inputs(Shape(T=14, chunk_size=4, B=1, H=1), "none", torch.bfloat16, share=16)
    cotangents = cotangents_for(inputs)
    operation = functools.partial(chunk_softmax_attention, impl="reference")
    _, gradients = results_and_gradients(operation, inputs, cotangents)
    _, exact = results_and_gradients(repeated, cast(inputs, torch.float64), [x.bfloat16() for x in cotangents])
    for name in "kv":
        error = (gradients[name] - exact[name]).abs()
        assert (error <= torch.finfo(torch.bfloat16).eps * exact[name].abs() + 1e-5).all()


@on_cpu
@pytest.mark.parametrize(
    ("queries", "chunk_size", "route", "options"),
    [
        (32, 16, "mixed", {"route_grad": "full"}),  # a block of several chunks
        (16, 32, "hard", {"route_grad": "selected"}),  # a chunk of several blocks
        (32, 16, "none", {"window": 10}),
    ],
    ids=str,
)
def test_triton_equals_repeated_heads(
    queries: int, chunk_size: int, route: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tiles(monkeypatch, queries, 32)
    inputs = grouped_inputs(Shape(T=34, chunk_size=chunk_size, B=2, H=2, R=2, K=8, V=12), route, torch.float32)
    inputs = {name: _spread(x) for name, x in inputs.items()}
    options, cotangents = {"chunk_size": chunk_size} | options, cotangents_for(inputs)
    operation = functools.partial(chunk_softmax_attention, **options, impl="triton")
    runs = (
        results_and_gradients(operation, inputs, cotangents),
        results_and_gradients(functools.partial(repeated, **options), cast(inputs, torch.float64), cotangents),
    )
    for actual, expected in zip(*runs, strict=True):
        assert_close(actual, expected)


def _spread(x: Tensor) -> Tensor:
    """Return the same values in memory with another order of tokens and heads."""
    return x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()


def test_operators_state_the_shapes_of_their_results() -> None:
    """Compilers see the results of tensors without memory."""
    q, k, v = (torch.empty(2, 9, heads, dim, device="meta") for heads, dim in ((4, 3), (2, 3), (2, 5)))
    for o, lse in (
        triton_op._forward.registered(q, k, v, None, 16, 0.25, True, None),
        triton_op._window_forward.registered(q, k, v, 5, 0.25, None),
    ):
        assert (o.shape, lse.shape) == ((2, 9, 4, 5), (2, 4, 9))


@pytest.mark.parametrize("impl", ["reference", pytest.param("triton", marks=on_cpu)])
def test_decoding_after_a_prefill_equals_the_whole(impl: Any) -> None:
    """The cache holds the heads of k and v alone."""
    shape, prefix = Shape(T=33, chunk_size=16, B=1, H=2, R=1, K=8, V=12), 31
    inputs = {name: x.detach() for name, x in grouped_inputs(shape, "mixed", torch.float32).items()}
    expected = repeated(**cast(inputs, torch.float64), chunk_size=16)
    k, v, route = (inputs[name][:, : prefix if name in "kv" else 2] for name in ("k", "v", "route"))
    cache = decode.cache_of_prefill(k, v, route, chunk_size=16)
    assert cache.keys.shape[1] * cache.kept.shape[1] == shape.H
    o, _ = decode_softmax(inputs, 16, cache, start=prefix, impl=impl)
    assert (o - expected[:, prefix:]).abs().max() < 2e-6


def test_decoding_with_a_window_equals_the_whole() -> None:
    inputs = {name: x.detach() for name, x in grouped_inputs(Shape(T=30, chunk_size=16, H=2), "none").items()}
    cache = window_cache_of_prefill(inputs["k"][:, :9], inputs["v"][:, :9], window=7)
    outputs = []
    for t in range(9, 30):
        o, cache = window_attention_step(*(inputs[name][:, t] for name in "qkv"), cache)
        outputs.append(o)
    assert cache.keys.shape[1] == 2
    assert (torch.stack(outputs, dim=1) - repeated(**inputs, window=7)[:, 9:]).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("k_heads", "v_heads", "routing_heads", "message"),
    [
        (4, 4, None, r"^k has 4 heads; that number must divide the 6 heads of q\.$"),
        (12, 12, None, r"^k has 12 heads; that number must divide the 6 heads of q\.$"),
        (3, 6, None, r"^v has shape \[1, 8, 6, 3\].* \[1, 8, 3\], as in k\.$"),
        (3, 3, 6, r"^route has 6 routing heads .* must divide the 3 heads of k\.$"),
        (2, 2, 3, r"^route has 3 routing heads .* must divide the 2 heads of k\.$"),
    ],
)
def test_groups_that_do_not_divide(k_heads: int, v_heads: int, routing_heads: int | None, message: str) -> None:
    q, k, v = (torch.zeros(1, 8, heads, 3) for heads in (6, k_heads, v_heads))
    route = None if routing_heads is None else torch.ones(1, 2, routing_heads)
    with pytest.raises(ValueError, match=message):
        chunk_softmax_attention(q, k, v, route, chunk_size=4)


def test_a_step_whose_heads_do_not_fit_the_cache() -> None:
    cache = decode.empty_cache(1, 4, 2, 3, 3, chunk_size=4)
    k = v = torch.zeros(1, 4, 3)
    for heads in (2, 6):
        with pytest.raises(
            ValueError, match=r"^q has shape .*\[B, H, K\] of the cache, or with a multiple of its heads"
        ):
            decode.chunk_softmax_attention_step(torch.zeros(1, heads, 3), k, v, cache)


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("route", "options"),
    [
        ("none", {}),
        ("hard", {"route_grad": "selected"}),
        ("hard", {"route_grad": "full"}),
        ("fractional", {"route_grad": "full"}),
        ("none", {"window": 200}),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("dims", [(64, 128), (128, 128)], ids=str)
def test_gpu(dims: tuple[int, int], dtype: torch.dtype, route: str, options: dict[str, Any]) -> None:
    """Errors against float64 are at most twice those of repeated heads in the same kernels."""
    shape = Shape(T=1000, chunk_size=64, B=2, H=4, R=2, K=dims[0], V=dims[1])
    with CUDA:
        inputs = cast(grouped_inputs(shape, route, share=4), dtype)
        cotangents = [torch.randn(2, 1000, 16, dims[1]).to(dtype)]
    operation = functools.partial(chunk_softmax_attention, chunk_size=64, **options, impl="triton")
    exact = results_and_gradients(
        functools.partial(repeated, chunk_size=64, **options), cast(inputs, torch.float64), cotangents
    )
    ungrouped = functools.partial(repeated, chunk_size=64, **options, impl="triton")
    usual = results_and_gradients(ungrouped, inputs, cotangents)
    actual = results_and_gradients(operation, inputs, cotangents)
    for part in range(2):
        for name, value in exact[part].items():
            error, allowed = ((x[part][name].double() - value).norm() for x in (actual, usual))
            assert error <= 2 * allowed + torch.finfo(dtype).eps * value.norm(), f"{name}: {error:.1e}, {allowed:.1e}"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_gpu_decoding(dtype: torch.dtype) -> None:
    shape, prefix = Shape(T=150, chunk_size=64, H=4, R=2, K=64, V=128), 100
    inputs = {name: x.detach().cuda() for name, x in grouped_inputs(shape, "mixed", dtype, share=4).items()}
    cache = decode.cache_of_prefill(inputs["k"][:, :prefix], inputs["v"][:, :prefix], inputs["route"][:, :2])
    o, _ = decode_softmax(inputs, 64, cache, start=prefix, impl="triton")
    expected = repeated(**cast(inputs, torch.float64), chunk_size=64)[:, prefix:]
    assert (o - expected).abs().max() < max(torch.finfo(dtype).eps, 1e-5) * expected.abs().max()
