"""The order in which windows of a corpus are drawn: shuffled without replacement, in constant memory.

Every function depends on its arguments alone, so that a step has the same windows in a resumed run.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nas.data.seeding import stable_seed

ROUNDS = 6
"""Rounds of the Feistel network."""
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, an odd number that mixes bits well."""


def permuted(indices: NDArray[np.int64], size: int, *key: int | str) -> NDArray[np.int64]:
    """Return the places of indices in a random permutation of range(size), which the key identifies.

    A Feistel network permutes a range whose size is a power of 4. An index that leaves range(size) passes through the
    network again until it is inside ("cycle walking"), less than 4 times on average.

    >>> sorted(permuted(np.arange(5), 5, "key").tolist())
    [0, 1, 2, 3, 4]
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    keys = np.array([stable_seed(*key, turn) for turn in range(ROUNDS)], dtype=np.uint64)
    found = _network(indices.astype(np.uint64), half, keys)
    while (outside := found >= size).any():
        found[outside] = _network(found[outside], half, keys)
    return found.astype(np.int64)


def _network(values: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return values of 2 * ``half`` bits after one pass through the Feistel network."""
    low = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & low
    for key in keys:
        mixed = (right + key) * MULTIPLIER  # of arrays: wraps around
        mixed = (mixed ^ (mixed >> np.uint64(32))) * MULTIPLIER
        left, right = right, left ^ (mixed >> np.uint64(32)) & low
    return left << half | right


class Mixture:
    """Assigns samples to sources in proportion to weights, evenly spread rather than by chance.

    Args:
        weights: weight of each source, over 0.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        exact = [Fraction(weight) for weight in weights]
        self._parts = [one / sum(exact[place:]) for place, one in enumerate(exact)]  # of what earlier sources leave

    def place(self, sample: int) -> tuple[int, int]:
        """Return the source of a sample (from 0), and how many earlier samples have the same source.

        >>> [Mixture([3, 1]).place(sample) for sample in range(4)]
        [(0, 0), (0, 1), (1, 0), (0, 2)]
        """
        for source, part in enumerate(self._parts):
            earlier = _rounded(sample * part)
            if _rounded((sample + 1) * part) > earlier:
                return source, earlier
            sample -= earlier
        raise AssertionError("the last source takes all samples that are left")

    def counts(self, samples: int) -> list[int]:
        """Return how many of the first samples each source has."""
        found = []
        for part in self._parts:
            found.append(_rounded(samples * part))
            samples -= found[-1]
        return found


def _rounded(value: Fraction) -> int:
    """Return the nearest integer; a half is rounded up."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
