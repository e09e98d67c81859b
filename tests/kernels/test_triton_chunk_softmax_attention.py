"""Routed softmax attention on Triton: interpreted on the CPU against the oracle, and at real shapes on a GPU."""

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels import chunk_softmax_attention
from tests.kernels import oracle
from tests.kernels.cases import ROUTES, Inputs, Shape, results_and_gradients, softmax_inputs, with_tiny_route
from tests.kernels.triton_cases import (
    ATOL,
    CUDA,
    assert_as_exact_as_rounding_allows,
    assert_backward_repeats,
    assert_compiles,
    assert_graph_replays,
    assert_layout_does_not_matter,
    assert_matches,
    assert_never_waits,
    assert_runs_are_identical,
    cast,
    exact_results,
    on_cpu,
    on_gpu,
    require_memory,
)

pytest.importorskip("triton")
from nas.kernels.chunk_softmax_attention import (
    triton_backward,
    triton_forward,
    triton_op,
    triton_own_chunks,
    triton_skipped,
)
from nas.kernels.chunk_softmax_attention.triton_tiles import Launch

pytestmark = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow) encountered:RuntimeWarning")
attention: Any = functools.partial(chunk_softmax_attention, impl="triton")

TILES = (((32, 16), (16, 32)), ((16, 16), (16, 16)), ((64, 32), (32, 64)))
"""(queries, keys) of the forward and the backward pass: smaller than, as large as and larger than a chunk.

Within chunks the backward pass has as many keys as queries.
"""

SHAPES = (
    Shape(T=1, chunk_size=16, K=16, V=16),
    Shape(T=70, chunk_size=16, B=1, K=12, V=20),
    Shape(T=64, chunk_size=32, H=1, K=16, V=32),
    Shape(T=53, chunk_size=16, B=1, H=4, R=2, K=4, V=8),
    Shape(T=70, chunk_size=64, B=1, H=1, K=16, V=16),
)
"""One token, ragged with odd head dims, whole and a batch, grouped heads, chunks longer than every tile."""

TILED = tuple(
    (tiles, shape, ("none", "mixed")[(row + column) % 2])
    for row, tiles in enumerate(TILES)
    for column, shape in enumerate(SHAPES)
)
"""Every shape in tiles of every size, and each of both with and without a route: tiles, shape, route."""


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    set_tiles(monkeypatch, *TILES[0])


def set_tiles(monkeypatch: pytest.MonkeyPatch, forward: tuple[int, int], backward: tuple[int, int]) -> None:
    for module, sizes in (
        (triton_forward, forward),
        (triton_own_chunks, (backward[0], backward[0])),
        (triton_backward, backward),
        (triton_skipped, backward),
    ):
        monkeypatch.setattr(module, "choose_launch", lambda *_, sizes=sizes: Launch(*sizes, warps=4, stages=2))


def cotangents_for(shape: Shape) -> list[Tensor]:
    return [torch.randn(shape.B, shape.T, shape.H, shape.V, dtype=torch.float64)]


def definition_of(shape: Shape) -> Any:
    return functools.partial(oracle.chunk_softmax_attention, chunk_size=shape.chunk_size)


def assert_matches_oracle(shape: Shape, route: str, route_grad: str) -> None:
    operation = functools.partial(attention, chunk_size=shape.chunk_size)
    inputs = softmax_inputs(shape, route, torch.float32)
    assert_matches(operation, definition_of(shape), inputs, cotangents_for(shape), route_grad)


@on_cpu
@pytest.mark.parametrize(("tiles", "shape", "route"), TILED, ids=str)
def test_matches_oracle(
    tiles: tuple[tuple[int, int], ...], shape: Shape, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tiles(monkeypatch, *tiles)
    assert_matches_oracle(shape, route, "full")


@on_cpu
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
    ("route", "route_grad"),
    [*((kind, "full") for kind in ROUTES), *((kind, "selected") for kind in ("zeros", "hard", "mixed"))],
)
def test_every_kind_of_route(route: str, route_grad: str) -> None:
    assert_matches_oracle(SHAPES[1], route, route_grad)


@on_cpu
@pytest.mark.parametrize(
    ("block", "route", "route_grad"),
    [
        *((16, "zeros", "full"), (16, "ones", "selected"), (16, "mixed", "full")),
        *((32, "zeros", "selected"), (32, "ones", "full"), (32, "mixed", "selected")),
        *((64, "zeros", "full"), (64, "ones", "selected"), (64, "mixed", "full")),
    ],
)
def test_blocks_within_chunks(monkeypatch: pytest.MonkeyPatch, block: int, route: str, route_grad: str) -> None:
    """A chunk has several blocks, one of them past the end; one block; or a block has several chunks."""
    set_tiles(monkeypatch, TILES[0][0], (block, 64))
    assert_matches_oracle(Shape(T=70, chunk_size=32, B=1, H=2, R=1, K=12, V=20), route, route_grad)


@on_cpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_chosen_tiles(dtype: torch.dtype) -> None:
    """The tiles of a GPU, larger than the sequence, with a value dim wide enough to be split."""
    shape = Shape(T=40, chunk_size=16, B=1, H=1, K=20, V=300)
    inputs, cotangents = cast(softmax_inputs(shape, "mixed"), dtype), cotangents_for(shape)
    operation = functools.partial(attention, chunk_size=16, route_grad="full")
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    expected = exact_results(definition_of(shape), inputs, cotangents)
    for actual, exact in ((results, expected[0]), (gradients, expected[1])):
        for name, value in exact.items():
            assert actual[name].dtype == dtype
            assert (actual[name] - value).abs().max() <= 8 * torch.finfo(dtype).eps * max(1.0, value.abs().max())


@on_cpu
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("route", ["none", "fractional"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision(dtype: torch.dtype, route: str) -> None:
    """Errors are at most twice those of the same products and roundings in PyTorch (`rounded_attention`)."""
    shape = SHAPES[1]
    assert_low_precision(cast(softmax_inputs(shape, route), dtype), [cotangents_for(shape)[0].to(dtype)], 16)


def rounded_attention(q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None, *, chunk_size: int) -> Tensor:
    """Compute the definition with probabilities rounded to the dtype of v before the product, as tensor cores do.

    Its gradient by autograd is rounded where the kernels round it: before the products with q and k.
    """
    e = weighted_scores(q, k, route, chunk_size)
    p = e / e.sum(-1, keepdim=True)
    return torch.einsum("bhij,bjhv->bihv", p.to(v.dtype), v)


def weighted_scores(q: Tensor, k: Tensor, route: Tensor | None, chunk_size: int) -> Tensor:
    """Return w exp(s) [B, H, T, T], each row relative to its largest s."""
    w = pair_weights(q, route, chunk_size).float()
    s = torch.einsum("bihk,bjhk->bhij", q, k).float() * q.shape[-1] ** -0.5
    return w * (s - s.detach().masked_fill(w == 0, -torch.inf).amax(-1, keepdim=True)).exp()


def pair_weights(q: Tensor, route: Tensor | None, chunk_size: int) -> Tensor:
    """Return w of the definition, float64 [B, H, T, T], or [T, T] without a route."""
    position = torch.arange(q.shape[1], device=q.device)
    chunk = position // chunk_size
    earlier = (chunk[:, None] > chunk).double()
    own = ((chunk[:, None] == chunk) & (position[:, None] >= position)).double()
    if route is None:
        return own + earlier
    per_head = route.double().mT.repeat_interleave(q.shape[2] // route.shape[2], 1)
    return own + per_head[:, :, None, chunk] * earlier


def deviation_by_output(inputs: Inputs, do: Tensor, chunk_size: int) -> Tensor:
    """Return the standard deviation of the route's gradient that rounding o causes, [B, N, R].

    That gradient is sum e^{s - lse} (do . v - do . o). For skipped chunks e^{s - lse} has no bound. It may be so large
    for a few queries that the rounding of their o decides the error.
    """
    q, k, v, route = (x.detach().double() for x in inputs.values())
    spacing = torch.finfo(inputs["v"].dtype).eps
    o = chunk_softmax_attention(q, k, v, route, chunk_size=chunk_size, impl="reference")
    of_query = (do.double() * o).norm(dim=-1).mT * spacing / 12**0.5  # [B, H, T]
    s = torch.einsum("bihk,bjhk->bhij", q, k) * q.shape[-1] ** -0.5
    lse = (s + pair_weights(q, route, chunk_size).log()).logsumexp(-1, keepdim=True)
    chunk = torch.arange(q.shape[1], device=q.device) // chunk_size
    e = torch.where(chunk[:, None] > chunk, (s - lse).exp(), 0.0)
    padded = F.pad(e, (0, route.shape[1] * chunk_size - q.shape[1]))
    of_chunk = padded.unflatten(-1, (-1, chunk_size)).sum(-1) * of_query[..., None]  # [B, H, T, N]
    by_head = of_chunk.square().sum(2).unflatten(1, (route.shape[2], -1)).sum(2)
    return by_head.mT.sqrt()


def assert_low_precision(inputs: Inputs, cotangents: list[Tensor], chunk_size: int) -> None:
    operation = functools.partial(attention, chunk_size=chunk_size, route_grad="full")
    usual = functools.partial(rounded_attention, chunk_size=chunk_size)
    definition = functools.partial(chunk_softmax_attention, chunk_size=chunk_size, route_grad="full", impl="reference")
    deviations = {"route": deviation_by_output(inputs, cotangents[0], chunk_size)} if "route" in inputs else None
    assert_as_exact_as_rounding_allows(operation, usual, definition, inputs, cotangents, deviations=deviations)


@on_cpu
@pytest.mark.usefixtures("small_tiles")
def test_memory_layout_does_not_matter() -> None:
    operation = functools.partial(attention, chunk_size=16, route_grad="full")
    assert_layout_does_not_matter(
        operation, softmax_inputs(SHAPES[1], "mixed", torch.float32), cotangents_for(SHAPES[1])
    )


@on_cpu
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("scale", [0.7, -0.3, 0.0])
def test_scale_multiplies_the_scores(scale: float) -> None:
    inputs = softmax_inputs(SHAPES[1], "mixed", torch.float32)
    actual = attention(**inputs, chunk_size=16, scale=scale)
    expected = oracle.chunk_softmax_attention(**inputs, chunk_size=16, scale=scale)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@on_cpu
@pytest.mark.usefixtures("small_tiles")
def test_later_queries_never_load_a_skipped_chunk() -> None:
    """NaN in a skipped chunk leaves later tiles of queries unchanged: the chunk is never loaded."""
    shape = Shape(T=70, chunk_size=16, B=1, K=16, V=16)
    inputs = softmax_inputs(shape, "hard", torch.float32)
    with torch.no_grad():
        inputs["route"][:, 0] = 0.0  # tokens 0 to 15, in the tile of the queries 0 to 31
    later, cotangent = 32, torch.randn(1, 70, 2, 16)
    operation = functools.partial(attention, chunk_size=16, route_grad="selected")

    def later_results(inputs: Inputs) -> list[Tensor]:
        o = operation(**inputs)
        gradients = torch.autograd.grad(o, list(inputs.values()), cotangent)
        return [x[:, later:] for x in (o, *gradients[:3])] + [gradients[3][:, 2:]]

    expected = later_results(inputs)
    with torch.no_grad():
        for name in ("k", "v"):
            inputs[name][:, :16] = torch.nan
    for actual, before in zip(later_results(inputs), expected, strict=True):
        assert torch.equal(actual, before)


@on_cpu
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(("peak", "route_grad"), [(1e2, "full"), (1e30, "full"), (1e30, "selected")])
def test_skipped_chunk_with_far_larger_scores(route_grad: str, peak: float) -> None:
    """Later queries ignore the skipped chunk, however large its scores."""
    first, shape = 16, Shape(T=70, chunk_size=16, B=1, K=16, V=16)
    inputs = {name: x.detach() for name, x in softmax_inputs(shape, "fractional", torch.float32).items()}
    inputs["q"][..., 0] = 1.0
    inputs["k"][:, :first, :, 0] = peak
    inputs["route"][:, 0] = 0.0
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}
    o = attention(**leaves, chunk_size=first, route_grad=route_grad)
    gradients = torch.autograd.grad(o[:, first:].sum(), list(leaves.values()))
    assert all(x.isfinite().all() for x in (o, *gradients))
    starts = {"q": first, "k": first, "v": first, "route": 1}
    without = {name: x.detach()[:, starts[name] :].requires_grad_() for name, x in leaves.items()}
    o_without = attention(**without, chunk_size=first, route_grad=route_grad)
    expected = torch.autograd.grad(o_without.sum(), list(without.values()))
    torch.testing.assert_close(o[:, first:], o_without, rtol=ATOL, atol=ATOL)
    for name, gradient, gradient_without in zip(without, gradients, expected, strict=True):
        torch.testing.assert_close(gradient[:, starts[name] :], gradient_without, rtol=ATOL, atol=ATOL)
    assert all((gradient[:, :first] == 0).all() for gradient in gradients[1:3])


@on_cpu
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("route", [1e-25, 1e-35, 1e-39])
def test_a_tiny_route_of_a_chunk_with_large_scores(route: float) -> None:
    shape = Shape(T=40, chunk_size=16, B=1, K=16, V=16)
    check_tiny_route(softmax_inputs(shape, "fractional", torch.float32), 16, route)


def check_tiny_route(inputs: Inputs, chunk_size: int, route: float) -> None:
    """Values and gradients are those of the definition; a route that is no normal number counts as 0."""
    given = with_tiny_route(inputs, chunk_size, route, scale=0.25)
    options = {"chunk_size": chunk_size, "scale": 0.25}
    cotangents = [torch.randn_like(inputs["v"])]
    operation = functools.partial(attention, **options, route_grad="full")
    found = results_and_gradients(operation, given, cotangents)
    if route > 1e-38:
        definition = functools.partial(oracle.chunk_softmax_attention, **options)
        exact = results_and_gradients(definition, cast(given, torch.float64), cotangents)
    else:
        exact = results_and_gradients(operation, with_tiny_route(inputs, chunk_size, 0.0, scale=0.25), cotangents)
    for actual, expected in zip(found, exact, strict=True):
        for name, value in expected.items():
            tiny = 1 if name == "route" else 0  # the gradient of this chunk's route is of the size of 1 / route
            for part in (slice(0, tiny), slice(tiny, None)):
                if value[:, part].numel():
                    atol = 1e-4 * value[:, part].abs().max().item()
                    difference = actual[name][:, part] - value[:, part]
                    assert difference.abs().max() <= atol, f"{name}: {difference.abs().max():.1e}, allowed {atol:.1e}"


FAR_APART = pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-2), (torch.bfloat16, 5e-2)], ids=str)


@on_cpu
@pytest.mark.usefixtures("small_tiles")
@FAR_APART
@pytest.mark.parametrize("route", ["none", "fractional"])
def test_scores_far_apart(route: str, dtype: torch.dtype, atol: float) -> None:
    check_far_apart(cast(softmax_inputs(SHAPES[1], route), dtype), 16, atol)


def check_far_apart(inputs: Inputs, chunk_size: int, atol: float) -> None:
    """Scores of thousands in chunks that are seen: the softmax is one-hot, nothing overflows.

    The past is out of all proportion to the own chunk, and, in a half of the heads that is left as it is, is not.
    """
    with torch.no_grad():
        inputs["q"][:, :, ::2] *= 1e3
    o = attention(**inputs, chunk_size=chunk_size, route_grad="full")
    gradients = torch.autograd.grad(o.sum(), list(inputs.values()))
    assert all(x.isfinite().all() for x in (o, *gradients))
    expected = oracle.chunk_softmax_attention(**cast(inputs, torch.float64), chunk_size=chunk_size)
    torch.testing.assert_close(o.double(), expected, rtol=0, atol=atol)


@on_cpu
@pytest.mark.usefixtures("small_tiles")
def test_no_output_depends_on_a_later_token() -> None:
    shape = Shape(T=40, chunk_size=16, B=1, H=1, K=16, V=16)
    inputs = {name: x.detach() for name, x in softmax_inputs(shape, "fractional", torch.float32).items()}
    before = attention(**inputs, chunk_size=16)
    for t in (0, 15, 16, 17, 31, 32, 39):
        changed = inputs | {name: inputs[name].clone() for name in "qkv"}
        for name in "qkv":
            changed[name][:, t] += 1.0
        changed["route"] = inputs["route"].clone()
        changed["route"][:, t // 16] *= 0.5  # a chunk's route depends on its tokens and affects later chunks
        moved = (attention(**changed, chunk_size=16) - before).abs().amax((0, 2, 3))
        assert (moved[:t] == 0).all()
        assert moved[t] > 1e-3


@on_cpu
@pytest.mark.usefixtures("small_tiles")
def test_cast_to_the_widest_operand_and_back_to_v() -> None:
    inputs = softmax_inputs(Shape(T=20, chunk_size=16, B=1, K=16, V=16), "mixed", torch.float32)
    inputs["q"] = inputs["q"].detach().bfloat16().requires_grad_()
    o = attention(**inputs, chunk_size=16)
    torch.testing.assert_close(
        o, oracle.chunk_softmax_attention(**inputs | {"q": inputs["q"].float()}, chunk_size=16), rtol=ATOL, atol=ATOL
    )
    gradients = torch.autograd.grad(o.sum(), list(inputs.values()))
    assert [g.dtype for g in gradients] == [x.dtype for x in inputs.values()]
    inputs["v"] = inputs["v"].detach().bfloat16()
    assert attention(**inputs, chunk_size=16).dtype == torch.bfloat16


@on_cpu
@pytest.mark.usefixtures("small_tiles")
def test_autocast_chooses_the_dtype() -> None:
    inputs = softmax_inputs(Shape(T=20, chunk_size=16, B=1, K=16, V=16), "mixed", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o = attention(**inputs, chunk_size=16)
    expected = attention(**{name: x.bfloat16() if name != "route" else x for name, x in inputs.items()}, chunk_size=16)
    assert o.dtype == torch.bfloat16
    assert torch.equal(o, expected)
    gradients = torch.autograd.grad(o.sum(), list(inputs.values()))
    assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)


@on_cpu
@pytest.mark.usefixtures("small_tiles")
def test_only_wanted_gradients_are_kept_and_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = softmax_inputs(Shape(T=20, chunk_size=16, B=1, K=16, V=16), "hard", torch.float32)
    with torch.no_grad():
        assert attention(**inputs, chunk_size=16).grad_fn is None
    monkeypatch.setattr(triton_skipped, "add_skipped", None)  # calling it would fail
    o = attention(**inputs | {"route": inputs["route"].detach()}, chunk_size=16, route_grad="full")
    assert all(x.isfinite().all() for x in torch.autograd.grad(o.sum(), [inputs[name] for name in "qkv"]))


@on_cpu
@pytest.mark.usefixtures("small_tiles")
def test_backward_twice_and_through_a_checkpoint() -> None:
    inputs = softmax_inputs(Shape(T=40, chunk_size=16, B=1, H=1, K=16, V=16), "mixed", torch.float32)
    assert_backward_repeats(functools.partial(attention, chunk_size=16, route_grad="full"), inputs)


@on_cpu
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("route", ["none", "mixed"])
def test_compiles_into_one_graph(route: str) -> None:
    inputs = softmax_inputs(Shape(T=20, chunk_size=16, B=1, H=1, K=16, V=16), route, torch.float32)

    def operation(**inputs: Tensor) -> Tensor:
        return attention(**inputs, chunk_size=16, route_grad="full") * 2

    assert_compiles(operation, inputs, [torch.randn(1, 20, 1, 16)])


@on_cpu
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("route", ["none", "mixed"])
def test_operators_keep_their_contracts(route: str) -> None:
    inputs = softmax_inputs(Shape(T=20, chunk_size=16, B=1, H=1, K=16, V=16), route, torch.float32)
    tensors = [*(inputs[name] for name in "qkv"), inputs.get("route")]
    torch.library.opcheck(triton_op._forward.registered, (*tensors, 16, 0.25, True, None))
    detached = [x if x is None else x.detach() for x in tensors]
    o, lse = triton_op._forward(*detached, 16, 0.25, True, None)
    arguments = (torch.randn_like(o), *detached, o, lse, 16, 0.25, True, None, 0, route != "none")
    torch.library.opcheck(triton_op._backward.registered, arguments)


# On a GPU


GPU_DIMS = ((64, 128), (128, 128), (96, 192), (128, 256), (256, 512), (20, 12), (16, 16))


@pytest.mark.gpu
@pytest.mark.parametrize("route", ["none", "mixed"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("dims", GPU_DIMS, ids=str)
def test_gpu_head_dims(dims: tuple[int, int], dtype: torch.dtype, route: str) -> None:
    check_on_gpu(Shape(T=1000, chunk_size=64, B=2, H=2, K=dims[0], V=dims[1]), dtype, route)


@pytest.mark.gpu
@pytest.mark.parametrize("route", ["hard", "mixed"])
@pytest.mark.parametrize("length", [1000, 4096], ids="T{}".format)
@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128, 256], ids="C{}".format)
def test_gpu_chunk_sizes(chunk_size: int, length: int, route: str) -> None:
    shape = Shape(T=length, chunk_size=chunk_size, B=1, H=4, R=2, K=64, V=128)
    check_on_gpu(shape, torch.bfloat16, route)


@pytest.mark.gpu
@pytest.mark.parametrize("route", ["none", "hard"])
def test_gpu_long(route: str) -> None:
    check_on_gpu(Shape(T=12000, chunk_size=64, B=1, H=1, K=64, V=128), torch.bfloat16, route)


@pytest.mark.gpu
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("length", [1, 63, 64, 129], ids="T{}".format)
def test_gpu_short(length: int, dtype: torch.dtype, route: str) -> None:
    check_on_gpu(Shape(T=length, chunk_size=64, B=1, H=4, R=2, K=64, V=128), dtype, route)


@pytest.mark.gpu
@FAR_APART
@pytest.mark.parametrize("route", ["none", "fractional"])
@pytest.mark.parametrize("dims", [(64, 128), (256, 512)], ids=str)
def test_gpu_scores_far_apart(dims: tuple[int, int], route: str, dtype: torch.dtype, atol: float) -> None:
    inputs, _ = on_gpu(softmax_inputs, Shape(T=500, chunk_size=64, B=1, H=4, K=dims[0], V=dims[1]), route, dtype)
    check_far_apart(inputs, 64, atol)


@pytest.mark.gpu
@pytest.mark.parametrize("route", [1e-25, 1e-35, 1e-39])
def test_gpu_a_tiny_route_of_a_chunk_with_large_scores(route: float) -> None:
    shape = Shape(T=300, chunk_size=64, B=1, H=4, K=64, V=128)
    inputs, _ = on_gpu(softmax_inputs, shape, "fractional", torch.float32)
    check_tiny_route(inputs, 64, route)


def check_on_gpu(shape: Shape, dtype: torch.dtype, route: str) -> None:
    assert_low_precision(*on_gpu(softmax_inputs, shape, route, dtype), shape.chunk_size)


@pytest.mark.gpu
@pytest.mark.parametrize("route_grad", ["full", "selected"])
def test_gpu_graph_replays_with_another_route(route_grad: str) -> None:
    shape = Shape(T=1000, chunk_size=64, B=2, H=4, R=2, K=64, V=128)
    inputs, cotangents = on_gpu(softmax_inputs, shape, "hard", torch.bfloat16)
    operation = functools.partial(attention, chunk_size=64, route_grad=route_grad)
    assert_graph_replays(
        operation, shape, inputs, cotangents, rtol=2e-2, atol=1e-3
    )  # dq: rounded from sums whose order varies


@pytest.mark.gpu
def test_gpu_runs_are_identical_but_for_dq() -> None:
    shape = Shape(T=4096, chunk_size=64, B=1, H=12, K=64, V=128)
    inputs, cotangents = on_gpu(softmax_inputs, shape, "mixed", torch.bfloat16)
    operation = functools.partial(attention, chunk_size=64, route_grad="full")
    assert_runs_are_identical(operation, inputs, cotangents, except_for=("q",))


@pytest.mark.gpu
def test_gpu_never_waits() -> None:
    inputs, _ = on_gpu(softmax_inputs, Shape(T=1000, chunk_size=64, B=1, H=2, K=64, V=128), "mixed", torch.bfloat16)
    assert_never_waits(functools.partial(attention, chunk_size=64, route_grad="full"), inputs)


@pytest.mark.gpu
def test_gpu_more_than_2_to_the_31_elements() -> None:
    length, heads, dim = 1024, 64, 64
    batch = 2**31 // (length * heads * dim) + 1
    require_memory(60)
    q = torch.randn(1, length, heads, dim, device=CUDA, dtype=torch.bfloat16).repeat(batch, 1, 1, 1).requires_grad_()
    route = torch.rand(1, length // 64, 1, device=CUDA).round().repeat(batch, 1, 1).requires_grad_()
    o = attention(q, q.detach(), q.detach(), route, chunk_size=64)
    dq, droute = torch.autograd.grad(o, [q, route], o.detach())
    for x in (o, dq, droute):  # all batch entries are equal
        assert (x[-1] - x[0]).abs().max() <= 1e-2 * x[0].abs().max()
        assert x[0].isfinite().all()
    del o, dq, droute
    far = q.detach().view(-1)[: length * 2**21].view(1, length, 1, 2**21)[..., :dim]  # 2**21 elements between tokens
    near = far.contiguous()
    assert torch.equal(attention(far, far, far, chunk_size=64), attention(near, near, near, chunk_size=64))
