"""Loss and quality of patterns: with the shared weights of a supernet, and trained alone."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from nas.evaluation.metrics import HIGHER
from nas.models.operations import OPERATIONS
from nas.runs.candidate import Candidate
from nas.runs.decode import decode
from nas.runs.metrics import Metrics

LETTERS = {name: operation.look.letter for name, operation in OPERATIONS.items()}


class Score(NamedTuple):
    """Loss and quality of a pattern."""

    loss: float
    quality: float


Scores = Mapping[str, Score]
"""Scores by pattern."""


class Supernet(NamedTuple):
    """A trained supernet: the scores of all patterns with its weights, and the number of its training tokens."""

    scores: Scores
    tokens: int


def full_name(pattern: str) -> str:
    """Return the architecture= value of nas.train for a pattern such as slls."""
    names = {letter: name for name, letter in LETTERS.items()}
    return "-".join(names[letter] for letter in pattern)


def scores(folder: Path) -> Scores:
    """Return the loss and quality of every pattern with the shared weights of a search."""
    (path,) = folder.glob("*/*/candidates.json")
    return by_pattern(decode(list[Candidate], json.loads(path.read_text(encoding="utf-8")), str(path)))


def by_pattern(candidates: Sequence[Candidate]) -> Scores:
    """Return the scores of a search's candidates by pattern."""
    return {"".join(LETTERS[name] for name in one.options): Score(one.loss, one.quality) for one in candidates}


@dataclass(frozen=True)
class Alone:
    """Every pattern trained alone with several seeds.

    Attributes:
        runs: metrics by pattern and seed.
        factor: sequence length of the scores, as a multiple of the training length.
        budget: largest softmax share of a pattern within the budget.
    """

    runs: Mapping[str, Sequence[Metrics]]
    factor: int
    budget: float

    @cached_property
    def scores(self) -> dict[str, list[Score]]:
        """Scores by pattern and seed."""
        found = {pattern: [run.learnt.by_factor[self.factor] for run in runs] for pattern, runs in self.runs.items()}
        return {pattern: [Score(one.loss, one.quality) for one in own] for pattern, own in found.items()}

    @cached_property
    def losses(self) -> dict[str, float]:
        """Mean loss by pattern."""
        return {pattern: statistics.mean(one.loss for one in own) for pattern, own in self.scores.items()}

    @cached_property
    def qualities(self) -> dict[str, float]:
        """Mean quality by pattern."""
        return {pattern: statistics.mean(one.quality for one in own) for pattern, own in self.scores.items()}

    @property
    def quality(self) -> str:
        """Name of the quality measure."""
        return next(iter(self.runs.values()))[0].quality

    @property
    def tokens(self) -> int:
        """Number of tokens of one training."""
        return next(iter(self.runs.values()))[0].training_tokens

    @property
    def allowed(self) -> list[str]:
        """The patterns within the budget, that of lowest loss first."""
        within = [pattern for pattern in self.runs if pattern.count("s") <= self.budget * len(pattern) + 1e-9]
        return sorted(within, key=self.losses.__getitem__)

    def regret(self, pattern: str) -> float:
        """Return how much worse a pattern is in mean quality than the best pattern within the budget."""
        sign = 1 if HIGHER[self.quality] else -1
        return max(sign * (self.qualities[best] - self.qualities[pattern]) for best in self.allowed)
