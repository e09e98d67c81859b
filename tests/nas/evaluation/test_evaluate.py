"""Evaluation: policies, counting what was found, shares and quality, and which layer retrieves."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from nas.data import IGNORE, Batch
from nas.data.seeding import generator
from nas.evaluation.evaluate import evaluate, mean_share, retrieving_layer
from nas.evaluation.metrics import bits_by_position, quality_of
from nas.evaluation.planted import Counts, Found, most_found
from nas.models.language_model import LanguageModel
from nas.models.mixers import Policy
from nas.models.policies import at_random, drop_all, keep_all, learnt, policy_of, randomly, strided
from tests.nas.architectures import small

T, N = 11, 3
"""Tokens in a sequence, and its chunks of four; the last is short."""


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


def bools(text: str) -> Tensor:
    return torch.tensor([letter == "1" for letter in text])


@pytest.mark.parametrize(
    ("routed", "planted", "precision", "recall"),
    [
        ("1100", "1010", 1 / 2, 1 / 2),
        ("1110", "1000", 1 / 3, 1.0),
        ("1000", "1110", 1.0, 1 / 3),
        ("0011", "1100", 0.0, 0.0),
        ("1111", "1111", 1.0, 1.0),
        ("0000", "1100", math.nan, 0.0),
        ("1100", "0000", 0.0, math.nan),
        ("0000", "0000", math.nan, math.nan),
    ],
)
def test_precision_and_recall(routed: str, planted: str, precision: float, recall: float) -> None:
    counts = Counts.of(bools(routed), bools(planted))
    assert vars(counts.found) == pytest.approx({"precision": precision, "recall": recall}, nan_ok=True)
    harmonic = 2 / (1 / precision + 1 / recall) if precision > 0 and recall > 0 else 0
    assert counts.f1 == pytest.approx(harmonic)


def test_the_layer_that_finds_most_neither_keeps_everything_nor_next_to_nothing() -> None:
    everything, little = Counts(hits=8, routed=64, planted=8), Counts(hits=1, routed=1, planted=8)
    assert most_found([everything, Counts(hits=6, routed=8, planted=8), little]) == Found(6 / 8, 6 / 8)
    nothing = most_found([Counts(hits=0, routed=0, planted=8)] * 2)
    assert math.isnan(nothing.precision)
    assert nothing.recall == 0


def test_counts_averaged_over_processes_find_the_same() -> None:
    assert Counts(1.5, 2.5, 2.0).found == Counts(3, 5, 4).found
    assert Counts(0.1, 0.2, 0.3).f1 == pytest.approx(Counts(1, 2, 3).f1)


def test_always_gives_every_chunk_one_operation() -> None:
    logits = torch.randn(2, N, 2, 2)
    assert keep_all(0, logits).tolist() == torch.tensor([1.0, 0.0]).expand(2, N, 2, 2).tolist()
    assert drop_all(0, logits).tolist() == torch.tensor([0.0, 1.0]).expand(2, N, 2, 2).tolist()
    assert drop_all(0, logits.double()).dtype == torch.float64


def test_random_routing_has_the_share_of_each_layer_and_head() -> None:
    policy = at_random({0: [0.1, 0.7], 3: [0.0, 1.0]}, generator("test"))
    weights = {layer: policy(layer, torch.zeros(200, 50, 2, 2)) for layer in (0, 3)}
    for layer, expected in ((0, [0.1, 0.7]), (3, [0.0, 1.0])):
        assert (weights[layer].sum(-1) == 1).all()
        share = weights[layer][..., 0].mean((0, 1))
        torch.testing.assert_close(share, torch.tensor(expected), atol=0.02, rtol=0)


def test_random_routing_follows_its_generator_and_not_the_logits() -> None:
    first, second = (at_random({0: [0.5]}, generator("test"))(0, torch.randn(4, N, 1, 2)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.15, 0.25, 0.29, 1 / 3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("as_tensor", [False, True], ids=["number", "tensor"])
def test_strided_routing_keeps_chunks_at_fixed_distances(share: float, as_tensor: bool) -> None:
    exact = Fraction(share).limit_denominator(100)
    kept = [math.floor((n + 1) * exact) > math.floor(n * exact) for n in range(400)]
    weights = strided(torch.tensor(share) if as_tensor else share)(0, torch.randn(2, 400, 3, 2, dtype=torch.float64))
    assert weights.dtype == torch.float64
    assert torch.equal(weights.sum(-1), torch.ones(2, 400, 3, dtype=torch.float64))
    assert torch.equal(weights[..., 0] == 1, torch.tensor(kept)[None, :, None].expand(2, 400, 3))
    assert math.floor(400 * exact) == sum(kept)


@pytest.mark.parametrize("given", [randomly, strided])
def test_a_given_routing_reads_nothing_back(given: Callable[[Tensor], Policy]) -> None:
    with torch.device("meta"):
        assert given(torch.ones(()))(0, torch.zeros(2, 5, 2, 2)).is_meta


def test_the_policy_of_an_architecture_is_that_of_its_routers_or_the_given_one() -> None:
    logits = torch.randn(2, 20, 2, 2)
    assert policy_of(small()) is learnt
    by_stride = policy_of(small(given_routing="strided", given_share=0.25))(0, logits)
    assert by_stride[0, :, 0, 0].nonzero().flatten().tolist() == [3, 7, 11, 15, 19]
    assert policy_of(small(given_routing="strided", given_share=0.25), 0.5)(0, logits)[..., 0].mean() == 0.5
    by_chance = small(given_routing="random", given_share=0.25)
    first, second = (policy_of(by_chance, generator=generator("test"))(0, logits) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, randomly(0.25, generator("test"))(0, logits))


def test_the_learnt_routing_takes_the_larger_logit() -> None:
    logits = torch.tensor([[2.0, 1.0], [-1.0, 0.0]])
    assert learnt(0, logits).tolist() == [[1, 0], [0, 1]]


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


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("recall", 4 / 6), ("accuracy", 4 / 6), ("exact_match", 1 / 3), ("bits_per_byte", 2.5 / math.log(2))],
)
def test_a_figure_of_merit(measure: str, expected: float) -> None:
    correct = bools("110110")  # of three sequences with two scored tokens each
    loss = torch.arange(6.0)
    assert quality_of(measure, loss, correct, 3).item() == pytest.approx(expected)
    assert quality_of(measure, loss, correct, 3, torch.sum).item() == pytest.approx(
        expected * (3 if measure == "exact_match" else 6)
    )


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


@pytest.mark.parametrize(
    ("length", "ends"),
    [(11, [11]), (16, [16]), (17, [16, 17]), (64, [16, 32, 64]), (100, [16, 32, 64, 100])],
)
def test_bits_by_position_are_the_means_of_segments_of_doubling_length(length: int, ends: list[int]) -> None:
    loss = torch.rand(3, length)
    position = torch.arange(length).expand(3, -1)
    given = bits_by_position(loss.flatten(), position.flatten(), length)
    starts = [0, *ends[:-1]]
    expected = [loss[:, a:b].mean().item() / math.log(2) for a, b in zip(starts, ends, strict=True)]
    assert [end for end, _ in given] == ends
    assert [bits for _, bits in given] == pytest.approx(expected)


def test_bits_by_position_leave_out_a_segment_without_tokens() -> None:
    found = bits_by_position(torch.tensor([math.log(2), 0.0]), torch.tensor([20, 70]), 128)
    assert found == [(32, pytest.approx(1.0)), (128, 0.0)]


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
