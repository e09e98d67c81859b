"""Inputs and helpers of the gated delta rule's Triton tests."""

import dataclasses
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import gated_delta_rule
from tests.kernels.cases import Inputs, Shape, delta_inputs
from tests.kernels.triton_cases import CUDA, assert_as_exact_as_rounding_allows, cast, on_gpu

pytest.importorskip("triton")
from nas.kernels.gated_delta_rule import triton_plan

delta_rule: Any = functools.partial(gated_delta_rule, return_final_state=True, impl="triton")
reference: Any = functools.partial(gated_delta_rule, return_final_state=True, impl="reference")


def set_segments(monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    """Split every sequence into segments of ``chunks`` chunks."""

    def split(heads: int, tiles: int, tiles_of_chunk: int, *_: Any) -> int:
        return min(tiles, chunks * tiles_of_chunk)

    monkeypatch.setattr(triton_plan, "split", split)


def set_tile(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Use tiles of this many tokens: several in a chunk even where chunks are short."""
    chosen = triton_plan.blocks_of
    monkeypatch.setattr(triton_plan, "blocks_of", lambda *sizes: dataclasses.replace(chosen(*sizes), BT=tokens))


def inputs_for(shape: Shape, route: str, dtype: torch.dtype = torch.float32) -> Inputs:
    """Return the inputs of `delta_inputs` with slower decays: a chunk's writes outlive a few more chunks."""
    inputs = delta_inputs(shape, route)
    inputs["g"] = inputs["g"] * 2 / shape.chunk_size
    return cast(inputs, dtype)


def cotangents_for(shape: Shape, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return cotangents of the output and of the final state."""
    o = torch.randn(shape.B, shape.T, shape.H, shape.V, dtype=dtype)
    return [o, torch.randn(shape.B, shape.H, shape.K, shape.V, dtype=torch.float64)]


def assert_low_precision(inputs: Inputs, cotangents: list[Tensor], **options: Any) -> None:
    operation, usual = (functools.partial(x, **options, route_grad="full") for x in (delta_rule, reference))
    assert_as_exact_as_rounding_allows(operation, usual, usual, inputs, cotangents, measures=("norm",))


def on_gpu_with_states(shape: Shape, route: str, dtype: torch.dtype = torch.bfloat16) -> tuple[Inputs, list[Tensor]]:
    inputs, cotangents = on_gpu(inputs_for, shape, route, dtype)
    return inputs, [*cotangents, torch.randn(shape.B, shape.H, shape.K, shape.V, device=CUDA)]
