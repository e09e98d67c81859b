"""AR hits against their definition by brute force."""

import numpy as np
import pytest
import torch

from nas.suites.recall import Earlier, earlier, evaluate, frequent, hashes
from tests.nas.suites.fakes import Predicting, copies


def distance(row: list[int], place: int, size: int) -> int:
    """Tokens since the latest earlier occurrence of the n-gram that ends at a place; 0 if there is none."""
    ngram = row[max(0, place + 1 - size) : place + 1]
    starts = range(place - size, -1, -1)
    return next((place + 1 - size - start for start in starts if row[start : start + size] == ngram), 0)


@pytest.mark.parametrize("size", [2, 3])
def test_the_latest_earlier_n_gram_is_found(size: int) -> None:
    sequences = torch.randint(4, (3, 41))
    found = earlier(sequences, size).distance
    expected = [[distance(row, place, size) for place in range(1, 41)] for row in sequences.tolist()]
    assert found.tolist() == expected
    assert 0 < (found > 0).sum() < found.numel()


def test_n_grams_that_are_frequent_in_training_are_known() -> None:
    sequences, training = torch.randint(3, (2, 30)), torch.randint(3, (200,))
    found = earlier(sequences, 2)
    every = [
        tuple(pair) for part in training.split(100) for pair in zip(part.tolist(), part[1:].tolist(), strict=False)
    ]
    most = 0.11e6
    expected = [
        [every.count(tuple(row[place - 1 : place + 1])) > 0.11 * len(every) for place in range(1, 30)]
        for row in sequences.tolist()
    ]
    common = frequent(found.ngram, (part.numpy() for part in training.split(100)), 2, most)
    assert common.tolist() == expected
    assert 0 < common.sum() < common.numel()
    assert not frequent(found.ngram, [], 2, 0.0).any()


def test_hashes_tell_n_grams_apart_by_order_and_by_size() -> None:
    tokens = np.array([[1, 2, 1, 2, 0, 1]])
    assert len(np.unique(hashes(tokens, 2))) == 4
    assert hashes(tokens, 7).shape == (1, 0)
    assert len(np.unique(hashes(np.arange(20000), 2))) == 19999


def test_a_model_that_copies_is_right_on_hits_alone() -> None:
    row = [*range(20), 5, 6, 7, 8, *range(20, 40), 5, 6, 7, *range(40, 60)]
    sequences = torch.tensor([row, [*range(100, 100 + len(row))]])
    found = earlier(sequences, 3)
    result = evaluate(
        Predicting(copies), sequences, found, torch.zeros_like(found.distance, dtype=torch.bool), lambda count: None
    )
    scores = {name: (score.value, score.count) for name, score in result.scores.items()}
    assert scores["accuracy on AR hits"] == (1.0, 3)
    assert scores["accuracy on other tokens"][0] == 0.0
    assert scores["bits per token on AR hits"][0] == pytest.approx(1.0)
    assert scores["share of AR hits"][0] == pytest.approx(3 / (2 * (len(row) - 1)))
    curve = result.curves["accuracy on AR hits by distance"]
    assert [(one.start, one.end, one.score.count) for one in curve] == [(0, 16, 2), (16, 32, 1)]
    common = found.distance > 0
    none = evaluate(Predicting(copies), sequences, Earlier(found.distance, found.ngram), common, lambda count: None)
    assert none.scores["accuracy on AR hits"].count == 0
    assert none.curves["accuracy on AR hits by distance"] == []
