"""Suite recall: n-grams that stand earlier in the sequence against all other tokens.

After Zoology (Arora et al. 2023, arXiv 2312.04927, section 3.1): a token is an AR hit if it ends an n-gram that stands
earlier in the sequence and is rare in the training data. A model can predict it by recall, but hardly by heart. Zoology
uses bigrams of a BPE vocabulary; an n-gram of bytes must be longer to be as telling.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.evaluation.metrics import segment_ends
from nas.suites.result import Result, Score, Segment, by_segment
from nas.suites.subject import Advance, Subject

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd factor of the hash of an n-gram: 2^64 over the golden ratio."""

HITS, OTHERS = "AR hits", "other tokens"


class Earlier(NamedTuple):
    """The earlier occurrences of the n-grams that targets end.

    Attributes:
        distance: [n, T] int64, tokens since the latest earlier occurrence; 0 where there is none.
        ngram: [n, T] uint64 as NumPy array, hash of the n-gram; 0 where a sequence is too short for one.
    """

    distance: Tensor
    ngram: NDArray[np.uint64]


def hashes(tokens: NDArray[np.int64], size: int) -> NDArray[np.uint64]:
    """Return a hash of each n-gram of tokens [..., T], [..., T - size + 1]; different n-grams hardly ever share one."""
    count = tokens.shape[-1] - size + 1
    found = np.zeros((*tokens.shape[:-1], max(count, 0)), dtype=np.uint64)
    for offset in range(size):
        mixed = (found ^ (tokens[..., offset : offset + count].astype(np.uint64) + np.uint64(1))) * MULTIPLIER
        found = mixed ^ (mixed >> np.uint64(29))
    return found


def earlier(sequences: Tensor, size: int) -> Earlier:
    """Return the latest earlier occurrence of the n-gram that each target ends.

    Args:
        sequences: [n, T + 1] tokens; the last T are targets.
        size: tokens of an n-gram, the target included.
    """
    count, length = sequences.shape[0], sequences.shape[1] - 1
    found = hashes(sequences.numpy(), size)
    distance, ngram = np.zeros((count, length), dtype=np.int64), np.zeros((count, length), dtype=np.uint64)
    for row, own in enumerate(found):
        order = np.argsort(own, kind="stable")  # equal n-grams in the order of their positions
        same = own[order][1:] == own[order][:-1]
        places = order + size - 2  # index of the target that an n-gram ends
        known = places[1:][same]
        distance[row, known] = known - places[:-1][same]
        ngram[row, size - 2 :] = own
    return Earlier(torch.from_numpy(distance), ngram)


def frequent(ngram: NDArray[np.uint64], training: Iterable[NDArray[np.int64]], size: int, most: float) -> Tensor:
    """Return whether n-grams are frequent in training data, bool of their shape.

    Args:
        ngram: hashes of n-grams.
        training: tokens of training data, in parts.
        size: tokens of an n-gram.
        most: largest number of occurrences in a million training tokens of an n-gram that is rare.
    """
    known, index = np.unique(ngram, return_inverse=True)
    counts, total = np.zeros(len(known), dtype=np.int64), 0
    for part in training:
        found = hashes(part, size)
        place = np.searchsorted(known, found).clip(max=len(known) - 1)
        counts += np.bincount(place[known[place] == found], minlength=len(known))
        total += len(found)
    return torch.from_numpy((counts > most * total / 1e6)[index].reshape(ngram.shape))


def evaluate(subject: Subject, sequences: Tensor, found: Earlier, common: Tensor, advance: Advance) -> Result:
    """Return accuracy and loss of AR hits, by distance too, and of all other tokens.

    Args:
        subject: the model.
        sequences: [n, T + 1] tokens.
        found: their n-grams, see `earlier`.
        common: [n, T] whether the n-gram that a target ends is frequent in training data.
        advance: see `nas.suites.subject.Advance`.
    """
    count, length = found.distance.shape
    predicted = subject.predict(sequences, advance)
    bits, right = predicted.losses.double() / math.log(2), predicted.hits.double()
    is_hit = (found.distance > 0) & ~common

    def score(values: Tensor, among: Tensor) -> Score:
        return Score.of((values * among).sum(1), among.sum(1), int(among.sum()))

    places = is_hit.nonzero()
    ends, distance = segment_ends(length), found.distance[is_hit]

    def by_distance(values: Tensor) -> list[Segment]:
        return by_segment(values[is_hit], torch.ones(len(places)), distance, places[:, 0], ends)

    return Result(
        suite="recall",
        part="",
        length=length,
        sequences=count,
        scores={
            f"accuracy on {HITS}": score(right, is_hit),
            f"accuracy on {OTHERS}": score(right, ~is_hit),
            f"bits per token on {HITS}": score(bits, is_hit),
            f"bits per token on {OTHERS}": score(bits, ~is_hit),
            f"share of {HITS}": Score.of(is_hit.sum(1), torch.full((count,), length), is_hit.numel()),
        },
        curves={
            f"accuracy on {HITS} by distance": by_distance(right),
            f"bits per token on {HITS} by distance": by_distance(bits),
        },
    )
