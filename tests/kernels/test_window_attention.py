"""Sliding-window attention against a dense masked softmax: both implementations, and decoding from a bounded cache."""

import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention
from nas.kernels.chunk_softmax_attention.reference import MIN_QUERY_BLOCK
from nas.kernels.chunk_softmax_attention.window_decode import (
    WindowCache,
    bytes_in_use,
    window_attention_step,
    window_cache_of_prefill,
)
from tests.kernels.cases import (
    Inputs,
    Shape,
    assert_all_close,
    assert_close_in_low_precision,
    results_and_gradients,
    softmax_inputs,
)
from tests.kernels.triton_cases import (
    CUDA,
    assert_as_exact_as_rounding_allows,
    assert_backward_repeats,
    assert_compiles,
    assert_layout_does_not_matter,
    assert_matches,
    assert_never_waits,
    assert_runs_are_identical,
    cast,
    on_cpu,
    on_gpu,
)

pytest.importorskip("triton")
from nas.kernels.chunk_softmax_attention import triton_op, triton_window
from nas.kernels.chunk_softmax_attention.triton_tiles import Launch

pytestmark = pytest.mark.filterwarnings(
    "ignore:(divide by zero|invalid value|All-NaN slice) encountered:RuntimeWarning"
)
reference: Any = functools.partial(chunk_softmax_attention, impl="reference")
attention: Any = functools.partial(chunk_softmax_attention, impl="triton")
EITHER = pytest.mark.parametrize("impl", ["reference", pytest.param("triton", marks=on_cpu)])

SMALL = Shape(T=75, chunk_size=16, B=1, K=12, V=20)
"""Ragged, with several tiles and odd head dims."""


@pytest.fixture(autouse=True)
def small_tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use tiles in the interpreter that are smaller than most windows; a GPU gets the chosen tiles."""
    if "gpu" not in request.keywords:
        set_tiles(monkeypatch, (32, 16), (16, 32))


def set_tiles(monkeypatch: pytest.MonkeyPatch, forward: tuple[int, int], backward: tuple[int, int]) -> None:
    for name, sizes in (("choose_forward_launch", forward), ("choose_backward_launch", backward)):
        monkeypatch.setattr(triton_window, name, lambda *_, sizes=sizes: Launch(*sizes, warps=4, stages=2))


def in_window(length: int, window: int, device: torch.device) -> Tensor:
    """Return [T, T] bool: whether query i sees key j."""
    i, j = torch.arange(length, device=device)[:, None], torch.arange(length, device=device)[None]
    return (j <= i) & (i - j < window)


def masked_softmax(q: Tensor, k: Tensor, v: Tensor, *, window: int, scale: float | None = None) -> Tensor:
    """Compute the definition as one dense matrix of scores."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    s = scale * torch.einsum("bihk,bjhk->bhij", q, k)
    p = s.masked_fill(~in_window(q.shape[1], window, q.device), -math.inf).softmax(-1)
    return torch.einsum("bhij,bjhv->bihv", p, v)


def rounded_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int) -> Tensor:
    """Compute the definition with probabilities rounded to the dtype of v before the product, as tensor cores do."""
    s = torch.einsum("bihk,bjhk->bhij", q, k).float() * q.shape[-1] ** -0.5
    p = s.masked_fill(~in_window(q.shape[1], window, q.device), -math.inf).softmax(-1)
    return torch.einsum("bhij,bjhv->bihv", p.to(v.dtype), v)


def inputs_of(shape: Shape = SMALL, dtype: torch.dtype = torch.float32) -> Inputs:
    return softmax_inputs(shape, "none", dtype)


def cotangents_for(shape: Shape = SMALL) -> list[Tensor]:
    return [torch.randn(shape.B, shape.T, shape.H, shape.V, dtype=torch.float64)]


# Against the definition


@pytest.mark.parametrize("window", [1, 7, 16, 64, 100, 500])
@pytest.mark.parametrize("length", [1, 63, 75, 3 * MIN_QUERY_BLOCK + 5], ids="T{}".format)
def test_reference_matches_definition(length: int, window: int) -> None:
    shape = Shape(T=length, chunk_size=16)
    inputs, cotangents = inputs_of(shape, torch.float64), cotangents_for(shape)
    results, gradients = results_and_gradients(functools.partial(reference, window=window), inputs, cotangents)
    definition = functools.partial(masked_softmax, window=window)
    expected, expected_gradients = results_and_gradients(definition, inputs, cotangents)
    assert_all_close(results, expected, atol=1e-10)
    assert_all_close(gradients, expected_gradients, atol=1e-10)


@on_cpu
@pytest.mark.parametrize(
    ("length", "window"),
    [(63, 1), (75, 7), (75, 16), (75, 47), (63, 48)],  # the last two end one token before and at a tile's edge
)
def test_triton_matches_definition(length: int, window: int) -> None:
    shape = Shape(T=length, chunk_size=16, B=1, K=12, V=20)
    definition = functools.partial(masked_softmax, window=window)
    assert_matches(functools.partial(attention, window=window), definition, inputs_of(shape), cotangents_for(shape))


@on_cpu
@pytest.mark.parametrize("tiles", [((16, 16), (16, 16)), ((64, 16), (16, 64))], ids=str)
@pytest.mark.parametrize("window", [9, 33])
def test_triton_tiles(monkeypatch: pytest.MonkeyPatch, window: int, tiles: tuple[tuple[int, int], ...]) -> None:
    set_tiles(monkeypatch, *tiles)
    definition = functools.partial(masked_softmax, window=window)
    assert_matches(functools.partial(attention, window=window), definition, inputs_of(), cotangents_for())


@on_cpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_triton_chosen_tiles(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """The tiles of a GPU, with a value dim wide enough to be split."""
    monkeypatch.undo()
    shape = Shape(T=70, chunk_size=16, B=1, H=1, K=20, V=300)
    assert_low_precision(inputs_of(shape, dtype), [cotangents_for(shape)[0].to(dtype)], window=20)


@on_cpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_triton_low_precision(dtype: torch.dtype) -> None:
    assert_low_precision(inputs_of(dtype=dtype), [cotangents_for()[0].to(dtype)], window=16)


def assert_low_precision(inputs: Inputs, cotangents: list[Tensor], window: int) -> None:
    operations = (functools.partial(x, window=window) for x in (attention, rounded_attention, masked_softmax))
    assert_as_exact_as_rounding_allows(*operations, inputs, cotangents)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_reference_low_precision(dtype: torch.dtype) -> None:
    inputs, cotangents = inputs_of(dtype=dtype), [cotangents_for()[0].to(dtype)]
    results, gradients = results_and_gradients(functools.partial(reference, window=16), inputs, cotangents)
    definition = functools.partial(masked_softmax, window=16)
    exact, naive = (
        results_and_gradients(definition, cast(inputs, to), cotangents) for to in (torch.float64, torch.float32)
    )
    assert results["o"].dtype == dtype
    assert_close_in_low_precision(results, exact[0], naive[0], dtype)
    assert_close_in_low_precision(gradients, exact[1], naive[1], dtype)


@EITHER
@pytest.mark.parametrize("scale", [0.7, -0.3, 0.0])
def test_scale_multiplies_the_scores(scale: float, impl: Any) -> None:
    inputs = inputs_of()
    actual = chunk_softmax_attention(**inputs, window=20, scale=scale, impl=impl)
    torch.testing.assert_close(actual, masked_softmax(**inputs, window=20, scale=scale), rtol=0, atol=1e-5)


@EITHER
@pytest.mark.parametrize("window", [30, 10**12])
def test_window_as_long_as_the_sequence_is_causal_attention(window: int, impl: Any) -> None:
    shape = Shape(T=30, chunk_size=16, B=1, K=12, V=20)
    inputs, cotangents = inputs_of(shape), cotangents_for(shape)
    runs = (
        results_and_gradients(functools.partial(chunk_softmax_attention, impl=impl, **options), inputs, cotangents)
        for options in ({"window": window, "chunk_size": 3}, {"chunk_size": 16})
    )
    for actual, expected in zip(*runs, strict=True):
        assert_all_close(actual, expected, atol=1e-6)  # the order of Triton's sums of dq varies


@EITHER
def test_chunk_size_has_no_effect(impl: Any) -> None:
    inputs = inputs_of()
    first, *others = (
        chunk_softmax_attention(**inputs, window=20, chunk_size=chunk_size, impl=impl) for chunk_size in (1, 16, 200)
    )
    assert all(torch.equal(first, other) for other in others)


# What a query sees


@EITHER
@pytest.mark.parametrize("window", [1, 20])
def test_a_token_moves_the_outputs_of_its_window_alone(window: int, impl: Any) -> None:
    inputs = {name: x.detach() for name, x in inputs_of().items()}
    before = chunk_softmax_attention(**inputs, window=window, impl=impl)
    for t in (0, 31, 32):
        changed = {name: x.clone() for name, x in inputs.items()}
        for x in changed.values():
            x[:, t] += 1.0
        moved = (chunk_softmax_attention(**changed, window=window, impl=impl) - before).abs().amax((0, 2, 3))
        assert (moved[:t] == 0).all(), "an earlier output moved"
        assert (moved[t : t + window] > 1e-5).all()
        assert (moved[t + window :] == 0).all(), "an output moved although the token had left its window"


@EITHER
def test_far_keys_are_never_loaded(impl: Any) -> None:
    """NaN far behind the window leaves later blocks of queries unchanged: those keys are never loaded."""
    shape, window = Shape(T=3 * MIN_QUERY_BLOCK, chunk_size=16, B=1, H=1, K=16, V=16), 16
    inputs, later = inputs_of(shape), 2 * MIN_QUERY_BLOCK
    cotangent = torch.randn(1, shape.T, 1, 16)

    def later_results() -> list[Tensor]:
        o = chunk_softmax_attention(**inputs, window=window, impl=impl)
        gradients = torch.autograd.grad(o, list(inputs.values()), cotangent)
        return [x[:, later:] for x in (o, *gradients)]

    expected = later_results()
    with torch.no_grad():
        for x in inputs.values():
            x[:, : later - MIN_QUERY_BLOCK] = torch.nan
    for actual, before in zip(later_results(), expected, strict=True):
        torch.testing.assert_close(actual, before, rtol=0, atol=1e-6)


FAR_APART = pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-2), (torch.bfloat16, 5e-2)], ids=str)


@on_cpu
@FAR_APART
def test_scores_far_apart(dtype: torch.dtype, atol: float) -> None:
    check_far_apart(inputs_of(dtype=dtype), atol)


def check_far_apart(inputs: Inputs, atol: float) -> None:
    """With scores of thousands the softmax is one-hot, and nothing overflows."""
    with torch.no_grad():
        inputs["q"] *= 1e3
    o = attention(**inputs, window=20)
    assert all(x.isfinite().all() for x in (o, *torch.autograd.grad(o.sum(), list(inputs.values()))))
    expected = masked_softmax(**cast(inputs, torch.float64), window=20)
    torch.testing.assert_close(o.double(), expected, rtol=0, atol=atol)


# As a part of PyTorch


@EITHER
def test_memory_layout_does_not_matter(impl: Any) -> None:
    operation = functools.partial(chunk_softmax_attention, window=20, impl=impl)
    shape = Shape(T=35, chunk_size=16, B=1, K=12, V=20)
    assert_layout_does_not_matter(operation, inputs_of(shape), cotangents_for(shape))


@EITHER
def test_backward_twice_and_through_a_checkpoint(impl: Any) -> None:
    inputs = inputs_of(Shape(T=40, chunk_size=16, B=1, H=1, K=16, V=16))
    assert_backward_repeats(functools.partial(chunk_softmax_attention, window=20, impl=impl), inputs)


@EITHER
def test_autocast(impl: Any) -> None:
    """The Triton kernels use autocast's dtype; the reference keeps its own."""
    inputs = inputs_of(Shape(T=35, chunk_size=16, B=1, H=1, K=16, V=16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o = chunk_softmax_attention(**inputs, window=20, impl=impl)
    rounded = {name: x.bfloat16() for name, x in inputs.items()} if impl == "triton" else inputs
    assert torch.equal(o, chunk_softmax_attention(**rounded, window=20, impl=impl))
    gradients = torch.autograd.grad(o.sum(), list(inputs.values()))
    assert all(x.isfinite().all() and x.dtype == torch.float32 for x in gradients)


@on_cpu
def test_compiles_into_one_graph() -> None:
    inputs = inputs_of(Shape(T=20, chunk_size=16, B=1, H=1, K=16, V=16))

    def operation(**inputs: Tensor) -> Tensor:
        return attention(**inputs, window=9) * 2

    assert_compiles(operation, inputs, [torch.randn(1, 20, 1, 16)])


@on_cpu
def test_operators_keep_their_contracts() -> None:
    tensors = list(inputs_of(Shape(T=20, chunk_size=16, B=1, H=1, K=16, V=16)).values())
    torch.library.opcheck(triton_op._window_forward.registered, (*tensors, 9, 0.25, None))
    detached = [x.detach() for x in tensors]
    o, lse = triton_op._window_forward(*detached, 9, 0.25, None)
    torch.library.opcheck(
        triton_op._window_backward.registered, (torch.randn_like(o), *detached, o, lse, 9, 0.25, None)
    )


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"window": 0}, ("window=0", "integer of at least 1")),
        ({"window": -3}, ("window=-3", "integer of at least 1")),
        ({"window": 2.0}, ("window=2.0", "integer of at least 1")),
        ({"window": True}, ("window=True", "integer of at least 1")),
        ({"window": 8, "route": torch.ones(1, 5, 2)}, ("route", "[1, 5, 2]", "window=8", "route=None")),
        ({"window": 8, "impl": "cuda"}, ("impl='cuda'", "auto, reference, triton")),
        ({"window": 8, "chunk_size": 0}, ("chunk_size=0", "integer of at least 1")),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, dict) else "",
)
def test_wrong_argument(options: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        chunk_softmax_attention(**inputs_of(), **({"chunk_size": 16} | options))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


# Decoding


def decode(inputs: Inputs, cache: WindowCache, start: int = 0, impl: Any = "auto") -> tuple[Tensor, WindowCache]:
    """Decode tokens ``start`` and later; returns o [B, T - start, H, V] and the cache."""
    outputs = []
    for t in range(start, inputs["q"].shape[1]):
        o, cache = window_attention_step(*(inputs[name][:, t] for name in "qkv"), cache, impl=impl)
        outputs.append(o)
    return torch.stack(outputs, dim=1), cache


def cache_for(
    shape: Shape, window: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> WindowCache:
    """Return the cache before the first token."""
    keys, values = (
        torch.zeros(shape.B, shape.H, window, size, dtype=dtype, device=device) for size in (shape.K, shape.V)
    )
    return WindowCache(keys, values, torch.zeros(shape.B, dtype=torch.int64, device=device))


@pytest.mark.parametrize("window", [1, 7, 16, 40])
def test_decoding_equals_the_whole(window: int) -> None:
    shape = Shape(T=30, chunk_size=16)
    inputs = inputs_of(shape, torch.float64)
    o, cache = decode(inputs, cache_for(shape, window))
    assert (o - reference(**inputs, window=window)).abs().max() < 1e-12
    assert cache.window == window
    assert not o.requires_grad


@pytest.mark.parametrize("prefix", [1, 5, 7, 8, 14, 29], ids="{} tokens first".format)
@pytest.mark.parametrize("window", [1, 7, 40])
def test_decoding_after_a_prefill(window: int, prefix: int) -> None:
    shape = Shape(T=30, chunk_size=16)
    inputs = inputs_of(shape, torch.float64)
    cache = window_cache_of_prefill(inputs["k"][:, :prefix], inputs["v"][:, :prefix], window=window)
    _, stepped = decode({name: x[:, :prefix] for name, x in inputs.items()}, cache_for(shape, window))
    assert all(torch.equal(a, b) for a, b in zip(cache, stepped, strict=True))
    o, _ = decode(inputs, cache, start=prefix)
    assert (o - reference(**inputs, window=window)[:, prefix:]).abs().max() < 1e-12


@on_cpu
@pytest.mark.parametrize("window", [1, 7, 40])
def test_triton_steps(window: int) -> None:
    """The kernels write the same cache as the reference, from an empty one on."""
    shape = Shape(T=18, chunk_size=16, B=2, H=2, K=12, V=20)
    inputs = {name: x.detach() for name, x in inputs_of(shape).items()}
    o, cache = decode(inputs, cache_for(shape, window, torch.float32), impl="triton")
    exact = masked_softmax(**cast(inputs, torch.float64), window=window)
    assert (o - exact).abs().max() < 2e-6
    _, expected = decode(inputs, cache_for(shape, window, torch.float32), impl="reference")
    assert all(torch.equal(a, b) for a, b in zip(cache, expected, strict=True))


@on_cpu
@pytest.mark.parametrize("length", [257, 258, 514, 600, 850])
@pytest.mark.parametrize("window", [257, 600])
def test_triton_steps_with_rings_in_splits(window: int, length: int) -> None:
    """The last token comes after a prefill: the ring is full or not, and the slot written may be a tile of its own."""
    check_last_step(length, window, torch.float32, "cpu", 2e-6)


def check_last_step(length: int, window: int, dtype: torch.dtype, device: str, atol: float) -> None:
    shape = Shape(T=length, chunk_size=16, B=2, H=2, K=8, V=16)
    inputs = {name: x.detach().to(device) for name, x in inputs_of(shape, dtype).items()}
    q = torch.randn(2, 4, 8).to(inputs["q"])  # two heads for each of k and v
    cache = window_cache_of_prefill(inputs["k"][:, :-1], inputs["v"][:, :-1], window=window)
    o, cache = window_attention_step(q, inputs["k"][:, -1], inputs["v"][:, -1], cache, impl="triton")
    k, v = (inputs[name][:, -window:].double().repeat_interleave(2, dim=2) for name in "kv")
    p = (torch.einsum("bhk,bthk->bht", q.double(), k) * 8**-0.5).softmax(-1)
    assert (o - torch.einsum("bht,bthv->bhv", p, v)).abs().max() < atol
    assert cache.seen.tolist() == [length, length]


def test_bytes_are_bounded_by_the_window() -> None:
    shape = Shape(T=50, chunk_size=16)
    inputs = {name: x.detach() for name, x in inputs_of(shape).items()}
    cache = cache_for(shape, 8, torch.float32)
    buffers = [x.data_ptr() for x in cache]
    of_token = shape.B * shape.H * (shape.K + shape.V) * 4
    for t in range(shape.T):
        _, cache = window_attention_step(*(inputs[name][:, t] for name in "qkv"), cache)
        assert bytes_in_use(cache) == of_token * min(t + 1, 8)
    assert [x.data_ptr() for x in cache] == buffers
    prefilled = window_cache_of_prefill(inputs["k"], inputs["v"], window=8)
    assert bytes_in_use(prefilled) == 8 * of_token == sum(x.numel() * 4 for x in prefilled[:2])


def test_low_precision_cache() -> None:
    shape = Shape(T=30, chunk_size=16)
    inputs = cast(inputs_of(shape), torch.bfloat16)
    o, cache = decode(inputs, cache_for(shape, 8, torch.bfloat16))
    assert o.dtype == cache.keys.dtype == torch.bfloat16
    expected = masked_softmax(**cast(inputs, torch.float64), window=8)
    assert (o - expected).abs().max() <= torch.finfo(torch.bfloat16).eps * expected.abs().max()
    in_float32 = window_cache_of_prefill(inputs["k"], inputs["v"], window=8, dtype=torch.float32)
    assert in_float32.keys.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("q", torch.zeros(2, 1, 2, 5), ("[2, 1, 2, 5]", "[B, H, K] of the cache")),
        ("k", torch.zeros(2, 2, 6), ("[2, 2, 6]", "[2, 2, 5]")),
        ("v", torch.zeros(2, 2, 3, dtype=torch.float64), ("float64", "float32")),
    ],
    ids=["time axis", "other K", "double"],
)
def test_wrong_token(name: str, value: Tensor, parts: tuple[str, ...]) -> None:
    cache = cache_for(Shape(T=1, chunk_size=1), 4, torch.float32)
    given = {"q": torch.zeros(2, 2, 5), "k": torch.zeros(2, 2, 5), "v": torch.zeros(2, 2, 3)} | {name: value}
    with pytest.raises(ValueError) as caught:
        window_attention_step(**given, cache=cache)
    assert all(part in str(caught.value) for part in (name, *parts)), str(caught.value)
    assert cache.seen.tolist() == [0, 0]


def test_wrong_cache() -> None:
    with pytest.raises(ValueError, match=r"window=0 .* at least 1"):
        window_cache_of_prefill(torch.zeros(1, 4, 2, 4), torch.zeros(1, 4, 2, 4), window=0)
    with pytest.raises(ValueError, match=r"v has shape \[1, 3, 2, 4\].*\[B, T, H\] = \[1, 4, 2\]"):
        window_cache_of_prefill(torch.zeros(1, 4, 2, 4), torch.zeros(1, 3, 2, 4), window=2)
    with pytest.raises(ValueError, match=r"dtype=torch.int64 .* floating-point"):
        window_cache_of_prefill(torch.zeros(1, 4, 2, 4), torch.zeros(1, 4, 2, 4), window=2, dtype=torch.int64)


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    "dims", [(64, 128), (128, 128), (96, 192), (128, 256), (256, 512), (20, 12), (16, 16)], ids=str
)
def test_gpu_head_dims(dims: tuple[int, int], dtype: torch.dtype) -> None:
    check_on_gpu(Shape(T=1000, chunk_size=64, B=2, H=2, K=dims[0], V=dims[1]), dtype, window=200)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("window", [2, 7, 64, 127, 512, 3000])
@pytest.mark.parametrize("length", [63, 129, 4096], ids="T{}".format)
def test_gpu_windows(length: int, window: int, dtype: torch.dtype) -> None:
    check_on_gpu(Shape(T=length, chunk_size=64, B=1, H=4, K=64, V=128), dtype, window)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("length", [63, 129, 4096], ids="T{}".format)
def test_gpu_a_window_of_one_token_returns_its_value(length: int, dtype: torch.dtype) -> None:
    """The gradients of q and k are 0: only the rounding of two equal terms remains."""
    shape = Shape(T=length, chunk_size=64, B=1, H=4, K=64, V=128)
    inputs, cotangents = on_gpu(softmax_inputs, shape, "none", dtype)
    results, gradients = results_and_gradients(functools.partial(attention, window=1), inputs, cotangents)
    torch.testing.assert_close(*results.values(), inputs["v"].detach(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(gradients["v"], cotangents[0], rtol=1e-2, atol=1e-2)
    assert max(float(gradients[name].abs().max()) for name in ("q", "k")) < 1e-4


def check_on_gpu(shape: Shape, dtype: torch.dtype, window: int) -> None:
    assert_low_precision(*on_gpu(softmax_inputs, shape, "none", dtype), window)


@pytest.mark.gpu
@FAR_APART
@pytest.mark.parametrize("dims", [(64, 128), (256, 512)], ids=str)
def test_gpu_scores_far_apart(dims: tuple[int, int], dtype: torch.dtype, atol: float) -> None:
    shape = Shape(T=500, chunk_size=64, B=1, H=4, K=dims[0], V=dims[1])
    check_far_apart(on_gpu(softmax_inputs, shape, "none", dtype)[0], atol)


@pytest.mark.gpu
def test_gpu_runs_are_identical_but_for_dq_and_never_wait() -> None:
    shape = Shape(T=4096, chunk_size=64, B=1, H=12, K=64, V=128)
    inputs, cotangents = on_gpu(softmax_inputs, shape, "none", torch.bfloat16)
    operation = functools.partial(attention, window=512)
    assert_runs_are_identical(operation, inputs, cotangents, except_for=("q",))
    assert_never_waits(operation, inputs)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("length", [5, 257, 5000])
@pytest.mark.parametrize("window", [1, 64, 257, 512, 4096])
def test_gpu_steps(window: int, length: int, dtype: torch.dtype) -> None:
    check_last_step(length, window, dtype, "cuda", 4 * max(torch.finfo(dtype).eps, 1e-6))


@pytest.mark.gpu
def test_gpu_steps_in_a_cuda_graph() -> None:
    """One captured step, replayed for every token, equals the whole sequence."""
    shape, window = Shape(T=300, chunk_size=64, B=2, H=4, K=64, V=128), 100
    inputs = {name: x.detach() for name, x in on_gpu(softmax_inputs, shape, "none", torch.bfloat16)[0].items()}
    cache = cache_for(shape, window, torch.bfloat16, CUDA)
    token = [inputs[name][:, 0].clone() for name in "qkv"]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        window_attention_step(*token, cache)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        o, _ = window_attention_step(*token, cache)
    for buffer in cache:
        buffer.zero_()
    outputs = []
    for t in range(shape.T):
        for buffer, name in zip(token, "qkv", strict=True):
            buffer.copy_(inputs[name][:, t])
        graph.replay()
        outputs.append(o.clone())
    exact = masked_softmax(**cast(inputs, torch.float64), window=window)
    assert (torch.stack(outputs, dim=1) - exact).abs().max() <= torch.finfo(torch.bfloat16).eps * exact.abs().max()
