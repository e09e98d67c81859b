"""What decoding keeps for a router: a running chunk is decided as a whole one is."""

import pytest
import torch
from torch import Tensor

from nas.models.mixers import TokenMixer
from nas.models.open_chunk import OpenChunk
from tests.nas.architectures import small

CHUNK = 4


def soft(layer: int, logits: Tensor) -> Tensor:
    return logits.softmax(-1)


@pytest.mark.parametrize("prompt", [4, 5, 7])
@pytest.mark.parametrize("features", ["mean", "last+max+mean"])
def test_a_running_chunk_is_decided_as_a_whole_one_is(prompt: int, features: str) -> None:
    mixer = TokenMixer(small("token_hybrid", chunk_size=CHUNK, router_features=features), 0, "full").double()
    x = torch.randn(2, 12, 12, dtype=torch.float64)
    expected = OpenChunk(mixer, soft, CHUNK).prefill(x)
    begun = OpenChunk(mixer, soft, CHUNK)
    begun.prefill(x[:, :prompt])
    decided = []
    for token in range(prompt, 12):
        begun.add(x[:, token : token + 1])
        if (token + 1) % CHUNK == 0:
            decided.append(begun.close())
    torch.testing.assert_close(torch.stack(decided, dim=1), expected[:, prompt // CHUNK :])
