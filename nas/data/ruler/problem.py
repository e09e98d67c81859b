"""The interface of every problem to the task, and the tokens that all problems have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

IS, QUESTION, STATEMENT = range(3)
"""Tokens before a value or an answer, before a question, and before a needle or an assignment."""

SIGNS = ("=", "?", "!")
"""Texts of `IS`, `QUESTION` and `STATEMENT`."""

SYMBOLS = 16
"""Number of symbols, from which values are made. Decimal numbers have the first ten."""

DECIMALS = 10


@dataclass(frozen=True)
class Vocabulary:
    """All tokens: signs, then symbols, words and noise.

    Attributes:
        words: number of words, which are keys, variables, and what is counted.
        noise: number of noise tokens.
    """

    words: int
    noise: int

    @property
    def size(self) -> int:
        """Return the number of tokens."""
        return len(SIGNS) + SYMBOLS + self.words + self.noise

    def symbol(self, index: Tensor) -> Tensor:
        """Return the tokens of symbols."""
        return index + len(SIGNS)

    def word(self, index: Tensor) -> Tensor:
        """Return the tokens of words."""
        return index + len(SIGNS) + SYMBOLS

    def draw_noise(self, size: int, length: int, random: torch.Generator) -> Tensor:
        """Draw noise tokens [size, length]."""
        return torch.randint(self.size - self.noise, self.size, (size, length), generator=random)

    def text(self, token: int) -> str:
        """Return a sign, a hexadecimal digit, or w or n (word, noise) and its number."""
        kinds = (SIGNS, "0123456789abcdef", [f"w{word}" for word in range(self.words)])
        for texts in kinds:
            if token < len(texts):
                return texts[token]
            token -= len(texts)
        return f"n{token}"


class Drawn(NamedTuple):
    """Contexts with a question each.

    Attributes:
        context: [B, C] tokens before the question.
        question: [B, q] tokens between `QUESTION` and `IS`.
        answer: [B, a] tokens to predict.
        planted: [B, C] whether the answer needs a context token; None where it needs all of them.
    """

    context: Tensor
    question: Tensor
    answer: Tensor
    planted: Tensor | None


class Problem(ABC):
    """One of RULER's tasks.

    Attributes:
        quality: name of the quality metric.
        asked, answered: tokens of a question and of an answer.
        least: smallest number of context tokens, without distractors.
    """

    quality: str = "recall"
    asked: int
    answered: int
    least: int

    def room(self, context: int) -> int | None:
        """Return the number of distractors that fit ``context`` tokens; None if a problem has no distractors."""
        return None

    @abstractmethod
    def draw(self, context: int, distractors: int, size: int, random: torch.Generator) -> Drawn:
        """Draw ``size`` contexts of ``context`` tokens, with questions and answers."""

    @abstractmethod
    def chance(self) -> float:
        """Return the quality of a model that ignores its input."""


def differing(choices: int, shape: tuple[int, int, int], random: torch.Generator) -> Tensor:
    """Draw sequences of ``choices`` symbols, [B, n, L]; the first of each row differs from all others of its row."""
    drawn = torch.randint(choices, shape, generator=random)
    others = drawn[:, 1:]
    while (same := (others == drawn[:, :1]).all(-1)).any():
        others[same] = torch.randint(choices, (int(same.sum()), shape[2]), generator=random)
    return drawn


def shuffled(values: Tensor, random: torch.Generator) -> Tensor:
    """Return the values [B, n] in random order, another one for each row."""
    return values.gather(1, torch.rand(values.shape, generator=random).argsort(1))
