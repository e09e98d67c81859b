"""Variable tracking: chains of assignments among noise; all variables with a given value are requested.

    n2 ! w5 = 4 1 n8 n3 ! w9 = w5 n6 ! w2 = w9 n1 n4 ? 4 1 = w5 w9 w2
                                          predict:           w5 w9 w2

As in RULER a chain has five variables (four hops), and its assignments stand in order. An answer lists the variables in
this order, and a model sees the correct variables so far. Distractors are further chains with other values.
"""

import torch

from nas.data.ruler.problem import DECIMALS, IS, STATEMENT, Drawn, Problem, Vocabulary, differing
from nas.data.stream import spread

CHAIN = 5
"""Variables of a chain."""

VALUE_LENGTH = 2
"""Digits of a value; 5 in RULER."""

STEP = 3 + VALUE_LENGTH
"""Largest number of tokens of an assignment."""


class Variables(Problem):
    """List all variables that have the requested value."""

    asked, answered, least = VALUE_LENGTH, CHAIN, CHAIN * STEP

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def room(self, context: int) -> int | None:
        """Return the number of further chains that fit, and for which there are variables."""
        return min(context // (CHAIN * STEP), self._vocabulary.words // CHAIN) - 1

    def chance(self) -> float:
        """Return the recall of a guess among all variables."""
        return 1 / self._vocabulary.words

    def draw(self, context: int, distractors: int, size: int, random: torch.Generator) -> Drawn:
        """Draw contexts with interleaved chains, of which the first is requested."""
        chains, vocabulary = 1 + distractors, self._vocabulary
        tokens = vocabulary.draw_noise(size, context, random)
        variable = torch.rand(size, vocabulary.words, generator=random).argsort(1)[:, : CHAIN * chains]
        variable = vocabulary.word(variable).unflatten(1, (chains, CHAIN))
        value = vocabulary.symbol(differing(DECIMALS, (size, chains, VALUE_LENGTH), random))

        starts = spread(CHAIN * chains, STEP, context, size, random)
        order = torch.rand(starts.shape, generator=random).argsort(1).unflatten(1, (chains, CHAIN)).sort(-1).values
        starts = starts.gather(1, order.flatten(1)).view(size, chains, CHAIN, 1)
        left = torch.stack([torch.full_like(variable, STATEMENT), variable, torch.full_like(variable, IS)], dim=-1)
        first = torch.cat([left[:, :, 0], value], dim=-1)  # [size, chains, STEP]
        later = torch.cat([left[:, :, 1:], variable[:, :, :-1, None]], dim=-1)  # [size, chains, CHAIN - 1, 4]
        planted = torch.zeros(size, context, dtype=torch.bool)
        for statement, start in ((first[:, :, None], starts[:, :, :1]), (later, starts[:, :, 1:])):
            position = start + torch.arange(statement.shape[-1])
            tokens.scatter_(1, position.flatten(1), statement.flatten(1))
            planted.scatter_(1, position[:, 0].flatten(1), True)
        return Drawn(tokens, value[:, 0], variable[:, 0], planted)
