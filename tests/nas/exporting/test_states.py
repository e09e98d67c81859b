"""Decoding states keep what routers keep, and give what whole sequences give."""

import pytest
import torch

from nas.exporting.states import Keys, LinearHeads, LinearState, SoftmaxHeads
from nas.kernels import chunk_softmax_attention, gated_delta_rule

CHUNK, LENGTH = 4, 14
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def drawn(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(2, LENGTH, *shape, generator=generator)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_softmax_attends_to_kept_chunks_alone(generator: torch.Generator) -> None:
    given = SoftmaxHeads(*(drawn(generator, 2, size) for size in (3, 3, 5)))
    route = (torch.rand(2, 4, 2, generator=generator) < 0.5).float()
    route[:, 2, 0] = 0
    expected = chunk_softmax_attention(*given, route, chunk_size=CHUNK)
    begun = 6
    keys = Keys.of(SoftmaxHeads(*(x[:, :begun] for x in given)), route[:, :2], CHUNK, window=None)
    kept = (route[:, :1].sum() * CHUNK).item() + 2 * 2 * 2  # the second chunk is open
    assert len(keys.k) == kept
    for at in range(begun, LENGTH):
        position = torch.full((2, 1), at)
        o = keys.step(SoftmaxHeads(*(x[:, at : at + 1] for x in given)), position)
        torch.testing.assert_close(o, expected[:, at : at + 1], **TOLERANCE)
        if (at + 1) % CHUNK == 0:
            keys.close(route[:, at // CHUNK], torch.tensor([True, True]), position + 1 - CHUNK)
    assert len(keys.k) == (route[:, :3].sum() * CHUNK).item() + 2 * 2 * 2


def test_linear_attention_undoes_chunks_that_it_does_not_compress(generator: torch.Generator) -> None:
    q, k, v = (drawn(generator, 2, size) for size in (3, 3, 5))
    g, beta = -drawn(generator, 2).abs(), drawn(generator, 2).sigmoid()
    given = LinearHeads(q, torch.nn.functional.normalize(k, dim=-1), v, g, beta)
    route = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]).expand(2, -1, -1)
    expected = gated_delta_rule(*given, route, chunk_size=CHUNK)
    zeros = torch.zeros(2, 2, 3, 5)
    state = LinearState(zeros, zeros, torch.zeros(2, 2))
    for at in range(LENGTH):
        o = state.step(LinearHeads(*(x[:, at : at + 1] for x in given)))
        torch.testing.assert_close(o, expected[:, at : at + 1], **TOLERANCE)
        if (at + 1) % CHUNK == 0:
            state.close(route[:, at // CHUNK], torch.tensor([True, True]))


def test_a_window_keeps_what_the_next_token_attends_to(generator: torch.Generator) -> None:
    given = SoftmaxHeads(*(drawn(generator, 2, 3) for _ in range(3)))
    assert len(Keys.of(given, None, CHUNK, window=5).k) == 2 * 4
