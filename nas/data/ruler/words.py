"""Word counts: contexts in which a few words are the most frequent, and these are requested.

    w7 w2 w9 w2 w4 w7 w2 w1 w7 ? = w2 w7
                    predict:       w2 w7

The answer depends on the whole context, so no token is planted.
"""

import math

import torch
from torch import Tensor

from nas.data.ruler.problem import Drawn, Problem, Vocabulary, shuffled

COMMON = 4
"""Number of common words; 10 in RULER, whose vocabulary is larger."""

RATIO = 10
"""A common word is about this many times as frequent as any other, as in RULER."""

FREQUENT = 3
"""Number of requested frequent words, as in RULER."""

ALPHA = 2.0
"""Exponent of the Zeta distribution of frequent words, as in RULER."""


class CommonWords(Problem):
    """List the words that are about ten times as frequent as all others, in the order of the vocabulary.

    Common words are equally frequent. RULER accepts them in any order; here one order makes the answer unambiguous.
    """

    asked, answered = 0, COMMON

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._units = COMMON * RATIO + vocabulary.words - COMMON
        self.least = math.ceil(2 * self._units / RATIO)  # each common word occurs twice, no other one does

    def chance(self) -> float:
        """Return the recall of the best guess for each place in the order."""
        words = self._vocabulary.words

        def likeliest(place: int) -> float:  # the guess that most often is the common word at this place
            ways = (math.comb(word, place) * math.comb(words - 1 - word, COMMON - 1 - place) for word in range(words))
            return max(ways) / math.comb(words, COMMON)

        return sum(map(likeliest, range(COMMON))) / COMMON

    def draw(self, context: int, distractors: int, size: int, random: torch.Generator) -> Drawn:
        """Draw contexts in which each word has a fixed count, in random order."""
        words = self._vocabulary.words
        word = torch.rand(size, words, generator=random).argsort(1)
        often = context * RATIO // self._units
        seldom, more = divmod(context - COMMON * often, words - COMMON)
        counts = torch.tensor([often] * COMMON + [seldom + 1] * more + [seldom] * (words - COMMON - more))
        tokens = shuffled(word.repeat_interleave(counts, dim=1), random)
        common = word[:, :COMMON].sort(1).values
        return _counted(self._vocabulary, self._vocabulary.word(tokens), common)


class FrequentWords(Problem):
    """List the three most frequent words, the most frequent first.

    Frequencies follow a Zeta distribution, of which noise takes the first rank. Counts are fixed: no two of the four
    most frequent words are equally frequent.
    """

    asked, answered = 0, FREQUENT

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        last = FREQUENT + 1  # rank of the last requested word
        self.least = math.ceil(1 / (frequency(last) - frequency(last + 1)))

    def chance(self) -> float:
        """Return the recall of a guess among all words."""
        return 1 / self._vocabulary.words

    def draw(self, context: int, distractors: int, size: int, random: torch.Generator) -> Drawn:
        """Draw contexts in which words of each rank have a fixed count, among noise."""
        words = self._vocabulary.words
        word = torch.rand(size, words, generator=random).argsort(1)
        counts = torch.tensor([int(context * frequency(rank)) for rank in range(2, words + 2)])
        listed = self._vocabulary.word(word.repeat_interleave(counts, dim=1))
        noise = self._vocabulary.draw_noise(size, context - listed.shape[1], random)
        tokens = shuffled(torch.cat([listed, noise], dim=1), random)
        return _counted(self._vocabulary, tokens, word[:, :FREQUENT])


def frequency(rank: int) -> float:
    """Return the share of tokens with the word of a rank, from 1 on."""
    return rank**-ALPHA / (math.pi**2 / 6)


def _counted(vocabulary: Vocabulary, tokens: Tensor, answer: Tensor) -> Drawn:
    return Drawn(tokens, tokens[:, :0], vocabulary.word(answer), None)
