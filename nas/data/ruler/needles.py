"""Needles: statements of a key and a value, of which one is requested.

    n4 n9 ! w3 w7 = 4 8 2 0 5 6 3 n1 n1 n5 ? w3 w7 = 4 8 2 0 5 6 3
                                      predict:       4 8 2 0 5 6 3

In the multi-key problems the whole context consists of needles with other keys and values. A few noise tokens remain
where no further needle fits. The requested key occurs in one needle alone.
"""

from typing import NamedTuple

import torch

from nas.data.ruler.problem import DECIMALS, IS, STATEMENT, SYMBOLS, Drawn, Problem, Vocabulary, differing, shuffled
from nas.data.stream import spread

NUMBER_LENGTH = 7
"""Digits of a number, as in RULER."""

UUID_LENGTH = 8
"""Symbols of an identifier; a UUID in RULER has 32."""


class Form(NamedTuple):
    """One form of the needles.

    Attributes:
        of_symbols: whether a key is made of symbols rather than of words.
        key_length: tokens of a key.
        values: number of different symbols in values.
        value_length: tokens of a value.
        fills: whether the whole context consists of needles.
    """

    of_symbols: bool
    key_length: int
    values: int
    value_length: int
    fills: bool


SINGLE = Form(False, 2, DECIMALS, NUMBER_LENGTH, False)
MULTIKEY_2 = Form(False, 2, DECIMALS, NUMBER_LENGTH, True)
MULTIKEY_3 = Form(True, UUID_LENGTH, SYMBOLS, UUID_LENGTH, True)


class Needles(Problem):
    """Repeat the value of the requested key."""

    quality = "exact_match"

    def __init__(self, form: Form, vocabulary: Vocabulary) -> None:
        self._form, self._vocabulary = form, vocabulary
        self.asked, self.answered = form.key_length, form.value_length
        self._needle = 2 + form.key_length + form.value_length
        self.least = self._needle * (2 if form.fills else 1)

    def room(self, context: int) -> int | None:
        """Return the number of further needles that fit; None where they fill the context anyway."""
        return None if self._form.fills else context // self._needle - 1

    def chance(self) -> float:
        """Return the exact match of a guess among all values."""
        return 1 / self._form.values**self._form.value_length

    def draw(self, context: int, distractors: int, size: int, random: torch.Generator) -> Drawn:
        """Draw contexts with the requested needle and others, all at random places."""
        form, vocabulary = self._form, self._vocabulary
        count = context // self._needle if form.fills else 1 + distractors
        tokens = vocabulary.draw_noise(size, context, random)
        choices = SYMBOLS if form.of_symbols else vocabulary.words
        key = differing(choices, (size, count, form.key_length), random)
        key = vocabulary.symbol(key) if form.of_symbols else vocabulary.word(key)
        value = vocabulary.symbol(differing(form.values, (size, count, form.value_length), random))

        sign = torch.full((size, count, 1), IS)
        needles = torch.cat([sign.new_full(sign.shape, STATEMENT), key, sign, value], dim=-1)
        starts = shuffled(spread(count, self._needle, context, size, random), random)
        position = starts[:, :, None] + torch.arange(self._needle)
        tokens.scatter_(1, position.flatten(1), needles.flatten(1))
        planted = torch.zeros(size, context, dtype=torch.bool).scatter_(1, position[:, 0], True)
        return Drawn(tokens, key[:, 0], value[:, 0], planted)
