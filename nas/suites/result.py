"""Results of the suites: scores with their noise, and scores by position or by distance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from nas.runs.decode import decode


@dataclass(frozen=True)
class Score:
    """A mean over scored units, such as tokens or answers.

    Attributes:
        value: the mean; nan if nothing was scored.
        error: its standard error over independent sequences; nan for less than two sequences.
        count: number of scored units.
    """

    value: float
    error: float
    count: int

    @classmethod
    def of(cls, totals: Tensor, weights: Tensor, count: int) -> Self:
        """Return the ratio of two sums over sequences, with the standard error of a ratio estimator (Cochran 1977).

        Args:
            totals: [n] sum of the values of each sequence.
            weights: [n] what this sum is divided by: number of units or of bytes.
            count: number of scored units of all sequences.
        """
        totals, weights = totals.double(), weights.double()
        seen = weights > 0
        if not seen.any():
            return cls(math.nan, math.nan, 0)
        value = totals.sum() / weights.sum()
        used = int(seen.sum())
        rest = (totals - value * weights)[seen]
        error = (rest.square().sum() / (used * (used - 1))).sqrt() / weights[seen].mean() if used > 1 else math.nan
        return cls(float(value), float(error), count)


@dataclass(frozen=True)
class Segment:
    """A range of positions or of distances.

    Attributes:
        start, end: the range in tokens, without its end.
        score: score of the units in the range.
    """

    start: int
    end: int
    score: Score


@dataclass(frozen=True)
class Result:
    """Result of one part of a suite at one length.

    Attributes:
        suite: name of the suite.
        part: task of the suite; "" if the suite has no parts.
        length: tokens of a sequence.
        sequences: number of sequences.
        scores: scores by name; the first is the headline.
        chance: score of a model that ignores the context, by name of the score.
        curves: scores by position or by distance, by name.
        examples: prompts with their outputs.
    """

    suite: str
    part: str
    length: int
    sequences: int
    scores: dict[str, Score] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[Segment]] = field(default_factory=dict)
    examples: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """Return a result of JSON values; raise a ValueError that names a missing or unfit field."""
        made: Self = decode(cls, stored, "result")
        return made


def by_segment(values: Tensor, weights: Tensor, place: Tensor, sequence: Tensor, ends: Sequence[int]) -> list[Segment]:
    """Return the score of each segment that has scored units.

    Args:
        values: [n] value of each unit, which is summed.
        weights: [n] what the sum of the values is divided by.
        place: [n] position or distance of each unit in tokens, below the last end.
        sequence: [n] index of the sequence of each unit.
        ends: ends of the segments, increasing.
    """
    if not len(values):
        return []
    own = torch.bucketize(place, torch.tensor(ends), right=True)
    sequences = int(sequence.max()) + 1
    cell = own * sequences + sequence
    shape = (len(ends), sequences)

    def summed(given: Tensor) -> Tensor:
        return torch.zeros(shape[0] * shape[1], dtype=torch.float64).index_add_(0, cell, given.double()).view(shape)

    totals, divided, counts = summed(values), summed(weights), summed(torch.ones_like(place))
    return [
        Segment(start, end, Score.of(total, divisor, int(count.sum())))
        for start, end, total, divisor, count in zip([0, *ends], ends, totals, divided, counts, strict=False)
        if count.sum() > 0 and divisor.sum() > 0
    ]
