"""Both norms of heads against their definition, and Triton's against the reference in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels.head_norms import head_norms
from nas.kernels.head_norms.decode import norms_of_both
from tests.kernels.cases import Inputs, strided
from tests.kernels.elementwise import (
    MODEL_BATCH,
    MODEL_LENGTH,
    assert_compiles,
    assert_kernels_are_right,
    leaf,
)

SHAPES = [
    pytest.param(2, 7, 2, 6, 5, id="three to one"),
    pytest.param(1, 1, 1, 1, 3, id="one token, one head"),
    pytest.param(2, 67, 2, 4, 8, id="several programs"),
    pytest.param(1, 9, 3, 3, 12, id="same heads"),
]
EPS = 1e-3  # large enough to show


def case(batch: int, length: int, softmax_heads: int, dim: int, **of: Any) -> Inputs:
    return {"x": leaf(batch, length, softmax_heads * dim, **of), "weight": leaf(dim, **of)}


def both(x: Tensor, weight: Tensor, linear_heads: int, softmax_heads: int, impl: Any = "auto") -> Tensor:
    """[2, B, T, D]: l2 and rms."""
    l2, rms = head_norms(x, weight, linear_heads=linear_heads, softmax_heads=softmax_heads, eps=EPS, impl=impl)
    return torch.stack([l2.flatten(-2), rms.to(l2.dtype).flatten(-2)])


def only_l2(x: Tensor, heads: int, impl: Any = "auto") -> Tensor:
    l2, rms = head_norms(x, linear_heads=heads, eps=EPS, impl=impl)
    assert rms is None
    return l2


def only_rms(x: Tensor, weight: Tensor, heads: int, impl: Any = "auto") -> Tensor:
    l2, rms = head_norms(x, weight, softmax_heads=heads, eps=EPS, impl=impl)
    assert l2 is None
    return rms


@pytest.mark.parametrize(("batch", "length", "linear_heads", "softmax_heads", "dim"), SHAPES)
def test_reference_is_the_definition(batch: int, length: int, linear_heads: int, softmax_heads: int, dim: int) -> None:
    x, weight = (z.detach().double() for z in case(batch, length, softmax_heads, dim).values())
    l2, rms = head_norms(x, weight, linear_heads=linear_heads, softmax_heads=softmax_heads, eps=EPS)
    assert l2.shape == (batch, length, linear_heads, x.shape[2] // linear_heads)
    assert rms.shape == (batch, length, softmax_heads, dim)
    width = x.shape[2] // linear_heads
    for h in range(linear_heads):
        channels = x[..., h * width : (h + 1) * width]
        torch.testing.assert_close(l2[:, :, h], channels / channels.square().sum(-1, keepdim=True).sqrt())
    for h in range(softmax_heads):
        channels = x[..., h * dim : (h + 1) * dim]
        size = (channels.square().sum(-1, keepdim=True) / dim + EPS).sqrt()
        torch.testing.assert_close(rms[:, :, h], weight * channels / size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("batch", "length", "linear_heads", "softmax_heads", "dim"), SHAPES)
def test_kernels(batch: int, length: int, linear_heads: int, softmax_heads: int, dim: int, dtype: torch.dtype) -> None:
    inputs = case(batch, length, softmax_heads, dim, dtype=dtype)
    heads = {"linear_heads": linear_heads, "softmax_heads": softmax_heads}
    assert_kernels_are_right(lambda **given: both(**given, **heads), inputs)


def test_kernels_for_one_branch() -> None:
    inputs = case(2, 7, 6, 5)
    assert_kernels_are_right(lambda **given: only_l2(**given, heads=2), {"x": inputs["x"]})
    assert_kernels_are_right(lambda **given: only_rms(**given, heads=6), inputs)


def test_kernels_take_a_float32_weight_beside_half_precision() -> None:
    inputs = case(2, 9, 4, 5) | {"x": leaf(2, 9, 20, dtype=torch.bfloat16)}
    assert_kernels_are_right(lambda **given: both(**given, linear_heads=2, softmax_heads=4), inputs)


def test_kernels_on_strided_memory() -> None:
    inputs = case(2, 9, 4, 5)
    for x in (strided(inputs["x"]), leaf(2, 9, 50)[..., 8:28]):
        mine, right = (
            torch.autograd.grad(both(x, inputs["weight"], 2, 4, impl).square().sum(), [x, inputs["weight"]])
            for impl in ("triton", "reference")
        )
        torch.testing.assert_close(mine, right)


@pytest.mark.parametrize("size", [0.0, 1e-14, 1e-9])
def test_kernels_on_small_heads(size: float) -> None:
    """Below 1e-12 the l2 norm is a multiple of x, and so is its gradient; a head of zeros gives no NaN."""
    x = (size * torch.randn(1, 3, 8)).requires_grad_()
    mine, right = (torch.autograd.grad(only_l2(x, 2, impl).sum(), x)[0] for impl in ("triton", "reference"))
    torch.testing.assert_close(mine, right, rtol=1e-5, atol=0 if size else 1e-5)


def test_gradient_through_one_of_two_outputs() -> None:
    inputs = case(2, 3, 4, 5)
    for index in (0, 1):
        mine, right = (
            torch.autograd.grad(
                both(**inputs, linear_heads=2, softmax_heads=4, impl=impl)[index].square().sum(), inputs["x"]
            )
            for impl in ("triton", "reference")
        )
        torch.testing.assert_close(mine, right)


def test_kernels_need_no_gradient() -> None:
    with torch.no_grad():
        assert not both(**case(1, 3, 4, 5), linear_heads=2, softmax_heads=4, impl="triton").requires_grad


def test_under_autocast_the_outputs_are_rounded_and_the_inputs_are_not() -> None:
    inputs = case(1, 3, 4, 5)
    exact = both(**inputs, linear_heads=2, softmax_heads=4, impl="triton")
    with torch.autocast("cpu", torch.bfloat16):
        rounded = both(**inputs, linear_heads=2, softmax_heads=4, impl="triton")
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=2**-7, atol=0)
    of_rounded = torch.autograd.grad(rounded, list(inputs.values()), torch.ones_like(rounded))
    of_exact = torch.autograd.grad(exact, list(inputs.values()), torch.ones_like(exact))
    assert all(map(torch.equal, of_rounded, of_exact)), "gradients have the dtypes of the inputs"


def test_the_operators_are_well_formed() -> None:
    x, weight = case(2, 3, 4, 5).values()
    both(x, weight, 2, 4, impl="triton")
    operators = torch.ops.nas_kernels
    for given in ((x, weight, 2, 4, EPS, torch.float32), (x, None, 2, 0, EPS, torch.bfloat16)):
        torch.library.opcheck(operators.head_norms.default, given)
    x, weight = x.detach(), weight.detach()
    torch.library.opcheck(operators.head_norms_backward.default, (x, x, x, weight, 2, 4, EPS))


def test_compiles_as_one_graph() -> None:
    inputs = case(2, 3, 4, 5)
    assert_compiles(lambda **given: both(**given, linear_heads=2, softmax_heads=4), inputs)
    assert_compiles(lambda **given: only_l2(**given, heads=2), {"x": inputs["x"]})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(2, 3)}, r"x has shape \[2, 3\]; it must be \[B, T, D\]"),
        ({"x": torch.zeros(2, 3, 12, dtype=torch.int64)}, r"x has dtype torch.int64; .* floating-point"),
        ({"linear_heads": 5}, r"linear_heads=5 is not allowed; it must divide the 12 channels"),
        ({"softmax_heads": 0}, r"softmax_heads=0 is not allowed; it must divide the 12 channels"),
        ({"linear_heads": 3}, r"linear_heads=3 is not allowed; it must divide softmax_heads=4"),
        ({"linear_heads": None, "softmax_heads": None}, r"linear_heads and softmax_heads are both None"),
        ({"softmax_heads": None}, r"weight was given without softmax_heads"),
        ({"weight": None}, r"weight is None; with softmax_heads=4 it must be \[D / softmax_heads\]"),
        ({"weight": torch.zeros(4)}, r"weight has shape \[4\]; it must be \[D / softmax_heads\] = \[3\]"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        ({"x": torch.zeros(2, 3, 12).double(), "impl": "triton"}, r"torch.float64, and Triton's kernels take float16"),
    ],
)
def test_wrong_arguments_are_refused(changed: Inputs, message: str) -> None:
    right: Inputs = {"x": torch.zeros(2, 3, 12), "weight": torch.zeros(3), "linear_heads": 2, "softmax_heads": 4}
    with pytest.raises(ValueError, match=message):
        head_norms(**right | changed)


def test_too_wide_a_head_is_refused() -> None:
    with pytest.raises(ValueError, match="x has 8192 channels in a head, and Triton's kernels take up to 4096"):
        head_norms(torch.zeros(1, 1, 8192), linear_heads=1, impl="triton")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("heads", [(2, 4), (4, None), (None, 2)], ids=str)
def test_norms_of_both_are_those_of_each(heads: tuple[int | None, int | None], dtype: torch.dtype) -> None:
    assert_norms_of_both(heads, (3, 1, 24), dtype, "cpu")
    assert_norms_of_both(heads, (2, 67, 24), dtype, "cpu")


def assert_norms_of_both(
    heads: tuple[int | None, int | None], sizes: tuple[int, int, int], dtype: torch.dtype, device: str
) -> None:
    """By the kernel that computes each, bit for bit; q and k are slices of wider memory."""
    joint = torch.randn(*sizes[:2], 3 * sizes[2], device=device).to(dtype)
    q, k, _ = joint.split(sizes[2], dim=-1)
    weights = [None if heads[1] is None else torch.randn(sizes[2] // heads[1], device=device) for _ in range(2)]
    given: dict[str, Any] = {"linear_heads": heads[0], "softmax_heads": heads[1], "eps": EPS, "impl": "triton"}
    both_norms = norms_of_both(q, k, *weights, **given)
    for own, x, weight in zip(both_norms, (q, k), weights, strict=True):
        each = head_norms(x, weight, **given)
        for mine, right in zip(own, each, strict=True):
            assert (mine is None) == (right is None)
            assert mine is None or torch.equal(mine, right)


def test_norms_of_a_step_under_autocast() -> None:
    x = torch.randn(2, 1, 8)
    with torch.autocast("cpu", torch.bfloat16):
        (l2, _), _ = norms_of_both(x, x, linear_heads=2, impl="triton")
    assert l2 is not None
    assert l2.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: norms_of_both(x, x[..., :4], linear_heads=2), r"k has shape \[2, 3, 4\]; it must be the shape of q"),
        (
            lambda x: norms_of_both(x, x, linear_heads=3),
            r"linear_heads=3 is not allowed; it must divide the 8 channels",
        ),
        (lambda x: norms_of_both(x, x, x[0, 0], softmax_heads=1), r"weight is None; with softmax_heads=1"),
    ],
)
def test_wrong_arguments_of_a_step_are_refused(call: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 3, 8))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_norms_of_a_step_on_the_gpu(dtype: torch.dtype) -> None:
    for heads in ((6, 12), (6, None), (None, 12)):
        assert_norms_of_both(heads, (16, 1, 768), dtype, "cuda")


@pytest.mark.gpu
def test_kernels_at_the_size_of_the_model() -> None:
    inputs = case(MODEL_BATCH, MODEL_LENGTH, 12, 64, device="cuda")
    inputs["x"] = inputs["x"].detach().bfloat16().requires_grad_()
    assert_kernels_are_right(lambda **given: both(**given, linear_heads=6, softmax_heads=12), inputs)
