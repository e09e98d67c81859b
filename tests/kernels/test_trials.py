"""Trials of every operation: right kernels pass them, interpreted and on a GPU."""

import importlib
from typing import Any

import pytest
import torch

from nas.kernels import self_test
from tests.kernels.triton_cases import on_cpu


def failure(operation: str, dtype: torch.dtype, device: str = "cpu", **settings: int) -> str | None:
    return self_test.run_trials(self_test.Use(operation, tuple(settings.items()), dtype), torch.device(device))


@on_cpu
@pytest.mark.parametrize(
    ("operation", "settings"),
    [
        ("gated_delta_rule.gated_delta_rule_step", {"K": 8, "V": 12, "chunk_size": 16, "group": 2}),
        ("gated_delta_rule.gated_delta_rule", {"K": 8, "V": 8, "chunk_size": 16, "routed": 1, "group": 2, "packed": 1}),
        ("chunk_softmax_attention.chunk_softmax_attention_step", {"K": 8, "V": 12, "chunk_size": 256}),
        ("chunk_softmax_attention.window_attention_step", {"K": 8, "V": 12, "chunk_size": 16}),
        ("short_convolution.short_convolution", {"channels": 20, "size": 4, "packed": 1, "heads": 2}),
        ("short_convolution.short_convolution_step", {"channels": 20, "size": 4}),
        ("head_norms.head_norms", {"channels": 24, "linear_heads": 1, "softmax_heads": 2}),
        ("head_norms.head_norms", {"channels": 24, "linear_heads": 0, "softmax_heads": 2}),
        ("residual_norm.residual_norm", {"channels": 24}),
        ("delta_gates.delta_gates", {"heads": 6}),
        ("head_norms.norms_of_both", {"channels": 24, "linear_heads": 1, "softmax_heads": 2}),
        ("head_norms.norms_of_both", {"channels": 24, "linear_heads": 2, "softmax_heads": 0}),
        ("mixed_routes.mixed_routes", {}),
        ("branch_merge.branch_merge", {"channels": 24, "V": 12, "pair": 1, "mixed": 0}),
        ("branch_merge.branch_merge", {"channels": 24, "V": 12, "pair": 1, "mixed": 1}),
        ("branch_merge.branch_merge", {"channels": 24, "V": 12, "pair": 0, "mixed": 0}),
    ],
    ids=str,
)
def test_interpreted(operation: str, settings: dict[str, int]) -> None:
    assert failure(operation, torch.bfloat16, **settings) is None


@on_cpu
def test_interpreted_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Route, window and both branches, with fewer tokens: the interpreter is slow."""
    trials: Any = importlib.import_module("nas.kernels.chunk_softmax_attention.trials")
    monkeypatch.setattr(trials, "TOKENS", 16)
    dims = {"K": 8, "V": 12, "chunk_size": 16}
    assert (
        failure("chunk_softmax_attention.chunk_softmax_attention", torch.float32, **dims, routed=0, group=2, packed=1)
        is None
    )
    assert failure("chunk_softmax_attention.window_attention", torch.bfloat16, **dims, group=1, packed=0) is None
    both = {"softmax_K": 8, "softmax_V": 8, "K": 8, "V": 16, "chunk_size": 16}
    assert failure("hybrid_attention.hybrid_attention", torch.bfloat16, **both) is None


DIMS = ((64, 64), (64, 128), (128, 128), (128, 256))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("dims", DIMS, ids=str)
@pytest.mark.parametrize("chunk_size", [16, 64])
def test_gpu_operations(dims: tuple[int, int], dtype: torch.dtype, chunk_size: int) -> None:
    given = {"K": dims[0], "V": dims[1], "chunk_size": chunk_size}
    for routed in (0, 1):
        for variant in ({"group": 1, "packed": 0}, {"group": 2, "packed": 1}):
            options = given | variant | {"routed": routed}
            for name in ("gated_delta_rule.gated_delta_rule", "chunk_softmax_attention.chunk_softmax_attention"):
                assert failure(name, dtype, "cuda", **options) is None
    assert failure("gated_delta_rule.gated_delta_rule_step", dtype, "cuda", **given, group=1) is None
    assert failure("chunk_softmax_attention.chunk_softmax_attention_step", dtype, "cuda", **given) is None
    assert failure("chunk_softmax_attention.window_attention_step", dtype, "cuda", **given) is None
    assert failure("chunk_softmax_attention.window_attention", dtype, "cuda", **given, group=1, packed=0) is None


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("operation", "settings"),
    [
        (
            "hybrid_attention.hybrid_attention",
            {"softmax_K": 64, "softmax_V": 128, "K": 128, "V": 256, "chunk_size": 64},
        ),
        ("swiglu.swiglu", {"hidden": 2816}),
        ("short_convolution.short_convolution", {"channels": 768, "size": 4, "packed": 0, "heads": 6}),
        ("short_convolution.short_convolution_step", {"channels": 3072, "size": 4}),
        ("head_norms.head_norms", {"channels": 768, "linear_heads": 6, "softmax_heads": 12}),
        ("residual_norm.residual_norm", {"channels": 1024}),
        ("delta_gates.delta_gates", {"heads": 6}),
        ("head_norms.norms_of_both", {"channels": 768, "linear_heads": 6, "softmax_heads": 12}),
        ("head_norms.norms_of_both", {"channels": 768, "linear_heads": 0, "softmax_heads": 12}),
        ("mixed_routes.mixed_routes", {}),
        ("branch_merge.branch_merge", {"channels": 1536, "V": 128, "pair": 1, "mixed": 0}),
        ("branch_merge.branch_merge", {"channels": 1536, "V": 128, "pair": 1, "mixed": 1}),
    ],
    ids=str,
)
def test_gpu_others(operation: str, settings: dict[str, int], dtype: torch.dtype) -> None:
    """The sizes of the 340M model."""
    assert failure(operation, dtype, "cuda", **settings) is None
