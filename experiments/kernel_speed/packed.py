"""Cost of packed documents: many short ones against as many tokens in one."""

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from experiments.kernel_speed.contenders import SETS, Contender
from experiments.kernel_speed.delta_rule import peers as delta_peers
from experiments.kernel_speed.delta_rule.cases import Call, Shape, contender, draw, of_the_340m, of_today, ours
from experiments.kernel_speed.inputs import chosen_chunks, document_borders, inputs
from experiments.kernel_speed.operations import HOW, SHARE, launched, timed
from experiments.kernel_speed.rows import OURS, Bench, Case, Check, Row, ratio
from nas.kernels import chunk_softmax_attention
from nas.kernels.documents import chunks_of_documents
from nas.kernels.short_convolution import short_convolution

PACKED_LIMIT = 1.1
ONE = "one document"


def packed(bench: Bench) -> Iterator[Case]:
    """Documents of random lengths, 0.5 to 1.5 times the mean, packed into one sequence by `cu_seqlens`.

    "Ours" computes the documents. "One document" has as many tokens, and "a batch" has as many documents of equal
    length, without `cu_seqlens`: it computes 8 % less of attention, as the squares of its lengths sum to less. Peers
    compute the documents. Our `cu_seqlens` is on the CPU, that of the peers on the GPU.
    """
    documents, tokens = bench.shapes.documents, bench.shapes.tokens
    tail = f"{documents} documents, {tokens} tokens"
    for shape in (of_today(bench.shapes)[0], of_the_340m(bench.shapes)[0]):
        one = Shape(1, tokens, shape.key_heads, shape.heads, shape.key_dim, shape.value_dim)
        case = f"gated delta rule, {one.heads} x ({one.key_dim}, {one.value_dim}), {tail}"
        yield Case(case, functools.partial(_delta, bench, case, one))
    for window in (None, bench.shapes.window):
        case = f"softmax, {f'p={SHARE:g}' if window is None else f'window {window}'}, {tail}"
        yield Case(case, functools.partial(_softmax, bench, case, window))
    case = f"short convolution, {tail}"
    yield Case(case, functools.partial(_convolution, bench, case))


def _rows(bench: Bench, case: str, contenders: dict[str, Contender]) -> Iterator[Row]:
    for what, how, _ in HOW:
        values = timed(bench, contenders, how)
        check = Check("packed / one", ratio(values[OURS].value, values[ONE].value), PACKED_LIMIT)
        yield Row(case, what, values, checks=(check,))
    yield launched(bench, case, contenders)


def _batch(bench: Bench) -> tuple[int, int]:
    """Return B and T of the batch of documents of equal length; it may have a few tokens less than the documents."""
    documents = bench.shapes.documents
    return documents, bench.shapes.tokens // documents


def _batch_name(bench: Bench) -> str:
    return "a batch, {} x {}".format(*_batch(bench))


def _delta(bench: Bench, case: str, one: Shape) -> Iterator[Row]:
    borders, device = document_borders(one.length, bench.shapes.documents), bench.clock.device
    batch = Shape(*_batch(bench), one.key_heads, one.heads, one.key_dim, one.value_dim)

    def drawn(shape: Shape) -> list[Call]:
        return [draw(shape, bench.shapes, device, seed) for seed in range(SETS)]

    calls = drawn(one)
    contenders = {
        OURS: contender(ours(bench.shapes, bench.impl, cu_seqlens=borders), calls),
        ONE: contender(ours(bench.shapes, bench.impl), calls),
        _batch_name(bench): contender(ours(bench.shapes, bench.impl), drawn(batch)),
    }
    rules = delta_peers.rules(one, borders.to(device, torch.int64))
    yield from _rows(bench, case, contenders | {name: contender(rule, calls) for name, rule in rules.items()})


def _softmax(bench: Bench, case: str, window: int | None) -> Iterator[Row]:
    """Measure attention with a window, or without one and with routes of this share."""
    shapes, device = bench.shapes, bench.clock.device
    borders = document_borders(shapes.tokens, shapes.documents)
    chunk_size, routing_heads = shapes.architecture.chunk_size, shapes.architecture.routing_heads

    def of(batch: int, length: int, chunks: int, cu_seqlens: Tensor | None = None) -> Contender:
        def operation(q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None) -> Tensor:
            return chunk_softmax_attention(
                q, k, v, route, chunk_size=chunk_size, window=window, cu_seqlens=cu_seqlens, impl=bench.impl
            )

        sets = [inputs(shapes, batch, length, device, seed) for seed in range(SETS)]
        leaves = [one.softmax for one in sets]
        if window is None:
            routes = [chosen_chunks(batch, chunks, routing_heads, SHARE, device, seed) for seed in range(SETS)]
            leaves = [(*given, route.requires_grad_()) for given, route in zip(leaves, routes, strict=True)]
        return Contender(operation, leaves, [(one.do_softmax,) for one in sets])

    def chunks(length: int) -> int:
        return -(-length // chunk_size)

    batch, length = _batch(bench)
    contenders = {
        OURS: of(1, shapes.tokens, chunks_of_documents(borders.tolist(), chunk_size), borders),
        ONE: of(1, shapes.tokens, chunks(shapes.tokens)),
        _batch_name(bench): of(batch, length, chunks(length)),
    }
    yield from _rows(bench, case, contenders)


def _convolution(bench: Bench, case: str) -> Iterator[Row]:
    """Measure the convolution of the values, which have the most channels."""
    a, device, dtype = bench.shapes.architecture, bench.clock.device, bench.shapes.dtype
    channels = a.linear_heads * a.value_dim
    borders = document_borders(bench.shapes.tokens, bench.shapes.documents)

    def of(batch: int, length: int, cu_seqlens: Tensor | None = None) -> Contender:
        def operation(x: Tensor, weight: Tensor) -> Tensor:
            return short_convolution(x, weight, cu_seqlens=cu_seqlens, impl=bench.impl)

        def normal(*sizes: int) -> Tensor:
            return torch.randn(*sizes, device=device, dtype=dtype)

        leaves = [
            (normal(batch, length, channels).requires_grad_(), normal(channels, a.conv_size).requires_grad_())
            for _ in range(SETS)
        ]
        return Contender(operation, leaves, [(normal(batch, length, channels),) for _ in range(SETS)])

    contenders = {
        OURS: of(1, bench.shapes.tokens, borders),
        ONE: of(1, bench.shapes.tokens),
        _batch_name(bench): of(*_batch(bench)),
    }
    yield from _rows(bench, case, contenders)
