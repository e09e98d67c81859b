"""Decoding token by token agrees with the operations on whole sequences."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention, gated_delta_rule
from nas.kernels.chunk_softmax_attention import decode as softmax_decode
from nas.kernels.chunk_softmax_attention.decode import KVCache, chunk_softmax_attention_step
from nas.kernels.gated_delta_rule import decode as linear_decode
from nas.kernels.gated_delta_rule.decode import LinearState, gated_delta_rule_step
from tests.kernels import oracle
from tests.kernels.cases import (
    RESETS,
    ROUTES,
    Inputs,
    Shape,
    delta_inputs,
    make_route,
    softmax_inputs,
    with_resets,
)
from tests.kernels.decoding import (
    assert_every_page_has_one_owner,
    cache_for,
    decode_linear,
    decode_softmax,
    state_from,
)

SMALL = (
    Shape(T=1, chunk_size=4),
    Shape(T=14, chunk_size=4),
    Shape(T=12, chunk_size=4),
    Shape(T=7, chunk_size=1),
    Shape(T=13, chunk_size=3, H=4, R=2),
    Shape(T=13, chunk_size=3, H=4, R=1),
)
INTERPRETED = (Shape(T=36, chunk_size=16, H=4, K=12, V=20, R=2), Shape(T=18, chunk_size=16, K=8, V=40, B=1, H=3))


def with_routing_heads(inputs: Inputs, shape: Shape) -> Inputs:
    """Replace a missing route by ones: a cache has its routing heads from the start."""
    return inputs if "route" in inputs else inputs | {"route": make_route(shape, "ones")}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_softmax_steps_match_oracle(shape: Shape, route: str) -> None:
    inputs = softmax_inputs(shape, route)
    expected = oracle.chunk_softmax_attention(**inputs, chunk_size=shape.chunk_size)
    o, cache = decode_softmax(inputs, shape.chunk_size, cache_for(shape), impl="reference")
    assert (o - expected).abs().max() < 1e-12
    assert not o.requires_grad
    assert_every_page_has_one_owner(cache)
    assert cache.fill.tolist() == [shape.T % shape.chunk_size] * shape.B


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_linear_steps_match_oracle(shape: Shape, route: str) -> None:
    inputs = delta_inputs(shape, route)
    expected = oracle.gated_delta_rule(**inputs, chunk_size=shape.chunk_size)
    state = state_from(inputs["initial_state"])
    o, state = decode_linear(inputs, shape.chunk_size, state, impl="reference")
    assert (o - expected[0]).abs().max() < 1e-12
    assert (state.current - expected[1]).abs().max() < 1e-12
    assert torch.equal(state.current, state.start)
    assert not o.requires_grad


@pytest.mark.parametrize("prefix", [1, 4, 7, 8, 11])
@pytest.mark.parametrize("route", ["none", "mixed", "zeros"])
def test_decoding_continues_from_a_prefill(route: str, prefix: int) -> None:
    shape = Shape(T=14, chunk_size=4, H=4, R=2)
    inputs = with_routing_heads(softmax_inputs(shape, route), shape)
    chunks = -(-prefix // shape.chunk_size)
    seen = {name: x[:, :chunks] if name == "route" else x[:, :prefix] for name, x in inputs.items()}
    cache = softmax_decode.cache_of_prefill(seen["k"], seen["v"], seen["route"], chunk_size=shape.chunk_size)
    assert_every_page_has_one_owner(cache)
    o, cache = decode_softmax(inputs, shape.chunk_size, cache, start=prefix, impl="reference")
    assert_every_page_has_one_owner(cache)
    expected = chunk_softmax_attention(**inputs, chunk_size=shape.chunk_size, impl="reference")
    assert (o - expected[:, prefix:]).abs().max() < 1e-12

    linear: Inputs = delta_inputs(shape, route)
    del linear["initial_state"]
    seen = {name: x[:, :chunks] if name == "route" else x[:, :prefix] for name, x in linear.items()}
    options: Any = {"chunk_size": shape.chunk_size, "impl": "reference"}
    before, state = linear_decode.gated_delta_rule_prefill(**seen, **options)
    after, state = decode_linear(linear, **options, state=state, start=prefix)
    o, final = gated_delta_rule(**linear, **options, return_final_state=True)
    assert (torch.cat([before, after], dim=1) - o).abs().max() < 1e-12
    assert (state.current - final).abs().max() < 1e-12


@pytest.mark.parametrize("reset", [-1e4, -1e9, -torch.inf], ids="g={:g}".format)
@pytest.mark.parametrize("where", RESETS)
def test_prefill_and_steps_agree_across_resets(where: str, reset: float) -> None:
    """A prefill of 22 of 40 tokens, in float32, and steps for the rest are as exact as without resets."""
    shape, prefix = Shape(T=40, chunk_size=16, H=4, R=2), 22
    inputs = with_resets(delta_inputs(shape, "mixed", torch.float32), where, reset)
    del inputs["initial_state"]
    seen = {name: x[:, :2] if name == "route" else x[:, :prefix] for name, x in inputs.items()}
    options: Any = {"chunk_size": 16, "impl": "reference"}
    before, state = linear_decode.gated_delta_rule_prefill(**seen, **options)
    after, state = decode_linear(inputs, **options, state=state, start=prefix)
    exact, final = oracle.gated_delta_rule(**{name: x.double() for name, x in inputs.items()}, chunk_size=16)
    torch.testing.assert_close(torch.cat([before, after], dim=1).double(), exact, rtol=0, atol=1e-5)
    torch.testing.assert_close(state.current.double(), final, rtol=0, atol=1e-5)


def test_prefill_without_a_route_has_one_routing_head() -> None:
    inputs = softmax_inputs(Shape(T=9, chunk_size=4, H=4), "none")
    cache = softmax_decode.cache_of_prefill(inputs["k"], inputs["v"], chunk_size=4)
    assert cache.kept.tolist() == [[2], [2]]
    assert cache.fill.tolist() == [1, 1]


@pytest.mark.parametrize("route", ["fractional", "hard", "zeros"])
@pytest.mark.parametrize("shape", INTERPRETED, ids=str)
def test_triton_softmax_steps(shape: Shape, route: str) -> None:
    """Decode in float32 from a prefix on, so that lists are filled from the start; compared with float64."""
    inputs = with_routing_heads(softmax_inputs(shape, route, torch.float32), shape)
    inputs = {name: x.detach() for name, x in inputs.items()}
    prefix = shape.T - 6
    chunks = -(-prefix // shape.chunk_size)
    cache = softmax_decode.cache_of_prefill(
        *(inputs["k"][:, :prefix], inputs["v"][:, :prefix], inputs["route"][:, :chunks]), chunk_size=shape.chunk_size
    )
    o, _ = decode_softmax(inputs, shape.chunk_size, cache, start=prefix, impl="triton")
    exact = {name: x.double() for name, x in inputs.items()}
    expected = oracle.chunk_softmax_attention(**exact, chunk_size=shape.chunk_size)[:, prefix:]
    assert (o - expected).abs().max() < 2e-6


def long_lists(dtype: torch.dtype, device: str = "cpu", chunks: int = 40) -> tuple[KVCache, Inputs, list[list[int]]]:
    """Return a cache of long, short and empty lists in splits, its inputs, and the kept chunks of each list."""
    shape = Shape(T=16 * chunks + 5, chunk_size=16, B=2, H=4, K=8, V=12, R=2)
    inputs = {name: x.detach().to(device) for name, x in softmax_inputs(shape, "fractional", dtype).items()}
    wanted = [[chunks, 0], [1, chunks // 2]]
    for b, r in itertools.product(range(2), range(2)):
        inputs["route"][b, wanted[b][r] :, r] = 0
    prefix = shape.T - 1
    cache = softmax_decode.cache_of_prefill(
        inputs["k"][:, :prefix], inputs["v"][:, :prefix], inputs["route"], chunk_size=16
    )
    return cache, inputs, wanted


def expected_last(inputs: Inputs) -> Tensor:
    """Compute the last token's output in float64, [B, H, V]."""
    q, k, v, route = (inputs[name].double() for name in ("q", "k", "v", "route"))
    weight = route.repeat_interleave(16, dim=1)[:, : q.shape[1]]
    weight[:, -(q.shape[1] % 16) :] = 1
    bias = weight.repeat_interleave(2, dim=2).log().transpose(1, 2)
    s = torch.einsum("bhk,bthk->bht", q[:, -1], k) * q.shape[-1] ** -0.5 + bias
    return torch.einsum("bht,bthv->bhv", s.softmax(-1), v)


def test_lists_of_different_lengths_in_splits() -> None:
    cache, inputs, wanted = long_lists(torch.float32)
    assert cache.kept.tolist() == wanted
    o, _ = decode_softmax(inputs, 16, cache, start=inputs["q"].shape[1] - 1, impl="triton")
    assert (o[:, 0] - expected_last(inputs)).abs().max() < 2e-6


@pytest.mark.parametrize("shape", INTERPRETED, ids=str)
def test_triton_linear_steps(shape: Shape) -> None:
    inputs = {name: x.detach() for name, x in delta_inputs(shape, "mixed", torch.float32).items()}
    exact = {name: x.double() for name, x in inputs.items()}
    expected = oracle.gated_delta_rule(**exact, chunk_size=shape.chunk_size)
    state = state_from(inputs["initial_state"])
    o, state = decode_linear(inputs, shape.chunk_size, state, impl="triton")
    assert (o - expected[0]).abs().max() < 2e-6
    assert (state.current - expected[1]).abs().max() < 4e-6


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_half_precision(impl: str) -> None:
    shape = Shape(T=18, chunk_size=16, B=1, K=8, V=12)
    for dtype in (torch.bfloat16, torch.float16):
        inputs = {name: x.detach() for name, x in softmax_inputs(shape, "fractional", dtype).items()}
        cache = cache_for(shape, dtype)
        o, _ = decode_softmax(inputs, shape.chunk_size, cache, impl=impl)
        exact = oracle.chunk_softmax_attention(**{name: x.double() for name, x in inputs.items()}, chunk_size=16)
        assert o.dtype == dtype
        assert (o - exact).abs().max() < torch.finfo(dtype).eps * exact.abs().max()
        linear = {name: x.detach() for name, x in delta_inputs(shape, "fractional", dtype).items()}
        linear["initial_state"] = linear["initial_state"].float()
        exact, final = oracle.gated_delta_rule(**{name: x.double() for name, x in linear.items()}, chunk_size=16)
        state = state_from(linear["initial_state"])
        o, state = decode_linear(linear, shape.chunk_size, state, impl=impl)
        assert o.dtype == dtype
        assert state.current.dtype == torch.float32
        assert (o - exact).abs().max() < torch.finfo(dtype).eps * exact.abs().max()
        assert (state.current - final).abs().max() < 1e-5


GPU_SHAPES = (
    Shape(T=150, chunk_size=64, H=4, K=64, V=128, R=2),
    Shape(T=70, chunk_size=16, H=2, K=128, V=256),
    Shape(T=40, chunk_size=32, H=2, K=256, V=512, R=1),
    Shape(T=40, chunk_size=16, H=3, K=100, V=60),
)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", GPU_SHAPES, ids=str)
def test_steps_on_the_gpu(shape: Shape, dtype: torch.dtype) -> None:
    inputs = {name: x.detach().cuda() for name, x in softmax_inputs(shape, "mixed", dtype).items()}
    cache = cache_for(shape, dtype, device="cuda")
    o, cache = decode_softmax(inputs, shape.chunk_size, cache, impl="triton")
    exact = {name: x.double() for name, x in inputs.items()}
    expected = oracle.chunk_softmax_attention(**exact, chunk_size=shape.chunk_size)
    allowed = max(torch.finfo(dtype).eps, 1e-5) * expected.abs().max()
    assert (o - expected).abs().max() < allowed
    assert_every_page_has_one_owner(cache)

    inputs = {name: x.detach().cuda() for name, x in delta_inputs(shape, "mixed", dtype).items()}
    inputs["initial_state"] = inputs["initial_state"].float()
    exact = {name: x.double() for name, x in inputs.items()}
    expected, final = oracle.gated_delta_rule(**exact, chunk_size=shape.chunk_size)
    state = state_from(inputs["initial_state"])
    o, state = decode_linear(inputs, shape.chunk_size, state, impl="triton")
    assert (o - expected).abs().max() < max(torch.finfo(dtype).eps, 1e-5) * expected.abs().max()
    assert (state.current - final).abs().max() < 1e-5 * final.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lists_of_different_lengths_on_the_gpu(dtype: torch.dtype) -> None:
    cache, inputs, wanted = long_lists(dtype, "cuda", chunks=2000)
    assert cache.kept.tolist() == wanted
    o, _ = decode_softmax(inputs, 16, cache, start=inputs["q"].shape[1] - 1)
    expected = expected_last(inputs)
    assert (o[:, 0] - expected).abs().max() < max(torch.finfo(dtype).eps, 1e-5) * expected.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("impl", ["triton", "reference"])
def test_captured_steps_can_be_replayed(impl: Any) -> None:
    """One graph for a step of both operations and one for chunk ends: no synchronisation, no moved memory."""
    shape = Shape(T=100, chunk_size=16, H=4, K=64, V=64, R=2)
    inputs = {name: x.detach().cuda() for name, x in softmax_inputs(shape, "mixed", torch.float32).items()}
    linear = {name: x.detach().cuda() for name, x in delta_inputs(shape, "mixed", torch.float32).items()}
    initial, linear["route"] = linear.pop("initial_state"), inputs["route"]
    names = ("q", "k", "v", "g", "beta")
    token, linear_token = (
        [inputs[name][:, 0].clone() for name in names[:3]],
        [linear[name][:, 0].clone() for name in names],
    )
    route = inputs["route"][:, 0].clone()

    def step(cache: KVCache, state: LinearState) -> tuple[Tensor, Tensor]:
        o, _ = chunk_softmax_attention_step(*token, cache, impl=impl)
        linear_o, _ = gated_delta_rule_step(*linear_token, state, impl=impl)
        return o, linear_o

    def close(cache: KVCache, state: LinearState) -> None:
        linear_decode.close_chunk(state, route, where=cache.fill == shape.chunk_size)
        softmax_decode.close_chunk(cache, route)

    def start() -> tuple[KVCache, LinearState]:
        pages = shape.B * 2 * (shape.num_chunks + 1)
        cache = cache_for(shape, torch.float32, device="cuda", pages=pages, max_chunks=shape.num_chunks)
        return cache, state_from(initial)

    warm = start()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(*warm)
        close(*warm)
    torch.cuda.current_stream().wait_stream(side)
    cache, state = start()
    steps, ends = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(steps):
        o, linear_o = step(cache, state)
    with torch.cuda.graph(ends):
        close(cache, state)
    outputs, linear_outputs = [], []
    for t in range(shape.T):
        for buffer, name in zip(token, names[:3], strict=True):
            buffer.copy_(inputs[name][:, t])
        for buffer, name in zip(linear_token, names, strict=True):
            buffer.copy_(linear[name][:, t])
        route.copy_(inputs["route"][:, t // shape.chunk_size])
        steps.replay()
        ends.replay()  # after every token: it changes full chunks only
        outputs.append(o.clone())
        linear_outputs.append(linear_o.clone())
    assert cache.fill.tolist() == [shape.T % shape.chunk_size] * shape.B
    assert_every_page_has_one_owner(cache)
    expected = oracle.chunk_softmax_attention(**{n: x.double() for n, x in inputs.items()}, chunk_size=16)
    assert (torch.stack(outputs, dim=1) - expected).abs().max() < 1e-5
    linear["initial_state"] = initial
    expected, _ = oracle.gated_delta_rule(**{n: x.double() for n, x in linear.items()}, chunk_size=16)
    assert (torch.stack(linear_outputs, dim=1) - expected).abs().max() < 1e-5 * expected.abs().max()
