"""Bits per byte: the loss of all tokens over their bytes, by position."""

import math

import pytest
import torch

from nas.suites.text import BITS, BY_POSITION, CURVE, entropy, evaluate
from tests.nas.suites.fakes import NATS, Pairs, Predicting


def test_bits_are_divided_by_the_bytes_of_the_tokens() -> None:
    vocabulary = Pairs()
    row = vocabulary.encode(b"." + b"ab" * 20 + b"-" * 20)  # 41 tokens: 20 of two bytes after the first
    sequences = torch.tensor([row, row])
    subject = Predicting(lambda sequence, place: False, loss=lambda place: NATS * (4 if place < 16 else 1))
    seen: list[int] = []
    result = evaluate(subject, sequences, vocabulary, seen.append)
    assert seen == [2]
    assert (result.length, result.sequences) == (40, 2)
    assert result.scores[BITS].value == pytest.approx((16 * 4 + 24) / 60)
    assert result.scores["bits per token"].value == pytest.approx((16 * 4 + 24) / 40)
    assert result.scores[BITS].error == pytest.approx(0, abs=1e-6)
    bits = {(one.start, one.end): one.score.value for one in result.curves[BY_POSITION]}
    assert bits == pytest.approx({(0, 16): 64 / 32, (16, 32): 16 / (8 + 12), (32, 40): 1.0})
    assert [one.end for one in result.curves[CURVE]] == [16, 19, 23, 27, 32, 38, 40]
    assert result.chance[BITS] == pytest.approx(40 / 60)  # two tokens that are equally frequent


def test_an_end_token_counts_with_its_loss_and_no_bytes() -> None:
    sequences = torch.tensor([[0, 1, 256]])
    result = evaluate(Predicting(lambda sequence, place: False), sequences, Pairs(), lambda count: None)
    assert result.scores[BITS].value == pytest.approx(2.0)
    assert math.isnan(result.scores[BITS].error)
    assert entropy(torch.tensor([1, 1, 2, 2])) == 1.0
