"""How found chunks are counted: precision, recall, and the layer that finds most."""

import math

import pytest
import torch
from torch import Tensor

from nas.evaluation.planted import Counts, Found, most_found


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
