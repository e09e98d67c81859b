"""The gated activation against its definition, and Triton against the reference in float64."""

import pytest
import torch
import torch.nn.functional as F

from nas.kernels.swiglu import swiglu
from tests.kernels.cases import Inputs, strided
from tests.kernels.elementwise import (
    MODEL_BATCH,
    MODEL_LENGTH,
    assert_compiles,
    assert_kernels_are_right,
    leaf,
)

SHAPES = [
    pytest.param((2, 7, 10), id="odd hidden size"),
    pytest.param((1, 1, 2), id="one token, one channel"),
    pytest.param((3, 11, 2 * 272), id="several tiles, the last one ragged"),
    pytest.param((2, 40, 2 * 64), id="several blocks of tokens"),
    pytest.param((6,), id="no leading dimension"),
    pytest.param((2, 3, 2, 5, 24), id="four leading dimensions"),
]


@pytest.mark.parametrize("sizes", SHAPES)
def test_reference_is_the_definition(sizes: tuple[int, ...]) -> None:
    x = leaf(*sizes).detach().double()
    hidden = sizes[-1] // 2
    gate, up = x[..., :hidden], x[..., hidden:]
    torch.testing.assert_close(swiglu(x), gate / (1 + torch.exp(-gate)) * up, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_on_the_cpu_it_is_pytorchs_own_to_the_bit(dtype: torch.dtype) -> None:
    x = leaf(2, 7, 70, dtype=dtype)
    gate, up = x.chunk(2, dim=-1)
    mine, right = swiglu(x), F.silu(gate) * up
    assert torch.equal(mine, right)
    assert torch.equal(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (mine, right)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("sizes", SHAPES)
def test_kernels(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    assert_kernels_are_right(swiglu, {"x": leaf(*sizes, dtype=dtype)})


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # the interpreter's sigmoid; it is 0 there
def test_kernels_where_the_gate_is_shut_or_wide_open() -> None:
    x = leaf(2, 3, 12).detach()
    x[..., :3], x[..., 3:6] = -1e4, 1e4
    assert_kernels_are_right(swiglu, {"x": x.requires_grad_()})


def test_kernels_on_strided_memory() -> None:
    fused = leaf(3, 9, 30)
    for x in (strided(leaf(2, 9, 12)), fused[..., 7:19], fused.transpose(0, 1)[:4, :, 3:15]):
        mine, right = (
            torch.autograd.grad(swiglu(x, impl=impl).square().sum(), x, retain_graph=True)  # type: ignore[arg-type]
            for impl in ("triton", "reference")
        )
        torch.testing.assert_close(mine, right)


def test_kernels_on_a_strided_gradient() -> None:
    x = leaf(2, 9, 12)
    for dy in (torch.ones(()).expand(2, 9, 6), torch.randn(9, 2, 20)[..., 5:11].transpose(0, 1)):
        mine, right = (
            torch.autograd.grad(swiglu(x, impl=impl), x, dy)  # type: ignore[arg-type]
            for impl in ("triton", "reference")
        )
        torch.testing.assert_close(mine, right)


def test_kernels_need_no_gradient() -> None:
    with torch.no_grad():
        assert not swiglu(leaf(1, 5, 8), impl="triton").requires_grad


def test_under_autocast_the_output_is_of_its_dtype() -> None:
    x = leaf(1, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = swiglu(x, impl="triton")
    assert y.dtype == torch.bfloat16
    assert torch.autograd.grad(y.sum(), x)[0].dtype == torch.float32


def test_the_operators_are_well_formed() -> None:
    x = leaf(2, 5, 12)
    dy = swiglu(x, impl="triton").detach()
    torch.library.opcheck(torch.ops.nas_kernels.swiglu.default, (x,))
    torch.library.opcheck(torch.ops.nas_kernels.swiglu_backward.default, (dy, x.detach()))


def test_compiles_as_one_graph() -> None:
    assert_compiles(swiglu, {"x": leaf(2, 5, 12)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(())}, r"x has shape \[\]; it must be \[..., 2 \* hidden\]"),
        ({"x": torch.zeros(2, 3, 5)}, r"x has shape \[2, 3, 5\]; it must be \[..., 2 \* hidden\]"),
        ({"x": torch.zeros(2, 0, 4)}, r"x has shape \[2, 0, 4\]; .* at least 1"),
        ({"x": torch.zeros(2, 3, 4, dtype=torch.int64)}, r"x has dtype torch.int64; .* floating-point"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        ({"x": torch.zeros(2, 3, 4).double(), "impl": "triton"}, r"torch.float64, and Triton's kernels take float16"),
    ],
)
def test_wrong_arguments_are_refused(changed: Inputs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swiglu(**{"x": torch.zeros(2, 3, 4)} | changed)


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [2816, 2731])
def test_kernels_at_the_size_of_the_model(hidden: int) -> None:
    x = leaf(MODEL_BATCH, MODEL_LENGTH, 2 * hidden, dtype=torch.bfloat16, device="cuda")
    assert_kernels_are_right(swiglu, {"x": x})
