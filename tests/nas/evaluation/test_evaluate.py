"""Evaluation: shares, quality and what was found over batches, and which layer retrieves."""

import math

import pytest
import torch
from torch import Tensor

from nas.data import IGNORE, Batch
from nas.evaluation.evaluate import evaluate, mean_share, retrieving_layer
from nas.evaluation.planted import Found
from nas.models.language_model import LanguageModel
from nas.models.policies import learnt
from tests.nas.architectures import small

T = 11
"""Tokens in a sequence of three chunks of four; the last is short."""


def batch(sequences: int = 2, planted: list[list[int]] | None = None) -> Batch:
    """Random tokens, a third of them scored; ``planted`` chunks hold one planted token each."""
    tokens = torch.randint(11, (sequences, T))
    targets = torch.randint(11, (sequences, T)).where(torch.rand(sequences, T) < 0.3, torch.tensor(IGNORE))
    targets[:, -1] = 0
    marks = None
    if planted is not None:
        marks = torch.zeros(sequences, T, dtype=torch.bool)
        for sequence, chunks in enumerate(planted):
            marks[sequence, [4 * chunk + 1 for chunk in chunks]] = True
    return Batch(tokens, targets, marks)


def test_shares_and_found_chunks_are_counted_by_head_and_by_layer() -> None:
    routes = torch.tensor([[[1, 0], [0, 0], [1, 0]], [[1, 1], [1, 0], [0, 0]]])  # [sequence, chunk, head]

    def policy(layer: int, logits: Tensor) -> Tensor:
        return torch.stack([routes, 1 - routes], dim=-1).to(logits)

    model = LanguageModel(small("linear", "token_hybrid"))
    result = evaluate(model, [batch(planted=[[0, 1], [0]])] * 2, "recall", policy)
    assert result.shares == {1: [pytest.approx(4 / 6), pytest.approx(1 / 6)]}
    assert result.share == pytest.approx(5 / 12)
    assert result.found == {1: [Found(2 / 4, 2 / 3), Found(1.0, 1 / 3)]}
    assert result.found_by_layer == {1: Found(2 / 4, 2 / 3)}


def test_where_nothing_is_planted_nothing_is_found() -> None:
    result = evaluate(LanguageModel(small("token_hybrid")), [batch()], "recall")
    assert result.found == result.found_by_layer == {}
    assert set(result.shares) == {0}


@pytest.mark.parametrize("mixer", ["softmax", "linear"])
def test_a_model_without_routers_has_no_share(mixer: str) -> None:
    result = evaluate(LanguageModel(small(mixer)), [batch(planted=[[0], [1]])], "recall")  # type: ignore[arg-type]
    assert result.shares == result.found == result.found_by_layer == {}
    assert math.isnan(result.share)
    assert math.isnan(mean_share({}))


def test_quality_is_over_scored_tokens_of_all_batches() -> None:
    model, batches = LanguageModel(small()), [batch(1), batch(5)]
    logits = torch.cat([model(b.tokens, learnt).logits[b.targets != IGNORE] for b in batches])
    targets = torch.cat([b.targets[b.targets != IGNORE] for b in batches])
    loss = torch.nn.functional.cross_entropy(logits, targets).item()
    recall, bits = (evaluate(model, batches, measure) for measure in ("recall", "bits_per_byte"))
    assert recall.loss == bits.loss == pytest.approx(loss, rel=1e-5)
    assert recall.quality == pytest.approx((logits.argmax(-1) == targets).float().mean().item())
    assert bits.quality == pytest.approx(loss / math.log(2), rel=1e-5)


def test_bits_per_byte_are_over_the_bytes_of_the_predicted_tokens() -> None:
    model, batches = LanguageModel(small()), [batch(1), batch(5)]
    targets = torch.cat([b.targets[b.targets != IGNORE] for b in batches])
    lengths = torch.arange(11)
    result = evaluate(model, batches, "bits_per_byte", byte_lengths=lengths)
    assert result.quality == pytest.approx(result.loss / math.log(2) / lengths[targets].double().mean().item())
    assert sum(result.by_sequence) / len(result.by_sequence) == pytest.approx(result.quality)
    plain = evaluate(model, batches, "bits_per_byte")
    assert result.loss == plain.loss
    assert plain.loss_by_position is None
    assert plain.by_position is not None
    found = [(end, loss / math.log(2)) for end, loss in result.loss_by_position or []]
    assert found == [(end, pytest.approx(bits)) for end, bits in plain.by_position]


def test_a_sequence_matches_where_all_its_scored_tokens_are_right() -> None:
    model, given = LanguageModel(small()), batch(6)
    with torch.no_grad():
        right = model(given.tokens, learnt).logits.argmax(-1)
    scored = torch.arange(T) >= 8
    targets = right.where(scored, torch.tensor(IGNORE))
    targets[0, 8] = (targets[0, 8] + 1) % 11
    targets[3, 9:] = (targets[3, 9:] + 1) % 11
    batches = [Batch(given.tokens[:2], targets[:2], None), Batch(given.tokens[2:], targets[2:], None)]
    assert evaluate(model, batches, "exact_match").quality == pytest.approx(4 / 6)
    assert evaluate(model, batches, "accuracy").quality == pytest.approx(15 / 18)


def test_bits_per_byte_come_by_position() -> None:
    model = LanguageModel(small())
    tokens, targets = torch.randint(11, (2, 5, 40))
    partly = targets.where(torch.arange(40) % 3 == 0, torch.tensor(IGNORE))
    batches = [Batch(tokens[:2], targets[:2], None), Batch(tokens[2:], partly[2:], None)]
    result = evaluate(model, batches, "bits_per_byte")
    logits = model(tokens, learnt).logits
    scored = torch.cat([targets[:2], partly[2:]])
    loss = torch.nn.functional.cross_entropy(logits.mT, scored, reduction="none", ignore_index=IGNORE) / math.log(2)
    expected = {
        end: (loss[:, start:end].sum() / (scored[:, start:end] != IGNORE).sum()).item()
        for start, end in ((0, 16), (16, 32), (32, 40))
    }
    assert result.by_position is not None
    assert dict(result.by_position) == pytest.approx(expected, rel=1e-5)
    assert evaluate(model, batches, "recall").by_position is None


def test_the_mode_of_the_model_is_put_back() -> None:
    model = LanguageModel(small())
    for mode in (True, False):
        model.train(mode)
        evaluate(model, [batch()], "recall")
        assert model.training is mode
        assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("retrieving", [0, 2])
def test_the_retrieving_layer_is_the_one_that_cannot_do_without_softmax(retrieving: int) -> None:
    model = LanguageModel(small("token_hybrid", "linear", "token_hybrid"))
    given = batch(8)
    with torch.no_grad():
        model.blocks[2 - retrieving].mixer.out.weight.zero_()
        model.blocks[retrieving].mixer.out.weight.normal_()
        model.head.weight.mul_(2000)
        right = model(given.tokens, learnt).logits.argmax(-1)
    solved = Batch(given.tokens, right, None)
    assert evaluate(model, [solved], "recall").quality == 1.0
    assert retrieving_layer(model, [solved], "recall") == retrieving


def test_the_other_layers_follow_the_policy_while_one_is_silenced() -> None:
    model = LanguageModel(small("token_hybrid", "linear", "token_hybrid"))
    asked: list[int] = []

    def policy(layer: int, logits: Tensor) -> Tensor:
        asked.append(layer)
        return learnt(layer, logits)

    retrieving_layer(model, [batch()], "recall", policy)
    assert asked == [2, 0]


def test_without_routers_no_layer_retrieves() -> None:
    assert retrieving_layer(LanguageModel(small("linear", "softmax")), [batch()], "recall") is None
