"""The profile of a training step: the groups of its kernels, and a run on the CPU."""

import pytest

from experiments.step_profile.__main__ import main
from experiments.step_profile.groups import group_of


@pytest.mark.parametrize(
    ("kernel", "operations", "group"),
    [
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT", ("aten::mm", "aten::linear"), "matrix products"),
        ("differentiate", ("hybrid_attentionBackward",), "gated delta rule"),
        ("_own_chunk_kernel", ("hybrid_attention",), "softmax attention"),
        ("forward", ("short_convolution",), "short convolutions"),
        ("backward", ("swigluBackward", "evaluate_function: swigluBackward"), "SwiGLU activation"),
        ("forward", ("hybrid_attentionBackward",), "convolutions and norms, computed again"),
        ("multi_tensor_apply_kernel", ("aten::_fused_adamw_", "Optimizer.step#AdamW.step"), "optimiser"),
        ("elementwise_kernel", ("aten::copy_", "aten::_to_copy", "ToCopyBackward0"), "casts and copies"),
        ("add_rows", ("branch_mergeBackward",), "sums: partial gradients of weights"),
        ("elementwise_kernel", ("aten::sin",), "other"),
    ],
)
def test_kernels_belong_to_groups(kernel: str, operations: tuple[str, ...], group: str) -> None:
    pytest.importorskip("triton")
    assert group_of(kernel, operations) == group


def test_the_profile_of_a_step_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--smoke", "--batch", "1"])
    printed = capsys.readouterr().out
    for part in ("all kernels", "optimiser", "casts and copies", "tokens per second", "idle less overlap"):
        assert part in printed
