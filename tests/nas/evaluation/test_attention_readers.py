"""Who reads a chunk, against attention written out in float64."""

import pytest
import torch

from nas.evaluation import attention_readers
from nas.evaluation.attention_readers import readers_of_chunks


def naive(q: torch.Tensor, k: torch.Tensor, route: torch.Tensor, chunk_size: int) -> torch.Tensor:
    """[R, N, T] the part of each token's attention that each chunk gets; 0 where the token is not a later one."""
    length, heads, width = q.shape
    chunks, groups = route.shape
    given = torch.zeros(groups, chunks, length, dtype=torch.float64)
    for head in range(heads):
        group = head // (heads // groups)
        for i in range(length):
            weights = torch.zeros(length, dtype=torch.float64)
            for j in range(i + 1):
                own = i // chunk_size == j // chunk_size
                score = (q[i, head].double() @ k[j, head].double()) / width**0.5
                weights[j] = (1.0 if own else route[j // chunk_size, group].double()) * score.exp()
            weights /= weights.sum()
            for n in range(i // chunk_size):
                given[group, n, i] += weights[n * chunk_size : (n + 1) * chunk_size].sum() / (heads // groups)
    return given


@pytest.mark.parametrize(
    ("length", "chunk_size", "heads", "groups"), [(24, 4, 4, 2), (23, 5, 2, 2), (7, 16, 2, 1)], ids=str
)
@pytest.mark.parametrize("largest", [1, 60, 2**23], ids=["query by query", "blocks", "at once"])
def test_they_are_those_of_attention_written_out(
    monkeypatch: pytest.MonkeyPatch, length: int, chunk_size: int, heads: int, groups: int, largest: int
) -> None:
    monkeypatch.setattr(attention_readers, "LARGEST_BLOCK", largest)
    q, k = 2 * torch.randn(2, length, heads, 3)
    chunks = -(-length // chunk_size)
    route = torch.tensor([0.0, 1.0, 0.3]).repeat(chunks * groups)[: chunks * groups].view(chunks, groups)
    found = readers_of_chunks(q, k, route, chunk_size=chunk_size)
    expected = naive(q, k, route, chunk_size).topk(3)
    torch.testing.assert_close(found.weights.double(), expected.values, rtol=1e-4, atol=1e-6)
    read = expected.values > 0
    assert (found.tokens >= 0).equal(read)
    assert found.tokens[read].equal(expected.indices[read])


def test_heads_may_share_keys() -> None:
    q, k = torch.randn(9, 4, 3), torch.randn(9, 2, 3)
    route = torch.ones(3, 2)
    shared = readers_of_chunks(q, k, route, chunk_size=4)
    repeated = readers_of_chunks(q, k.repeat_interleave(2, dim=1), route, chunk_size=4)
    assert shared.tokens.equal(repeated.tokens)
    torch.testing.assert_close(shared.weights, repeated.weights)


def test_what_softmax_does_not_see_has_no_readers() -> None:
    q = k = torch.randn(12, 2, 4)
    found = readers_of_chunks(q, k, torch.zeros(3, 2), chunk_size=4)
    assert (found.tokens == -1).all()
    assert (found.weights == 0).all()


def test_the_chunk_that_is_asked_for_is_read_by_the_token_that_asks() -> None:
    q, k = torch.zeros(32, 1, 4), torch.zeros(32, 1, 4)
    q[29, 0, 0], k[9, 0, 0] = 20.0, 20.0
    found = readers_of_chunks(q, k, torch.ones(4, 1), chunk_size=8)
    assert found.tokens[0, 1, 0] == 29
    assert found.weights[0, 1, 0] > 0.99
