"""Words that are frequent in the context: the ten common ones of a list, or the three most frequent coded words."""

import math
from random import Random
from string import ascii_lowercase

from nas.data.ruler.words import FREQUENT, frequency
from nas.suites.ruler.prompts import Prompt, listed, words

COMMON_TEMPLATE = (
    "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that "
    "appear most often.\n{context}\nQuestion: What are the 10 most common words in the above list? Answer: The top 10 "
    "words that appear most often in the list are:"
)
FREQUENT_TEMPLATE = (
    "Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared "
    "coded words. {context}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the "
    "three most frequently appeared words in the above coded text? Answer: According to the coded text above, the "
    "three most frequently appeared words are:"
)
COMMON = 10
"""Number of common words."""
LONG = 4096
"""Tokens from which on words occur more often."""
LETTERS = 6
"""Letters of a coded word."""
NOISE = "..."
"""Stands for the most frequent coded word."""
LAST = 1 + FREQUENT
"""Rank of the last requested word."""


class CommonWords:
    """List the ten words that occur 30 times, where all others occur 3 times; below 4096 tokens 6 times and once.

    Args:
        length: tokens of a sequence.
    """

    least = 1

    def __init__(self, length: int) -> None:
        self._often, self._seldom = (30, 3) if length >= LONG else (6, 1)

    def draw(self, units: int, random: Random) -> Prompt:
        """See `nas.suites.ruler.prompts.Problem`; a unit is a word that is not common."""
        chosen = words(COMMON + units, random)
        common = chosen[:COMMON]
        every = common * self._often + chosen[COMMON:] * self._seldom
        random.shuffle(every)
        return Prompt(COMMON_TEMPLATE.format(context=_numbered(every)), common, f" {_numbered(common)}")


class FrequentWords:
    """List the three most frequent of coded words, whose counts follow a Zeta distribution; the first rank is noise."""

    least = math.ceil(1 / (frequency(LAST) - frequency(LAST + 1)))

    def draw(self, units: int, random: Random) -> Prompt:
        """See `nas.suites.ruler.prompts.Problem`; a unit is a coded word or noise."""
        coded, every, rank = [NOISE], [NOISE] * int(units * frequency(1)), 2
        while count := int(units * frequency(rank)):
            coded.append("".join(random.choices(ascii_lowercase, k=LETTERS)))
            every += coded[-1:] * count
            rank += 1
        random.shuffle(every)
        answers = coded[1:LAST]
        return Prompt(FREQUENT_TEMPLATE.format(context=" ".join(every)), answers, f" {listed(answers)}.")


def _numbered(every: list[str]) -> str:
    return " ".join(f"{place}. {word}" for place, word in enumerate(every, start=1))
