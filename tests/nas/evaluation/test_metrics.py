"""Figures of merit, and bits per byte by position."""

import math

import pytest
import torch
from torch import Tensor

from nas.evaluation.metrics import (
    bits_by_position,
    loss_by_position,
    merit,
    quality_by_sequence,
    quality_of,
    segment_ends,
)


def bools(text: str) -> Tensor:
    return torch.tensor([letter == "1" for letter in text])


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("recall", 4 / 6),
        ("accuracy", 4 / 6),
        ("exact_match", 1 / 3),
        ("bits_per_byte", 2.5 / math.log(2)),
        ("bits_per_token", 2.5 / math.log(2)),
    ],
)
def test_a_figure_of_merit(measure: str, expected: float) -> None:
    correct = bools("110110")  # of three sequences with two scored tokens each
    loss = torch.arange(6.0)
    assert quality_of(measure, loss, correct, 3).item() == pytest.approx(expected)
    assert quality_of(measure, loss, correct, 3, torch.sum).item() == pytest.approx(
        expected * (3 if measure == "exact_match" else 6)
    )


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("recall", [1.0, 0.5, 0.5]),
        ("accuracy", [1.0, 0.5, 0.5]),
        ("exact_match", [1.0, 0.0, 0.0]),
        ("bits_per_byte", [bits / math.log(2) for bits in (0.5, 2.5, 4.5)]),
    ],
)
def test_the_quality_of_each_sequence_has_the_quality_as_its_mean(measure: str, expected: list[float]) -> None:
    correct, loss, sequence = bools("110110"), torch.arange(6.0), torch.tensor([0, 0, 1, 1, 2, 2])
    found = quality_by_sequence(measure, loss, correct, sequence, 3)
    assert found == pytest.approx(expected)
    assert sum(found) / 3 == pytest.approx(quality_of(measure, loss, correct, 3).item())


def test_bits_per_byte_are_over_the_bytes_of_tokens() -> None:
    loss, sequence = torch.tensor([1.0, 2.0, 6.0, 3.0, 8.0, 4.0]), torch.tensor([0, 0, 0, 1, 1, 1])
    lengths = torch.tensor([1, 0, 5, 2, 4, 4])
    correct, expected = bools("000000"), 24 / 16 / math.log(2)
    mean = lengths.double().mean()
    assert quality_of("bits_per_byte", loss, correct, 2, bytes_per_token=mean).item() == pytest.approx(expected)
    each = quality_by_sequence("bits_per_byte", loss, correct, sequence, 2, lengths)
    assert sum(each) / 2 == pytest.approx(expected)
    residuals = [(9 - 1.5 * 6) / 8, (15 - 1.5 * 10) / 8]  # of the ratio 1.5 nats a byte, over 8 bytes a sequence
    assert each == pytest.approx([expected + residual / math.log(2) for residual in residuals])
    position = torch.tensor([0, 1, 16, 0, 20, 40])
    assert bits_by_position(loss, position, 64, lengths) == [
        (16, pytest.approx(6 / 3 / math.log(2))),
        (32, pytest.approx(14 / 9 / math.log(2))),
        (64, pytest.approx(4 / 4 / math.log(2))),
    ]
    assert bits_by_position(loss[1:2], position[1:2], 64, lengths[1:2]) == [], "tokens without bytes"
    assert loss_by_position(loss, position, 64) == [(16, 2.0), (32, 7.0), (64, 4.0)]


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


def test_recall_is_better_the_more_and_bits_the_fewer() -> None:
    assert merit("recall", 0.6, 1.0) > merit("recall", 0.5, 0.1)
    assert merit("bits_per_byte", 1.9, 1.3) > merit("bits_per_byte", 2.0, 1.4)


def test_of_equal_quality_the_lower_loss_is_better_and_never_more_than_one_answer() -> None:
    assert merit("recall", 0.5, 0.9) > merit("recall", 0.5, 1.0) > merit("recall", 0.5, 1e9)
    one_more = 0.5 + 1 / 1_000_000
    assert merit("recall", one_more, 1e9) > merit("recall", 0.5, 0.0)


@pytest.mark.parametrize(("quality", "loss"), [(math.nan, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_diverged_is_worse_than_anything(quality: float, loss: float) -> None:
    assert merit("recall", quality, loss) == -math.inf < merit("recall", 0.0, 1e30)


def test_segments_end_at_powers_of_two_and_at_the_end() -> None:
    assert segment_ends(100) == [16, 32, 64, 100]
    assert segment_ends(32) == [16, 32]
    assert segment_ends(9) == [9]
    assert segment_ends(40, parts=2) == [16, 23, 32, 40]
