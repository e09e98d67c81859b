"""What is left of a state after some tiles, and segments of which only a part is scanned."""

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.kernels import oracle
from tests.kernels.cases import Shape
from tests.kernels.triton_cases import assert_matches, on_cpu

pytest.importorskip("triton")
from nas.kernels.gated_delta_rule import triton_launch, triton_reach
from tests.kernels.delta_cases import cotangents_for, delta_rule, inputs_for, set_segments, set_tile

SHAPE = Shape(T=32 * 9 + 5, chunk_size=32, B=1, H=1, K=8, V=4)
LIMIT = triton_reach.NEGLIGIBLE.value


def reaches(monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any], chunk_size: int) -> list[Tensor]:
    """Return what the kernel finds in a call's segments, once for each pass, while the call matches its definition."""
    found = []
    original = triton_launch.reach_of

    def keep(*arguments: Any) -> Tensor | None:
        result = original(*arguments)
        assert result is not None
        found.append(result)
        return result

    monkeypatch.setattr(triton_launch, "reach_of", keep)
    operation, definition = (
        functools.partial(one, chunk_size=chunk_size) for one in (delta_rule, oracle.gated_delta_rule)
    )
    assert_matches(operation, definition, inputs, cotangents_for(SHAPE), "full")
    return found


@on_cpu
@pytest.mark.parametrize(("chunks_of_tiles", "expected"), [(1, (1, 3)), (2, (0, 4))], ids=["one tile", "two tiles"])
def test_tiles_beyond_the_decay_are_left_out(
    chunks_of_tiles: int, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tiles of 32 or of 16 tokens decay by more than the limit, two do not."""
    tile = 32 // chunks_of_tiles
    set_tile(monkeypatch, tile)
    set_segments(monkeypatch, 4 // chunks_of_tiles)
    inputs = inputs_for(SHAPE, "mixed")
    inputs["g"] = torch.full_like(inputs["g"], LIMIT / 2.5 / tile).requires_grad_()
    found = reaches(monkeypatch, inputs, 32)[0]
    assert found[0, 0].tolist() == [*expected, 1, 1]


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
    found = reaches(monkeypatch, inputs, 32)[0]
    assert found[0, 0].tolist() == [0, 4, 0, 0]
