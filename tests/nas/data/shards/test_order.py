"""The order of windows: a permutation in constant memory, and the mixture of sources."""

from collections import Counter

import numpy as np
import pytest

from nas.data.shards.order import Mixture, permuted


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 1000])
def test_every_index_has_its_own_place(size: int) -> None:
    assert sorted(permuted(np.arange(size), size, 3, "epoch", 0)) == list(range(size))


def test_places_of_few_indices_are_those_of_all() -> None:
    every = permuted(np.arange(1000), 1000, 0)
    assert permuted(np.array([7, 993]), 1000, 0).tolist() == every[[7, 993]].tolist()


def test_a_permutation_has_no_order_and_depends_on_its_key() -> None:
    first, other = (permuted(np.arange(10_000), 10_000, 0, epoch) for epoch in range(2))
    assert not np.array_equal(first, other)
    for given in (np.arange(10_000), other, np.roll(first, 1)):
        assert abs(np.corrcoef(first, given)[0, 1]) < 0.05


def test_each_place_is_as_likely_as_another() -> None:
    counts = sum(np.eye(6)[permuted(np.arange(6), 6, key)] for key in range(600))
    assert np.abs(counts / 600 - 1 / 6).max() < 0.07  # 4.6 standard deviations


def test_a_range_of_any_size_needs_no_memory() -> None:
    places = permuted(np.arange(4), 10**15, 0)
    assert len(set(places.tolist())) == 4
    assert (places >= 0).all()
    assert (places < 10**15).all()


@pytest.mark.parametrize("weights", [[1.0], [3.0, 1.0], [0.1, 0.2, 0.7]], ids=str)
def test_samples_are_split_by_weights_and_counted_by_source(weights: list[float]) -> None:
    mixture, seen = Mixture(weights), Counter[int]()
    for sample in range(500):
        source, earlier = mixture.place(sample)
        assert earlier == seen[source]
        seen[source] += 1
        assert all(abs(seen[one] - (sample + 1) * w / sum(weights)) < 1.5 for one, w in enumerate(weights))
    assert mixture.counts(500) == [seen[one] for one in range(len(weights))]
