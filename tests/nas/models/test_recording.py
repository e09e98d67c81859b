"""Recording of CUDA graphs, and what it says of failures."""

import pytest
import torch

from nas.models.recording import StepGraph, reason_of, without_autocast_cache


def test_the_reason_is_the_first_error_in_one_line() -> None:
    ended = RuntimeError("the recording has ended")
    ended.__context__ = ValueError("not permitted\nin a recording")
    assert reason_of(ended) == "not permitted"
    assert reason_of(MemoryError()) == "MemoryError"


@pytest.mark.parametrize("enabled", [True, False])
def test_casts_are_not_kept_while_recording(enabled: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        with without_autocast_cache("cpu"):
            assert torch.is_autocast_enabled("cpu") is enabled
            assert not torch.is_autocast_cache_enabled()
        assert torch.is_autocast_cache_enabled()


@pytest.mark.gpu
def test_a_step_is_launched_with_its_token() -> None:
    seen = torch.zeros(2, device="cuda")

    def advance(token: torch.Tensor) -> torch.Tensor:
        seen.add_(token)
        return seen * 10

    token = torch.tensor([1, 2], device="cuda")
    graph = StepGraph(advance, token)
    assert seen.tolist() == [0, 0], "a recording computes nothing"
    assert graph(token).tolist() == [10, 20]
    assert graph(token * 2).tolist() == [30, 60]
    assert graph.fits(token)
    assert not graph.fits(token[:1])
    with torch.autocast("cuda", torch.bfloat16):
        assert not graph.fits(token)
