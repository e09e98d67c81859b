"""Only chunks that are kept are sent, and their gradients return."""

import torch

from nas.distributed.context.chunks import _places
from tests.nas.distributed.context.conftest import Found


def test_half_the_share_is_half_the_traffic(found: Found) -> None:
    for rank, of_process in enumerate(found.measured):
        half, quarter = (of_process["of_chunks"][share] for share in ("0.5", "0.25"))
        tokens = 2 * 32 * 4  # of two sequences, half of their 64 tokens, in four heads
        assert half["keys"] == half["values"] == (3 - rank) * tokens * 8 * 4
        assert {purpose: 2 * sent for purpose, sent in quarter.items()} == half
        assert of_process["of_chunks"]["gradient at 0.5"]
        assert of_process["of_chunks"]["gradient at 0.25"]


def test_places_of_kept_chunks() -> None:
    first = torch.tensor([[True, False], [True, True]])  # [R, N]
    second = torch.tensor([[False, True], [False, False]])
    places, most = _places(torch.stack([first, second])[:, None])
    assert most == 2
    assert places.tolist() == [0, 2, 3, 1]
    assert _places(torch.zeros(0, 1, 2, 2, dtype=torch.bool))[1] == 0
