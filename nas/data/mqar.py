"""Multi-query associative recall as in Zoology: key-value pairs at the start, and one later query for each key.

After ``multiquery_ar`` of https://github.com/HazyResearch/zoology (Arora et al. 2024, arXiv 2312.04927). Keys are
tokens of the lower half of the vocabulary, values of the upper half. After the pairs each key appears once more, and
its value is to be predicted there. The distance of a query from the end of the pairs is even and follows a power law
(short distances are more likely):

    k7 v1 k3 v9 n5 n1 k3 n1 k7 n2 n8 n3
            predict:  v9    v1

All other positions hold tokens drawn from the whole vocabulary, or token 0. Zoology trains 32 epochs on 180,000
sequences; here the stream is endless.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.data.batch import IGNORE, Batch, Part
from nas.data.stream import Stream
from nas.errors import UserError

EMPTY = 0
"""Token of empty positions; it is no key."""


class MQAR(Stream):
    """An endless, seeded stream of Zoology's recall problems; implements `nas.data.batch.Task`.

    Args:
        vocab_size: number of tokens: the empty token 0, keys from 1 on, values from the upper half.
        length, pairs: tokens and key-value pairs of a sequence at full difficulty. Both grow with the length factor.
        settings: difficulties of training batches, each [length, pairs, weight]; weights are relative frequencies.
        power_a: exponent of the power law: a distance of 2 i tokens has weight (i + 1) ** (power_a - 1); 1 is uniform.
        random_non_queries: whether other positions hold random tokens rather than token 0.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches.
        seed: seed of all random draws.
    """

    name: str = "mqar"
    quality: str = "recall"

    def __init__(
        self,
        *,
        vocab_size: int,
        length: int,
        pairs: int,
        settings: Sequence[Sequence[int]],
        power_a: float,
        random_non_queries: bool,
        batch_size: int,
        validation_batches: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size=batch_size, validation_batches=validation_batches, seed=seed)
        self.vocab_size, self._values_from = vocab_size, vocab_size // 2
        self._check(f"data.length={length} and data.pairs={pairs}", length, pairs)
        if not settings:
            raise UserError("data.settings is empty; give one or more of [length, pairs, weight].")
        for setting in settings:
            self._check_setting(setting, length)
        self._length, self._pairs = length, pairs
        self._settings = [(tokens, pairs) for tokens, pairs, _ in settings]
        self._weights = torch.tensor([float(weight) for _, _, weight in settings])
        self._power_a, self._random_non_queries = power_a, random_non_queries

    def token_text(self, token: int) -> str:
        """Return k or v (key, value) and its number; 0 for the empty token."""
        if token == EMPTY:
            return "0"
        return f"k{token}" if token < self._values_from else f"v{token - self._values_from}"

    def chance(self) -> float:
        """Return the recall of a guess among all values."""
        return 1 / (self.vocab_size - self._values_from)

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        setting = int(torch.multinomial(self._weights, 1, generator=random))
        return self._draw(*self._settings[setting], size, random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        length, pairs = self._length * length_factor, self._pairs * length_factor
        self._check(f"data.length_factors has {length_factor}", length, pairs)
        return self._draw(length, pairs, size, random)

    def _draw(self, length: int, pairs: int, size: int, random: torch.Generator) -> Batch:
        """Draw ``size`` sequences; the keys and values of each are distinct, and queries come in random order."""

        def distinct(weights: Tensor) -> Tensor:  # [size, pairs] draws without replacement, by weight
            return torch.multinomial(weights.expand(size, -1), pairs, generator=random)

        key = distinct(torch.ones(self._values_from - 1)) + 1
        value = distinct(torch.ones(self.vocab_size - self._values_from)) + self._values_from
        context = 2 * pairs
        distance = torch.arange(1, (length - context) // 2 + 1)
        query_positions = context + 2 * distinct(distance.double() ** (self._power_a - 1))

        tokens = torch.full((size, length), EMPTY)
        if self._random_non_queries:
            tokens = torch.randint(self.vocab_size, (size, length), generator=random)
        tokens[:, :context] = torch.stack([key, value], dim=-1).flatten(1)
        tokens.scatter_(1, query_positions, key)
        targets = torch.full_like(tokens, IGNORE).scatter_(1, query_positions, value)
        planted = (torch.arange(length) < context).expand(size, -1).contiguous()
        return Batch(tokens, targets, planted)

    def _check_setting(self, setting: Sequence[int], longest: int) -> None:
        named = f"data.settings has {list(setting)}"
        if len(setting) != 3 or min(setting) < 1:
            raise UserError(f"{named}; give [length, pairs, weight], each 1 or more.")
        length, pairs, _ = setting
        if length > longest:
            raise UserError(f"{named}, longer than data.length={longest}; give shorter ones, or a larger data.length.")
        self._check(named, length, pairs)

    def _check(self, named: str, length: int, pairs: int) -> None:
        """Raise UserError unless pairs and queries fit: two tokens for each pair, and two for each query position."""
        if 4 * pairs > length:
            raise UserError(
                f"{named}: {length} tokens have no room for {pairs} pairs and a query of each; "
                f"give at least {4 * pairs} tokens, or at most {length // 4} pairs."
            )
        if pairs >= self._values_from:
            raise UserError(
                f"{named}: {pairs} pairs need as many different keys, and data.vocab_size={self.vocab_size} has "
                f"{max(self._values_from - 1, 0)}; give at least {2 * (pairs + 1)}, or fewer pairs."
            )
