"""Documents packed into one sequence: the gated delta rule computes each as if alone."""

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import gated_delta_rule
from nas.kernels.documents import read_borders
from tests.kernels import oracle
from tests.kernels.cases import Inputs, Shape, assert_all_close, delta_inputs, results_and_gradients
from tests.kernels.triton_cases import CUDA, assert_matches, assert_never_waits, cast, on_cpu

pytest.importorskip("triton")
from nas.kernels.gated_delta_rule import triton_op, triton_plan
from tests.kernels.delta_cases import assert_low_precision, delta_rule, reference, set_segments, set_tile

BORDERS = [0, 3, 3, 4, 44]
"""Shorter than a chunk, empty, one token, several chunks."""


def document_inputs(borders: list[int], shape: Shape, *, route: bool = True, initial_state: bool = True) -> Inputs:
    """Return inputs of packed documents, with a route [1, N, R] of zeros, ones and fractions; leaves in float64."""
    inputs = delta_inputs(shape, "none")
    inputs["g"] = (inputs["g"].detach() * 2 / shape.chunk_size).requires_grad_()
    del inputs["initial_state"]
    if initial_state:
        sizes = (len(borders) - 1, shape.H, shape.K, shape.V)
        inputs["initial_state"] = torch.randn(sizes, dtype=torch.float64).requires_grad_()
    if route:
        chunks = sum(-(-(end - start) // shape.chunk_size) for start, end in pairwise(borders))
        routes = torch.rand(1, chunks, shape.R or shape.H, dtype=torch.float64) * 1.6 - 0.3
        inputs["route"] = routes.clamp(0, 1).requires_grad_()
    return inputs


def cotangents_for(borders: list[int], shape: Shape) -> list[Tensor]:
    """Return cotangents of the output and of the final states."""
    sizes = (1, shape.T, shape.H, shape.V), (len(borders) - 1, shape.H, shape.K, shape.V)
    return [torch.randn(size, dtype=torch.float64) for size in sizes]


def one_by_one(operation: Callable[..., Any], borders: list[int], chunk_size: int) -> Callable[..., Any]:
    """Return an operation that calls ``operation`` once for each document and concatenates the results."""

    def run(
        route: Tensor | None = None, initial_state: Tensor | None = None, **tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        heads, value_dim = tokens["v"].shape[2:]
        if initial_state is None:
            initial_state = tokens["q"].new_zeros(len(borders) - 1, heads, tokens["q"].shape[-1], value_dim)
        outputs, states, chunk = [], [], 0
        for document, (start, end) in enumerate(pairwise(borders)):
            state, last = initial_state[document : document + 1], chunk - (start - end) // chunk_size
            if start < end:
                given = {name: x[:, start:end] for name, x in tokens.items()}
                seen = None if route is None else route[:, chunk:last]
                o, state = operation(**given, route=seen, initial_state=state, chunk_size=chunk_size)
                outputs.append(o)
            states.append(state)
            chunk = last
        return torch.cat(outputs, dim=1), torch.cat(states)

    return run


@pytest.mark.parametrize("given", [True, False], ids=["route and state", "neither"])
def test_reference_equals_documents_one_by_one(given: bool) -> None:
    shape = Shape(T=44, chunk_size=16, B=1, R=1)
    inputs = document_inputs(BORDERS, shape, route=given, initial_state=given)
    cotangents = cotangents_for(BORDERS, shape)
    cu_seqlens = torch.tensor(BORDERS, dtype=torch.int32)
    operation = functools.partial(reference, chunk_size=16, route_grad="full", cu_seqlens=cu_seqlens)
    definition = one_by_one(oracle.gated_delta_rule, BORDERS, 16)
    actual, expected = (results_and_gradients(x, inputs, cotangents) for x in (operation, definition))
    assert_all_close(actual[0], expected[0], atol=1e-10)
    assert_all_close(actual[1], expected[1], atol=1e-10)


@on_cpu
@pytest.mark.parametrize(
    ("chunk_size", "segment_chunks", "route", "initial_state"),
    [(16, 1, True, True), (32, 1, True, False), (32, 9, False, True)],
    ids=["segments", "segments of tiles in a chunk", "whole documents"],
)
def test_kernels_equal_documents_one_by_one(
    chunk_size: int, segment_chunks: int, route: bool, initial_state: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tile(monkeypatch, 16)
    set_segments(monkeypatch, segment_chunks)
    shape = Shape(T=44, chunk_size=chunk_size, B=1, H=1, K=8, V=4)
    inputs = cast(document_inputs(BORDERS, shape, route=route, initial_state=initial_state), torch.float32)
    operation = functools.partial(delta_rule, chunk_size=chunk_size, cu_seqlens=torch.tensor(BORDERS))
    definition = one_by_one(oracle.gated_delta_rule, BORDERS, chunk_size)
    assert_matches(operation, definition, inputs, cotangents_for(BORDERS, shape))


@on_cpu
def test_the_output_alone_and_heads_that_share_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """No final state is computed: each of many short documents would cost as much as a long one."""
    set_segments(monkeypatch, 1)
    borders, shape = [0, 1, 18], Shape(T=18, chunk_size=16, B=1, H=2, R=1, K=8, V=4)
    inputs = cast(document_inputs(borders, shape, initial_state=False), torch.float32)
    for name in "qk":
        inputs[name] = inputs[name].detach()[:, :, :1].requires_grad_()
    operation = functools.partial(
        gated_delta_rule, chunk_size=16, impl="triton", cu_seqlens=torch.tensor(borders), route_grad="full"
    )

    def definition(q: Tensor, k: Tensor, **others: Tensor) -> Tensor:
        q, k = (x.expand(-1, -1, 2, -1) for x in (q, k))
        o: Tensor = one_by_one(oracle.gated_delta_rule, borders, 16)(q=q, k=k, **others)[0]
        return o

    assert_matches(operation, definition, inputs, cotangents_for(borders, shape)[:1])


@on_cpu
@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_one_document_is_a_sequence(impl: str) -> None:
    shape = Shape(T=4, chunk_size=16, B=1, H=1, K=8, V=4)
    inputs, cotangents = cast(document_inputs([0, 4], shape), torch.float32), cotangents_for([0, 4], shape)
    operation = functools.partial(gated_delta_rule, chunk_size=16, return_final_state=True, impl=impl)
    packed: Any = functools.partial(operation, cu_seqlens=torch.tensor([0, 4]))
    for actual, expected in zip(
        results_and_gradients(packed, inputs, cotangents),
        results_and_gradients(operation, inputs, cotangents),
        strict=True,
    ):
        assert_all_close(actual, expected, atol=0)


@on_cpu
@pytest.mark.parametrize("wanted", [True, False], ids=["states", "no states"])
def test_a_trace_knows_the_results(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler gives an empty gradient for final states that are not wanted."""
    set_segments(monkeypatch, 1)
    borders = [0, 1, 18] if wanted else [0, 1, 2]
    shape = Shape(T=borders[-1], chunk_size=16, B=1, H=1, K=8, V=4)
    inputs = cast(document_inputs(borders, shape, initial_state=wanted), torch.float32)
    q, k, v, g, beta, route = (inputs[name].detach() for name in ("q", "k", "v", "g", "beta", "route"))
    initial_state = inputs["initial_state"].detach() if wanted else None
    tables, *layout = triton_plan.documents_of(borders, q, v, 16)
    options = {"chunk_size": 16, "scale": 0.25, "full_route_grad": True, "tables": tables, "layout": layout}
    results, of_trace = (
        function(q, k, v, g, beta, route, initial_state, **options, save=True, final_state=wanted)
        for function in (triton_op.run_forward, triton_op.fake_forward)
    )
    o, final, *saved = results
    gradients, fake_gradients = (
        function(q, k, v, route, saved, o, final, **options, initial_state=wanted)
        for function in (triton_op.run_backward, triton_op.fake_backward)
    )
    for actual, expected in zip((*results, *gradients), (*of_trace, *fake_gradients), strict=True):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 10], "cu_seqlens starts at 1; it must start at 0"),
        ([0, 9], "cu_seqlens ends at 9; it must end at T = 10, the tokens of q"),
        ([0, 5, 4, 10], "cu_seqlens falls from 5 to 4 at index 2; it must not fall"),
        ([0], r"cu_seqlens has shape \[1\]; it must be \[documents \+ 1\]"),
        ([[0, 10]], r"cu_seqlens has shape \[1, 2\]; it must be \[documents \+ 1\]"),
        ([0.0, 10.0], r"cu_seqlens has dtype torch.float32; it must be int32 or int64"),
    ],
)
def test_wrong_borders_are_refused(values: list[Any], message: str) -> None:
    x = torch.zeros(1, 10, 2, 4)
    with pytest.raises(ValueError, match=f"^{message}"):
        gated_delta_rule(x, x, x, x[..., 0], x[..., 0], cu_seqlens=torch.tensor(values))


def test_what_does_not_fit_documents_is_refused() -> None:
    x, cu_seqlens = torch.zeros(1, 10, 2, 4), torch.tensor([0, 5, 10])
    call = functools.partial(gated_delta_rule, x, x, x, x[..., 0], x[..., 0], chunk_size=4, cu_seqlens=cu_seqlens)
    with pytest.raises(ValueError, match=r"^route has shape \[1, 3, 2\]; .* \[1, 4, R\], with N = the sum of ceil"):
        call(torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match=r"^initial_state .* it must be \[documents, H, K, V\] = \[2, 2, 4, 4\]"):
        call(initial_state=torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"^cu_seqlens is given, and q has shape \[2, 10, 2, 4\]; .* a batch of one"):
        read_borders(cu_seqlens, "q", x.expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match=r"^cu_seqlens is on meta; it must be on the CPU or on the device of q, cpu"):
        read_borders(cu_seqlens.to("meta"), "q", x)


GPU_BORDERS = [0, 0, 1, 1, 64, 70, 134, 500, 501, 1900, 2000]


@pytest.mark.gpu
@pytest.mark.parametrize("segment_chunks", [2, 999], ids=["segments", "whole documents"])
@pytest.mark.parametrize("value_dim", [128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gpu_matches_reference(
    dtype: torch.dtype, value_dim: int, segment_chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_segments(monkeypatch, segment_chunks)
    for chunk_size in (64, 128):
        shape = Shape(T=2000, chunk_size=chunk_size, B=1, H=4, R=1, K=128, V=value_dim)
        with CUDA:
            inputs = cast(document_inputs(GPU_BORDERS, shape), dtype)
            cotangents = [x.float() for x in cotangents_for(GPU_BORDERS, shape)]
            cu_seqlens = torch.tensor(GPU_BORDERS)
        cotangents[0] = cotangents[0].to(dtype)
        assert_low_precision(inputs, cotangents, chunk_size=chunk_size, cu_seqlens=cu_seqlens)


@pytest.mark.gpu
def test_gpu_never_waits_for_borders_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    set_segments(monkeypatch, 2)
    shape = Shape(T=2000, chunk_size=64, B=1, H=4, R=1, K=128, V=256)
    with CUDA:
        inputs = cast(document_inputs(GPU_BORDERS, shape), torch.bfloat16)
    operation = functools.partial(delta_rule, chunk_size=64, cu_seqlens=torch.tensor(GPU_BORDERS))
    assert_never_waits(operation, inputs)


@pytest.mark.gpu
def test_gpu_many_documents() -> None:
    """Documents of 1 to 127 tokens, with this GPU's split."""
    lengths = torch.arange(500) % 127 + 1
    borders = [0, *lengths.cumsum(0).tolist()]
    shape = Shape(T=borders[-1], chunk_size=64, B=1, H=4, R=1, K=128, V=128)
    with CUDA:
        inputs = cast(document_inputs(borders, shape), torch.bfloat16)
        cotangents = [x.float() for x in cotangents_for(borders, shape)]
    cotangents[0] = cotangents[0].bfloat16()
    assert_low_precision(inputs, cotangents, chunk_size=64, cu_seqlens=torch.tensor(borders))
