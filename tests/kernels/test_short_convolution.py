"""The short convolution against its definition, and Triton against the reference in float64."""

import functools
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from nas.kernels.arguments import Impl
from nas.kernels.short_convolution import short_convolution
from nas.kernels.short_convolution.decode import short_convolution_step
from tests.kernels.cases import Inputs, assert_all_close, results_and_gradients, strided
from tests.kernels.elementwise import (
    MODEL_BATCH,
    MODEL_LENGTH,
    assert_compiles,
    assert_kernels_are_right,
    leaf,
)

SHAPES = [
    pytest.param(2, 7, 5, 4, id="short"),
    pytest.param(1, 1, 3, 4, id="one token"),
    pytest.param(2, 43, 70, 4, id="several tiles"),
    pytest.param(1, 20, 6, 1, id="one tap"),
    pytest.param(1, 70, 12, 8, id="eight taps"),
]


def case(batch: int, length: int, channels: int, size: int, **of: object) -> Inputs:
    return {"x": leaf(batch, length, channels, **of), "weight": leaf(channels, size, **of)}  # type: ignore[arg-type]


def definition(x: Tensor, weight: Tensor) -> Tensor:
    """Compute the definition token by token, tap by tap."""
    size = weight.shape[1]
    y = torch.zeros_like(x)
    for t in range(x.shape[1]):
        for w in range(size):
            if t - size + 1 + w >= 0:
                y[:, t] += weight[:, w] * x[:, t - size + 1 + w]
    return y / (1 + torch.exp(-y))


@pytest.mark.parametrize(("batch", "length", "channels", "size"), SHAPES)
def test_reference_is_the_definition(batch: int, length: int, channels: int, size: int) -> None:
    x, weight = (z.detach().double() for z in case(batch, length, channels, size).values())
    torch.testing.assert_close(short_convolution(x, weight), definition(x, weight), atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # the interpreter's sigmoid; it is 0 there
def test_no_output_before_a_token_depends_on_it() -> None:
    inputs = case(1, 12, 3, 4)
    changed = inputs["x"].detach().clone()
    changed[:, 8:] = 100
    for impl in ("reference", "triton"):
        before = short_convolution(**inputs, impl=impl)[:, :8]  # type: ignore[arg-type]
        assert torch.equal(before, short_convolution(changed, inputs["weight"], impl=impl)[:, :8])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("batch", "length", "channels", "size"), SHAPES)
def test_kernels(batch: int, length: int, channels: int, size: int, dtype: torch.dtype) -> None:
    assert_kernels_are_right(short_convolution, case(batch, length, channels, size, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("heads", [1, 7])
def test_the_norm_of_heads_is_that_of_the_result(heads: int, dtype: torch.dtype) -> None:
    normed = functools.partial(short_convolution, heads=heads)
    x, weight = (z.detach().double() for z in case(2, 43, 70, 4).values())
    y = short_convolution(x, weight).unflatten(-1, (heads, -1))
    torch.testing.assert_close(normed(x, weight), (y / y.norm(dim=-1, keepdim=True)).flatten(-2))
    assert_kernels_are_right(normed, case(2, 43, 70, 4, dtype=dtype))


def test_the_norm_of_packed_documents_and_of_zeros() -> None:
    inputs, cu_seqlens = case(1, 43, 6, 4), torch.tensor([0, 37, 39, 43])
    assert_kernels_are_right(functools.partial(short_convolution, heads=2, cu_seqlens=cu_seqlens), inputs)
    nothing = torch.zeros(1, 5, 6)
    assert torch.equal(short_convolution(nothing, inputs["weight"], heads=2, impl="triton"), nothing)


def test_kernels_in_float16_on_a_long_sequence() -> None:
    assert_kernels_are_right(short_convolution, case(1, 270, 5, 4, dtype=torch.float16))


@pytest.mark.parametrize("size", [4, 1, 2, 8])
def test_packed_documents_equal_documents_one_by_one(size: int) -> None:
    """Long, shorter than the convolution, empty and of one token, across the tiles of the kernels; all gradients."""
    borders = [0, 0, 37, 39, 39, 40, 43]
    inputs = case(1, 43, 5, size)
    packed = functools.partial(short_convolution, cu_seqlens=torch.tensor(borders, dtype=torch.int32))

    def definition_of_each(x: Tensor, weight: Tensor) -> Tensor:
        return torch.cat([definition(x[:, a:b], weight) for a, b in pairwise(borders) if a < b], dim=1)

    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    cotangents = [torch.randn(1, 43, 5, dtype=torch.float64)]
    expected = results_and_gradients(definition_of_each, exact, cotangents)
    for actual_part, expected_part in zip(results_and_gradients(packed, exact, cotangents), expected, strict=True):
        assert_all_close(actual_part, expected_part, atol=1e-12)
    assert_kernels_are_right(packed, inputs)


def assert_steps_are_the_sequence(inputs: Inputs, impl: Impl, off: float) -> None:
    """Token by token, from slices of wider memory; the result and the last inputs."""
    x, weight = (z.detach() for z in inputs.values())
    batch, length, channels = x.shape
    size = weight.shape[1]
    past = x.new_zeros(batch, size - 1, channels)
    wide = torch.cat([x, torch.full_like(x, torch.nan)], dim=-1)
    y = [short_convolution_step(wide[:, t, :channels], past, weight, impl=impl) for t in range(length)]
    expected = short_convolution(x.double(), weight.double(), impl="reference")
    torch.testing.assert_close(torch.stack(y, dim=1).double(), expected, rtol=off, atol=off)
    assert torch.equal(past, torch.nn.functional.pad(x, (0, 0, size - 1, 0))[:, length:])


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("size", [4, 1, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_steps_are_the_sequence(dtype: torch.dtype, size: int, impl: Impl) -> None:
    off = 1e-5 if dtype == torch.float32 else 0.05
    assert_steps_are_the_sequence(case(2, 11, 150 if size == 4 else 5, size, dtype=dtype), impl, off)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(2, 1, 4)}, r"x has shape \[2, 1, 4\]; it must be \[B, D\]"),
        ({"past": torch.zeros(2, 4, 4)}, r"past has shape \[2, 4, 4\]; it must be \[B, W - 1, D\] = \[2, 3, 4\]"),
        ({"past": torch.zeros(2, 4, 3).mT}, r"past has strides \(12, 1, 3\); it must be contiguous"),
        ({"weight": torch.zeros(5, 4)}, r"weight has shape \[5, 4\]; it must be \[D, W\] with D = 4"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        ({"x": torch.zeros(2, 4).double(), "impl": "triton"}, r"torch.float64, and Triton's kernels take float16"),
    ],
)
def test_wrong_arguments_of_a_step_are_refused(changed: Inputs, message: str) -> None:
    given = {"x": torch.zeros(2, 4), "past": torch.zeros(2, 3, 4), "weight": torch.zeros(4, 4)}
    with pytest.raises(ValueError, match=message):
        short_convolution_step(**given | changed)


def test_one_document_is_a_sequence() -> None:
    inputs, cu_seqlens = case(1, 9, 5, 4), torch.tensor([0, 9])
    for impl in ("reference", "triton"):
        y = short_convolution(**inputs, impl=impl)  # type: ignore[arg-type]
        assert torch.equal(short_convolution(**inputs, cu_seqlens=cu_seqlens, impl=impl), y)  # type: ignore[arg-type]


def test_kernels_take_a_float32_weight_beside_half_precision() -> None:
    inputs = case(2, 9, 12, 4) | {"x": leaf(2, 9, 12, dtype=torch.bfloat16)}
    assert_kernels_are_right(short_convolution, inputs)


def test_kernels_on_strided_memory() -> None:
    inputs = case(2, 9, 12, 4)
    fused = leaf(2, 9, 30)
    for x in (strided(inputs["x"]), fused[..., 8:20], fused.transpose(0, 1)[:2, :, 3:15]):
        weight = inputs["weight"]
        mine, right = (
            torch.autograd.grad(short_convolution(x, weight, impl=impl).square().sum(), [x, weight], retain_graph=True)
            for impl in ("triton", "reference")
        )
        torch.testing.assert_close(mine, right)


def test_kernels_need_no_gradient() -> None:
    inputs = case(1, 5, 4, 4)
    with torch.no_grad():
        assert not short_convolution(**inputs, impl="triton").requires_grad


def test_under_autocast_the_output_is_of_its_dtype() -> None:
    inputs = case(1, 5, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert short_convolution(**inputs, impl="triton").dtype == torch.bfloat16


def test_the_operators_are_well_formed() -> None:
    inputs = case(2, 5, 4, 3)
    short_convolution(**inputs, impl="triton")
    x, weight = inputs.values()
    torch.library.opcheck(torch.ops.nas_kernels.short_convolution.default, (x, weight))
    given = x.detach(), x.detach(), weight.detach()
    torch.library.opcheck(torch.ops.nas_kernels.short_convolution_backward.default, given)


def test_compiles_as_one_graph() -> None:
    for heads in (None, 2):
        assert_compiles(functools.partial(short_convolution, heads=heads), case(2, 5, 4, 4))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(2, 3)}, r"x has shape \[2, 3\]; it must be \[B, T, D\]"),
        ({"x": torch.zeros(2, 0, 4)}, r"x has shape \[2, 0, 4\]; .* at least 1"),
        ({"x": torch.zeros(2, 3, 4, dtype=torch.int64)}, r"x has dtype torch.int64; .* floating-point"),
        ({"weight": torch.zeros(5, 4)}, r"weight has shape \[5, 4\]; it must be \[D, W\] with D = 4"),
        ({"weight": torch.zeros(4, 4, dtype=torch.bool)}, r"weight has dtype torch.bool; .* floating-point"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        ({"heads": 3}, r"heads=3 is not allowed; it must divide the 4 channels of x"),
        (
            {"x": torch.zeros(1, 2, 600), "weight": torch.zeros(600, 4), "heads": 1, "impl": "triton"},
            r"x has 600 channels in a head, and Triton's kernels normalise up to 512",
        ),
        ({"cu_seqlens": torch.tensor([0, 3])}, r"cu_seqlens is given, and x has shape \[2, 3, 4\]; .* a batch of one"),
        (
            {"x": torch.zeros(1, 3, 4), "cu_seqlens": torch.tensor([0, 2])},
            r"cu_seqlens ends at 2; it must end at T = 3, the tokens of x",
        ),
        ({"weight": torch.zeros(4, 9), "impl": "triton"}, r"weight has W = 9, and Triton's kernels take up to 8"),
        ({"x": torch.zeros(2, 3, 4).double(), "impl": "triton"}, r"torch.float64, and Triton's kernels take float16"),
    ],
)
def test_wrong_arguments_are_refused(changed: Inputs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        short_convolution(**{"x": torch.zeros(2, 3, 4), "weight": torch.zeros(4, 4)} | changed)


@pytest.mark.gpu
@pytest.mark.parametrize(("channels", "heads"), [(768, None), (768, 6), (1536, None), (1536, 6)])
def test_kernels_at_the_size_of_the_model(channels: int, heads: int | None) -> None:
    inputs = case(MODEL_BATCH, MODEL_LENGTH, channels, 4, device="cuda")
    inputs["x"] = inputs["x"].detach().bfloat16().requires_grad_()
    assert_kernels_are_right(functools.partial(short_convolution, heads=heads), inputs)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_packed_documents_on_the_gpu(dtype: torch.dtype) -> None:
    lengths = torch.arange(400) % 150
    inputs = case(1, int(lengths.sum()), 768, 4, device="cuda", dtype=dtype)
    cu_seqlens = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    for borders in (cu_seqlens, cu_seqlens.cuda()):
        assert_kernels_are_right(functools.partial(short_convolution, cu_seqlens=borders), inputs)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_steps_on_the_gpu(dtype: torch.dtype) -> None:
    off = 1e-5 if dtype == torch.float32 else 0.05
    assert_steps_are_the_sequence(case(16, 9, 3072, 4, device="cuda", dtype=dtype), "triton", off)
