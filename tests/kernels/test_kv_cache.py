"""Pages are used and never lost; the pool grows when needed, and exhaustion is never silent."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels.chunk_softmax_attention import decode as softmax_decode
from nas.kernels.chunk_softmax_attention.decode import chunk_softmax_attention_step
from nas.kernels.gated_delta_rule import decode as linear_decode
from nas.kernels.gated_delta_rule.decode import gated_delta_rule_step
from tests.kernels import oracle
from tests.kernels.cases import Shape, delta_inputs, softmax_inputs
from tests.kernels.decoding import assert_every_page_has_one_owner, cache_for, decode_softmax, listed_pages


def test_pages_in_use_are_kept_chunks_and_running_chunks() -> None:
    """Skipped chunks take no page, however long the sequence: the bytes follow the softmax share."""
    shape = Shape(T=48, chunk_size=4, H=4, R=2)
    kept: dict[str, int] = {}
    for kind in ("ones", "hard", "zeros"):
        inputs = softmax_inputs(shape, kind)
        _, cache = decode_softmax(inputs, shape.chunk_size, cache_for(shape), impl="reference")
        kept[kind] = int((inputs["route"] > 0).sum())
        pages = kept[kind] + shape.B * 2
        assert softmax_decode.pages_in_use(cache) == pages
        assert softmax_decode.bytes_in_use(cache) == pages * shape.chunk_size * 2 * (shape.K + shape.V) * 8
        assert len(set(listed_pages(cache))) == kept[kind]
        assert_every_page_has_one_owner(cache)
        if kind == "zeros":
            assert cache.keys.shape[0] == 2 * shape.B * 2  # the pool never became larger
    assert kept == {"ones": 48, "hard": 24, "zeros": 0}


def test_sequences_of_different_ages() -> None:
    """Chunks of each sequence end when they are full; closing the chunks of all leaves other sequences unchanged."""
    shape = Shape(T=16, chunk_size=4, B=2)
    inputs, linear = softmax_inputs(shape, "mixed"), delta_inputs(shape, "mixed")
    late = 2  # the second sequence starts two steps after the first
    cache = cache_for(shape)
    state = linear_decode.initial_linear_state(2, shape.H, shape.K, shape.V, dtype=torch.float64)
    outputs, linear_outputs = [], []
    for t in range(late, shape.T):
        if t == 2 * late:
            for buffer in (cache.fill, *state):
                buffer[1] = 0
        times = (t - late, t - 2 * late)
        at = {name: torch.stack([x[b, times[b]] for b in range(2)]) for name, x in inputs.items() if name != "route"}
        o, cache = chunk_softmax_attention_step(**at, cache=cache)
        outputs.append(o)
        names = ("q", "k", "v", "g", "beta")
        tokens = [torch.stack([linear[name][b, times[b]] for b in range(2)]) for name in names]
        o, state = gated_delta_rule_step(*tokens, state)
        linear_outputs.append(o)
        full = cache.fill == shape.chunk_size
        route = torch.stack([inputs["route"][b, times[b] // shape.chunk_size] for b in range(2)])
        decides = torch.stack([linear["route"][b, times[b] // shape.chunk_size] for b in range(2)])
        state = linear_decode.close_chunk(state, decides, where=full)
        cache = softmax_decode.close_chunk(cache, route)
        assert_every_page_has_one_owner(cache)
    whole = oracle.chunk_softmax_attention(**inputs, chunk_size=4)
    linear["initial_state"] = torch.zeros_like(linear["initial_state"])
    linear_whole, _ = oracle.gated_delta_rule(**linear, chunk_size=4)
    for expected, got in ((whole, outputs), (linear_whole, linear_outputs)):
        o = torch.stack(got, dim=1)
        assert (o[0] - expected[0, : shape.T - late]).abs().max() < 1e-12
        assert (o[1, late:] - expected[1, : shape.T - 2 * late]).abs().max() < 1e-12


def test_pool_and_lists_grow_when_they_must() -> None:
    shape = Shape(T=40, chunk_size=2)
    inputs = softmax_inputs(shape, "ones")
    cache = cache_for(shape, pages=4, max_chunks=1)
    sizes = []
    for t in range(shape.T):
        step = {name: x[:, t : t + 1] for name, x in inputs.items() if name != "route"}
        _, cache = decode_softmax(step, 1 if t % 2 else 2, cache, impl="reference")
        sizes.append(cache.keys.shape[0])
        assert_every_page_has_one_owner(cache)
    assert cache.kept.tolist() == [[20, 20], [20, 20]]
    assert len(set(sizes)) < 10, "geometric growth copies seldom"
    assert sizes[-1] < 2 * softmax_decode.pages_in_use(cache)
    o, _ = decode_softmax(inputs, 2, cache_for(shape, pages=4, max_chunks=1), impl="reference")
    assert (o - oracle.chunk_softmax_attention(**inputs, chunk_size=2)).abs().max() < 1e-12


def test_allocated_pages_suffice_without_growing() -> None:
    shape = Shape(T=24, chunk_size=4)
    inputs = softmax_inputs(shape, "ones")
    cache = cache_for(shape, pages=shape.B * 2 * (shape.num_chunks + 1), max_chunks=shape.num_chunks)
    pools = [x.data_ptr() for x in cache[:9]]
    o, cache = decode_softmax(inputs, 4, cache, impl="reference")
    assert [x.data_ptr() for x in cache[:9]] == pools
    assert (o - oracle.chunk_softmax_attention(**inputs, chunk_size=4)).abs().max() < 1e-12


@pytest.mark.parametrize("limit", ["pages", "max_chunks"])
@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_exhaustion_is_never_silent(impl: Any, limit: str) -> None:
    """A close that finds no free page leaves the chunk full: growing helps, a further step gives NaN.

    As in a CUDA graph, every close has the bounds of the first, so that nothing grows.
    """
    shape = Shape(T=33, chunk_size=16, B=2, H=1, K=4, V=4)
    inputs = {name: x.detach() for name, x in softmax_inputs(shape, "ones", torch.float32).items()}
    q, k, v = (inputs[name] for name in ("q", "k", "v"))
    sizes: dict[str, int] = {"pages": 5, "max_chunks": 8} if limit == "pages" else {"pages": 8, "max_chunks": 1}
    cache = cache_for(shape, torch.float32, **sizes)
    for t in range(32):
        _, cache = chunk_softmax_attention_step(q[:, t], k[:, t], v[:, t], cache, impl="reference")
        softmax_decode.close_chunk(cache)
    served = [0, 16] if limit == "pages" else [16, 16]  # three closes for three free pages; or one close for each
    assert cache.fill.tolist() == served
    assert_every_page_has_one_owner(cache)
    saved = cache._replace(**{name: x.clone() for name, x in cache._asdict().items() if isinstance(x, Tensor)})

    pool = cache.keys.clone()
    for _ in range(2):  # and it stays so
        o, cache = chunk_softmax_attention_step(q[:, 32], k[:, 32], v[:, 32], cache, impl=impl)
        assert o.isnan().all(dim=(1, 2)).tolist() == [filled == 16 for filled in served]
    assert torch.equal(cache.keys[cache.open_page[1]], pool[cache.open_page[1]])
    assert cache.fill.tolist() == [17 if filled == 16 else 2 for filled in served]

    saved = softmax_decode.close_chunk(saved._replace(spare_pages=0, spare_chunks=0))
    assert saved.fill.tolist() == [0, 0]
    o, saved = chunk_softmax_attention_step(q[:, 32], k[:, 32], v[:, 32], saved, impl=impl)
    exact = oracle.chunk_softmax_attention(q.double(), k.double(), v.double(), chunk_size=16)[:, -1]
    assert (o - exact).abs().max() < 1e-6


def test_caches_of_different_lengths_are_joined() -> None:
    """Prompts alone, then steps together over several ends of chunks, at which few sequences end theirs."""
    shape, lengths = Shape(T=30, chunk_size=4, B=3, H=4, R=2), (1, 8, 14)
    inputs = {name: x.detach() for name, x in softmax_inputs(shape, "mixed").items()}
    q, k, v, route = (inputs[name] for name in ("q", "k", "v", "route"))
    alone = [
        softmax_decode.cache_of_prefill(
            k[b : b + 1, :n], v[b : b + 1, :n], route[b : b + 1, : -(-n // 4)], chunk_size=4
        )
        for b, n in enumerate(lengths)
    ]
    cache = softmax_decode.join_caches(alone)
    assert softmax_decode.pages_in_use(cache) == sum(map(softmax_decode.pages_in_use, alone))
    assert_every_page_has_one_owner(cache)
    sequences, outputs = torch.arange(3), []
    for step in range(16):
        at = torch.tensor(lengths) + step
        o, cache = chunk_softmax_attention_step(*(x[sequences, at] for x in (q, k, v)), cache)
        outputs.append(o)
        if ending := int(((at + 1) % 4 == 0).sum()):
            cache = softmax_decode.make_room(cache, ending)
            pools = [x.data_ptr() for x in cache[:9]]
            cache = softmax_decode.close_chunk(cache, route[sequences, at // 4], ending=ending)
            assert [x.data_ptr() for x in cache[:9]] == pools, "there was room"
        assert_every_page_has_one_owner(cache)
    whole = oracle.chunk_softmax_attention(**inputs, chunk_size=4)
    for b, n in enumerate(lengths):
        assert (torch.stack(outputs, dim=1)[b] - whole[b, n : n + 16]).abs().max() < 1e-12


def test_growing_without_memory_leaves_the_cache_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pool of 8 pages needs 2 more: 12 are tried, then 10. With memory again, the same call succeeds."""
    shape = Shape(T=12, chunk_size=2, B=1, H=2, R=2)
    inputs = {name: x.detach() for name, x in softmax_inputs(shape, "ones").items()}
    q, k, v = (inputs[name] for name in ("q", "k", "v"))
    cache, outputs, tried = cache_for(shape, pages=8), [], []
    concatenated, pages = torch.cat, 8

    def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
        if tensors[0].ndim == 4:
            tried.append(sum(map(len, tensors)))
            if tried[-1] > pages:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return concatenated(tensors, dim)

    monkeypatch.setattr(torch, "cat", cat)
    for t in range(shape.T):
        o, cache = chunk_softmax_attention_step(q[:, t], k[:, t], v[:, t], cache, impl="reference")
        outputs.append(o)
        if t == 7:
            for _ in range(2):
                with pytest.raises(
                    ValueError, match=r"from 8 to 10 pages of 2 tokens: .* free memory and repeat the call"
                ):
                    softmax_decode.close_chunk(cache)
        pages = {7: 10, 8: 100}.get(t, pages)
        if t % 2:
            cache = softmax_decode.close_chunk(cache)
            assert_every_page_has_one_owner(cache)
    assert tried[:7] == [12, 10, 12, 10, 12, 10, 10], "fewer pages are tried when memory is short"
    assert (torch.stack(outputs, dim=1) - oracle.chunk_softmax_attention(q, k, v, chunk_size=2)).abs().max() < 1e-12
