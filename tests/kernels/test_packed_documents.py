"""Softmax attention over packed documents equals one call for each document, outputs and all gradients."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention
from tests.kernels.cases import Inputs, Shape, assert_all_close, make_route, results_and_gradients, softmax_inputs
from tests.kernels.triton_cases import CUDA, assert_close, assert_never_waits, cast, on_cpu

pytest.importorskip("triton")
from nas.kernels.chunk_softmax_attention import triton_documents, triton_op
from tests.kernels.test_grouped_heads import grouped_inputs, set_tiles

pytestmark = pytest.mark.filterwarnings(
    "ignore:(divide by zero|invalid value|All-NaN slice) encountered:RuntimeWarning"
)

RAGGED = (5, 0, 40, 1, 33, 16, 0)
"""Lengths: shorter than a chunk, empty, several chunks and a rest, one token, whole chunks, empty at the end."""


def bounds(lengths: Sequence[int]) -> Tensor:
    """Return cu_seqlens of documents of these lengths."""
    return torch.tensor([0, *itertools.accumulate(lengths)])


def packed_inputs(lengths: Sequence[int], shape: Shape, route: str, dtype: torch.dtype = torch.float64) -> Inputs:
    """Return leaves of two heads of q for each head of k, with a route of the chunks of all documents."""
    inputs = grouped_inputs(shape, "none", dtype)
    chunks = sum(math.ceil(length / shape.chunk_size) for length in lengths)
    of_chunks = make_route(Shape(T=chunks, chunk_size=1, B=1, H=shape.H, R=shape.R), route, torch.float64)
    return inputs if of_chunks is None else inputs | {"route": of_chunks.to(dtype).requires_grad_()}


def one_by_one(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None, *, cu_seqlens: Tensor, chunk_size: int, **options: Any
) -> Tensor:
    """Call the operation for each document that has tokens, and concatenate the results."""
    outputs, chunk = [], 0
    for start, end in itertools.pairwise(cu_seqlens.tolist()):
        if start < end:
            after = chunk + math.ceil((end - start) / chunk_size)
            qkv = (x[:, start:end] for x in (q, k, v))
            of_document = None if route is None else route[:, chunk:after]
            outputs.append(chunk_softmax_attention(*qkv, of_document, chunk_size=chunk_size, **options))
            chunk = after
    return torch.cat(outputs, dim=1)


def runs(inputs: Inputs, lengths: Sequence[int], impl: Any, **options: Any) -> Iterator[tuple[Inputs, Inputs]]:
    """Return pairs of results and of gradients: of the packed call, and of one call for each document in float64."""
    options |= {"cu_seqlens": bounds(lengths)}
    cotangents = [torch.randn(*inputs["q"].shape[:3], inputs["v"].shape[3], dtype=torch.float64)]
    packed = functools.partial(chunk_softmax_attention, **options, impl=impl)
    alone = functools.partial(one_by_one, **options, impl="reference")
    return zip(
        results_and_gradients(packed, inputs, cotangents),
        results_and_gradients(alone, cast(inputs, torch.float64), cotangents),
        strict=True,
    )


CASES = pytest.mark.parametrize(
    ("route", "options"),
    [
        ("none", {}),
        ("mixed", {"route_grad": "full"}),
        ("hard", {"route_grad": "selected"}),
        ("none", {"window": 10}),
    ],
    ids=str,
)


@CASES
def test_reference_equals_one_call_for_each_document(route: str, options: dict[str, Any]) -> None:
    shape = Shape(T=sum(RAGGED), chunk_size=16, B=1, H=2)
    inputs = packed_inputs(RAGGED, shape, route)
    for actual, expected in runs(inputs, RAGGED, "reference", chunk_size=16, **options):
        assert_all_close(actual, expected, atol=1e-12)


@on_cpu
@pytest.mark.parametrize(
    ("queries", "chunk_size", "lengths", "route", "options"),
    [
        (32, 16, (18, 0, 1, 20), "none", {}),
        (32, 16, (18, 0, 1, 20), "mixed", {"route_grad": "full"}),  # a block of several chunks
        (16, 32, (0, 36, 3), "hard", {"route_grad": "selected"}),  # a chunk of several blocks
        (32, 16, (18, 0, 1, 20), "none", {"window": 10}),
    ],
    ids=str,
)
def test_triton_equals_one_call_for_each_document(
    queries: int,
    chunk_size: int,
    lengths: tuple[int, ...],
    route: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_tiles(monkeypatch, queries, 32)
    shape = Shape(T=sum(lengths), chunk_size=chunk_size, B=1, H=2, R=1, K=8, V=12)
    inputs = packed_inputs(lengths, shape, route, torch.float32)
    for actual, expected in runs(inputs, lengths, "triton", chunk_size=chunk_size, **options):
        assert_close(actual, expected)


@pytest.mark.parametrize("impl", ["reference", pytest.param("triton", marks=on_cpu)])
def test_one_document_equals_the_unpacked_call(impl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_tiles(monkeypatch, 32, 32)
    inputs = softmax_inputs(Shape(T=20, chunk_size=16, B=1, H=1, K=8, V=8), "mixed", torch.float32)
    operation = functools.partial(chunk_softmax_attention, **inputs, chunk_size=16, impl=impl)
    for cu_seqlens in (torch.tensor([0, 20], dtype=torch.int32), torch.tensor([0, 0, 20])):
        assert torch.equal(operation(cu_seqlens=cu_seqlens), operation())


def test_window_as_long_as_all_documents_is_causal_attention() -> None:
    inputs = packed_inputs(RAGGED, Shape(T=sum(RAGGED), chunk_size=16, B=1, H=1), "none")
    operation = functools.partial(chunk_softmax_attention, **inputs, cu_seqlens=bounds(RAGGED), impl="reference")
    assert torch.equal(operation(window=10**18), operation())
    assert torch.equal(operation(chunk_size=10**18), operation())


def test_blocks_cover_every_token_once() -> None:
    """Each document has its own blocks: the number of programs follows the documents, whatever the longest one."""
    documents = triton_documents.find(bounds(RAGGED).tolist(), 16)
    for order in ("as stored", "late queries first", "early keys first"):
        rows = triton_documents.block_table(documents, 8, torch.device("cpu"), order).tolist()
        tokens = [
            first + 8 * block + i for first, length, _, _, block in rows for i in range(min(8, length - 8 * block))
        ]
        assert sorted(tokens) == list(range(sum(RAGGED)))
        assert len(rows) == sum(math.ceil(length / 8) for length in RAGGED)
    in_chunks = triton_documents.block_table(documents, 8, torch.device("cpu"), chunk_size=16)
    assert len(in_chunks) == 2 * int(documents.chunks.sum())


def test_operators_state_the_shapes_of_their_results() -> None:
    q, k, v = (torch.empty(1, 9, heads, dim, device="meta") for heads, dim in ((4, 3), (2, 3), (2, 5)))
    o, lse = triton_op._forward.registered(q, k, v, None, 16, 0.25, True, [0, 4, 9])
    assert (o.shape, lse.shape) == ((1, 9, 4, 5), (1, 4, 9))


@pytest.mark.parametrize(
    ("cu_seqlens", "message"),
    [
        ([0, 4, 9], r"^cu_seqlens is of type list; it must be a tensor"),
        (torch.tensor([0.0, 9.0]), r"^cu_seqlens has dtype torch.float32; .* int32 or int64"),
        (torch.tensor([[0, 9]]), r"^cu_seqlens has shape \[1, 2\]; .* \[documents \+ 1\] with at least one"),
        (torch.tensor([9]), r"^cu_seqlens has shape \[1\]; .* at least one document"),
        (torch.tensor([0, 9], device="meta"), r"^cu_seqlens is on meta; .* on the CPU or on the device of q, cpu"),
        (torch.tensor([1, 9]), r"^cu_seqlens starts at 1; it must start at 0"),
        (torch.tensor([0, 8]), r"^cu_seqlens ends at 8; it must end at T = 9"),
        (torch.tensor([0, 10]), r"^cu_seqlens ends at 10; it must end at T = 9"),
        (torch.tensor([0, 6, 4, 9]), r"^cu_seqlens falls from 6 to 4 at index 2; it must not fall"),
    ],
)
def test_wrong_cu_seqlens(cu_seqlens: Any, message: str) -> None:
    q = torch.zeros(1, 9, 2, 3)
    for options in ({}, {"window": 3}):
        with pytest.raises(ValueError, match=message):
            chunk_softmax_attention(q, q, q, cu_seqlens=cu_seqlens, **options)


def test_a_batch_or_a_route_that_does_not_fit_the_documents() -> None:
    q = torch.zeros(2, 9, 2, 3)
    with pytest.raises(
        ValueError, match=r"^cu_seqlens is given, and q has shape \[2, 9, 2, 3\]; it must be a batch of one"
    ):
        chunk_softmax_attention(q, q, q, cu_seqlens=torch.tensor([0, 9]))
    q, cu_seqlens = q[:1], torch.tensor([0, 3, 9])
    with pytest.raises(ValueError, match=r"^route has shape \[1, 3, 2\]; .* \[1, 5, R\], with N = the sum of ceil"):
        chunk_softmax_attention(q, q, q, torch.ones(1, 3, 2), cu_seqlens=cu_seqlens, chunk_size=2)


# On a GPU


GPU_LENGTHS = (300, 1, 0, 64, 700, 17, 128, 1000, 63)


@pytest.mark.gpu
@CASES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("dims", [(64, 128), (128, 128)], ids=str)
def test_gpu(dims: tuple[int, int], dtype: torch.dtype, route: str, options: dict[str, Any]) -> None:
    """Errors against float64 are at most twice those of the same kernels called for each document."""
    shape = Shape(T=sum(GPU_LENGTHS), chunk_size=64, B=1, H=4, R=2, K=dims[0], V=dims[1])
    inputs = {name: x.detach().cuda() for name, x in packed_inputs(GPU_LENGTHS, shape, route).items()}
    inputs, cotangents = cast(inputs, dtype), [torch.randn(1, shape.T, 8, dims[1], device=CUDA).to(dtype)]
    options = {"chunk_size": 64, "cu_seqlens": bounds(GPU_LENGTHS)} | options
    alone = functools.partial(one_by_one, **options)
    actual = results_and_gradients(
        functools.partial(chunk_softmax_attention, **options, impl="triton"), inputs, cotangents
    )
    usual = results_and_gradients(functools.partial(alone, impl="triton"), inputs, cotangents)
    exact = results_and_gradients(functools.partial(alone, impl="reference"), cast(inputs, torch.float64), cotangents)
    for part in range(2):
        for name, value in exact[part].items():
            error, allowed = ((x[part][name].double() - value).norm() for x in (actual, usual))
            assert error <= 2 * allowed + torch.finfo(dtype).eps * value.norm(), f"{name}: {error:.1e}, {allowed:.1e}"


@pytest.mark.gpu
@pytest.mark.parametrize("route", ["none", "mixed"])
def test_gpu_many_documents_without_waiting(route: str) -> None:
    """More documents than a launch has programs in one dimension; with cu_seqlens on the CPU the host never waits."""
    lengths = [1] * 70_000 + [130]
    shape = Shape(T=sum(lengths), chunk_size=64, B=1, H=1, K=16, V=16)
    inputs = {name: x.detach().cuda() for name, x in packed_inputs(lengths, shape, route, torch.float32).items()}
    inputs = cast(inputs, torch.float32)
    operation = functools.partial(chunk_softmax_attention, cu_seqlens=bounds(lengths), chunk_size=64, impl="triton")
    assert_never_waits(operation, inputs)
    o = operation(**inputs)
    torch.testing.assert_close(o[:, :70_000], inputs["v"][:, :70_000].repeat_interleave(2, dim=2))
    last = {name: x[:, 70_000:] for name, x in inputs.items()}
    alone = chunk_softmax_attention(**last, chunk_size=64, impl="triton")
    torch.testing.assert_close(o[:, 70_000:], alone)
    on_device = functools.partial(operation, cu_seqlens=bounds(lengths).cuda())
    assert torch.equal(on_device(**inputs), o)
