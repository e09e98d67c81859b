"""What is left of a state after some tiles, and segments of which only a part is scanned."""

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.kernels import oracle
from tests.kernels.cases import Shape
from tests.kernels.triton_cases import assert_matches, on_cpu

pytest.importorskip("triton")
import triton
import triton.language as tl

from nas.kernels.gated_delta_rule import triton_launch, triton_reach
from nas.kernels.gated_delta_rule.triton_launch import Prepared
from tests.kernels.delta_cases import cotangents_for, delta_rule, inputs_for, set_segments, set_tile

SHAPE = Shape(T=32 * 9 + 5, chunk_size=32, B=1, H=1, K=8, V=4)
LIMIT = triton_reach.NEGLIGIBLE.value


def reach(monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any], chunk_size: int) -> Tensor:
    """Return how far the state reaches into a call's segments; the call matches its definition."""
    found = []
    original = triton_launch.prepare

    def keep(*arguments: Any) -> Prepared:
        result = original(*arguments)
        found.append(result.reach)
        return result

    monkeypatch.setattr(triton_launch, "prepare", keep)
    operation, definition = (
        functools.partial(one, chunk_size=chunk_size) for one in (delta_rule, oracle.gated_delta_rule)
    )
    assert_matches(operation, definition, inputs, cotangents_for(SHAPE), "full")
    return found[0]


@triton.jit
def store_reach(bounds, result, first, last, origin, SUB: tl.constexpr):  # type: ignore[no-untyped-def]
    begin, stop, severed = triton_reach.reach_of_segment(bounds, first, last, origin, SUB)
    tl.store(result, begin)
    tl.store(result + 1, stop)
    tl.store(result + 2, severed.to(tl.int32))


@on_cpu
@pytest.mark.parametrize(
    ("bounds", "sub", "expected"),
    [
        ([-20.0, -13, -1, -1, -20, -13], 1, (4, 2, 1)),
        ([-20.0, -13, -1, -1, -20, -13], 4, (4, 4, 1)),
        ([-1.0, -1, -1, -1, -1, -40], 1, (5, 6, 1)),
        ([-40.0, 10, -1, -1, 10, -1], 1, (0, 1, 1)),
        ([-40.0, 50, 0, 0, 50, -40], 1, (5, 1, 1)),
        ([-31.0, 0, 0, 0, 0, 0], 1, (0, 6, 0)),
        ([math.nan, -99, 0, 0, -99, math.nan], 1, (0, 6, 0)),
    ],
)
def test_tiles_that_show_at_the_ends(bounds: list[float], sub: int, expected: tuple[int, int, int]) -> None:
    """The segment has tiles 3 to 8 of a sequence."""
    result, outside = torch.zeros(3, dtype=torch.int32), [-99.0] * 3
    store_reach[(1,)](torch.tensor([*outside, *bounds, *outside]), result, 3, 9, 3, SUB=sub)
    begin, stop, severed = result.tolist()
    assert (begin - 3, stop - 3, severed) == expected


@on_cpu
@pytest.mark.parametrize(("chunks_of_tiles", "expected"), [(1, 3), (2, 4)], ids=["one tile", "two tiles"])
def test_tiles_beyond_the_decay_are_left_out(
    chunks_of_tiles: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tiles of 32 or of 16 tokens decay by more than the limit, two do not."""
    tile = 32 // chunks_of_tiles
    set_tile(monkeypatch, tile)
    set_segments(monkeypatch, 4 // chunks_of_tiles)
    inputs = inputs_for(SHAPE, "mixed")
    inputs["g"] = torch.full_like(inputs["g"], LIMIT / 2.5 / tile).requires_grad_()
    assert reach(monkeypatch, inputs, 32)[0, 0].tolist() == [expected, 1]


@on_cpu
@pytest.mark.parametrize("cause", ["slow decay", "long keys"])
def test_nothing_is_left_out_that_may_show(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_tile(monkeypatch, 32)
    set_segments(monkeypatch, 4)
    inputs = inputs_for(SHAPE, "mixed")
    if cause == "slow decay":
        inputs["g"] = torch.full_like(inputs["g"], 0.9 * LIMIT / 128).requires_grad_()
    else:  # |1 - beta |k|^2| = 3.5, whose logarithm is more than half of the decay
        inputs["g"] = torch.full_like(inputs["g"], 1.7 * LIMIT / 128).requires_grad_()
        inputs["beta"] = torch.full_like(inputs["beta"], 1.0).requires_grad_()
        with torch.no_grad():
            keys = F.normalize(inputs["k"], dim=-1) * 4.5**0.5
        inputs["k"] = keys.requires_grad_()
    assert reach(monkeypatch, inputs, 32)[0, 0].tolist() == [4, 0]
