"""The router: what it pools, its shape, and where it starts."""

import pytest
import torch
import torch.nn.functional as F

from nas.data.documents import Documents
from nas.models.language_model import LanguageModel
from nas.models.router import INITIAL_LEAN, POOLED, POOLED_BY_DOCUMENT, Router, mean_pool
from nas.search_spaces.architecture import ROUTER_FEATURES
from tests.nas.architectures import small


@pytest.mark.parametrize("length", [1, 3, 4, 8, 10, 11])
def test_chunks_are_averaged_over_their_own_tokens_a_short_last_one_too(length: int) -> None:
    x = torch.randn(2, length, 5, dtype=torch.float64)
    expected = torch.stack([chunk.mean(1) for chunk in x.split(4, dim=1)], dim=1)
    torch.testing.assert_close(mean_pool(x, 4), expected)
    for pooled, reduce in (("max", lambda chunk: chunk.amax(1)), ("last", lambda chunk: chunk[:, -1])):
        by_chunk = torch.stack([reduce(chunk) for chunk in x.split(4, dim=1)], dim=1)
        assert torch.equal(POOLED[pooled](x, 4), by_chunk)


def test_packed_documents_are_pooled_as_each_of_them_alone() -> None:
    lengths = [1, 4, 11, 2]
    index, x = torch.arange(4).repeat_interleave(torch.tensor(lengths))[None], torch.randn(18, 5, dtype=torch.float64)
    chunks = Documents.of(index).chunks(4)
    assert set(POOLED_BY_DOCUMENT) == set(POOLED)
    for feature, pool in POOLED_BY_DOCUMENT.items():
        alone = torch.cat([POOLED[feature](document[None], 4)[0] for document in x.split(lengths)])
        torch.testing.assert_close(pool(x, chunks), alone)


def test_a_score_per_chunk_routing_head_and_operation() -> None:
    router = Router(width=5, routing_heads=3)
    assert router(torch.randn(2, 10, 5), 4).shape == (2, 3, 3, 2)


def test_features_are_normalised_each_by_itself_and_concatenated() -> None:
    router, x = Router(5, 1, ("max", "mean")), torch.randn(2, 8, 5)
    parts = [F.rms_norm(POOLED[feature](x, 4), (5,)) for feature in ("max", "mean")]
    assert torch.equal(router(x, 4).flatten(2), router.score(torch.cat(parts, -1)))
    assert set(POOLED) == set(ROUTER_FEATURES)


def test_every_router_of_a_model_starts_by_leaning_towards_softmax() -> None:
    model = LanguageModel(small("token_hybrid", "token_hybrid"))
    for block in model.blocks:
        softmax, linear = block.mixer.router.score.bias.unflatten(0, (-1, 2)).unbind(-1)
        torch.testing.assert_close(softmax - linear, torch.full((2,), INITIAL_LEAN))


@pytest.mark.parametrize("documents", [None, Documents.of(torch.arange(3).repeat_interleave(4)[None])])
def test_without_feature_grad_the_router_alone_learns_to_route(documents: Documents | None) -> None:
    router, x = Router(5, 2, ("mean", "last")), torch.randn(1, 12, 5)
    found = []
    for feature_grad in ("full", "none"):
        router.feature_grad = feature_grad
        given = x.clone().requires_grad_()
        logits = router(given, 4, documents)
        (own,) = torch.autograd.grad(logits.square().sum(), router.score.weight, retain_graph=True)
        (reached,) = torch.autograd.grad(logits.square().sum(), given, allow_unused=True)
        found.append((logits, own, reached))
    (logits, own, reached), (same_logits, same_own, none) = found
    assert torch.equal(logits, same_logits)
    assert torch.equal(own, same_own)
    assert reached.abs().sum() > 0
    assert none is None
