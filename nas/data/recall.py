"""Planted multi-query associative recall: find a few key-value pairs in a long stretch of noise.

After the multi-query associative recall of Zoology (Arora et al. 2024, arXiv 2312.04927): a sequence states
key-value pairs and later asks for the values of some of the keys. Here the pairs stand in blocks, planted at
random places among noise, so that it is known which chunks are worth remembering exactly:

    n8 n3 k7 v1 k3 v9 n5 n1 n1 k2 v4 k5 v1 n6 n2 n9 | n4 k3 n1 k5 n7 k2 n2 k7
                                            predict:      v9    v1    v4    v1

A block ends in a margin of noise. Short convolutions carry a pair's trace a few tokens on, and models like to retrieve
from there: without the margin the last pair of a block is stored in the chunk that follows it, which looks like noise
and yet is needed.

Difficulty is drawn per training batch: a sequence length and a number of pairs, each halved down from its full
value to its least value. Without the easy batches the plateau before learning starts is several times longer.
"""

import torch

from nas.data.batch import IGNORE, Batch, Part
from nas.data.stream import Stream, halvings, pick
from nas.errors import UserError


class Recall(Stream):
    """An endless, seeded stream of recall problems; implements `nas.data.batch.Task`.

    Token ids: keys first, then values, then noise.

    Args:
        keys, values, noise: how many different tokens of each kind there are.
        length: tokens in a sequence at full difficulty; min_length at the least.
        pairs: key-value pairs in a sequence at full difficulty; min_pairs at the least.
        block_size: tokens in a planted block, at positions that are multiples of it.
        block_margin: tokens at the end of a block that stay noise.
        queries: keys asked for at the end of every sequence, each behind a noise token.
        batch_size: sequences in a batch.
        validation_batches: batches to validate on, all at full difficulty.
        seed: seed of everything drawn.
    """

    name: str = "recall"
    quality: str = "recall"

    def __init__(
        self,
        *,
        keys: int,
        values: int,
        noise: int,
        length: int,
        min_length: int,
        pairs: int,
        min_pairs: int,
        block_size: int,
        block_margin: int,
        queries: int,
        batch_size: int,
        validation_batches: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size=batch_size, validation_batches=validation_batches, seed=seed)
        self._pairs_per_block = (block_size - block_margin) // 2
        if self._pairs_per_block < 1:
            raise UserError(
                f"data.block_size={block_size} and data.block_margin={block_margin} leave no room for a key-value "
                "pair; give a block of at least margin + 2 tokens."
            )
        if pairs > keys:
            raise UserError(f"data.pairs={pairs} needs as many different keys, but data.keys={keys}; give fewer pairs.")
        self._lengths = halvings("length", length, min_length)
        self._pairs = halvings("pairs", pairs, min_pairs)
        needed = self._blocks(pairs) * block_size + 2 * queries
        if min_length < needed:
            raise UserError(
                f"data.min_length={min_length} has no room for data.pairs={pairs} in blocks of {block_size} tokens "
                f"and {queries} queries; give at least {needed}, or fewer pairs or queries."
            )
        self.vocab_size = keys + values + noise
        self._keys, self._values, self._noise = keys, values, noise
        self._block_size, self._queries = block_size, queries

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        return self._draw(pick(self._lengths, random), pick(self._pairs, random), size, random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        return self._draw(self._lengths[0] * length_factor, self._pairs[0], size, random)

    def token_text(self, token: int) -> str:
        """k, v or n (key, value, noise) and its number."""
        for letter, count in (("k", self._keys), ("v", self._values)):
            if token < count:
                return f"{letter}{token}"
            token -= count
        return f"n{token}"

    def _blocks(self, pairs: int) -> int:
        """Planted blocks that hold ``pairs`` key-value pairs."""
        return -(-pairs // self._pairs_per_block)

    def _draw(self, length: int, pairs: int, size: int, random: torch.Generator) -> Batch:
        """``size`` sequences with every pair in a block, and queries for pairs drawn with replacement."""
        first_noise = self._keys + self._values
        tokens = torch.randint(first_noise, self.vocab_size, (size, length), generator=random)
        key = torch.rand(size, self._keys, generator=random).argsort(1)[:, :pairs]
        value = torch.randint(self._keys, first_noise, (size, pairs), generator=random)

        context = length - 2 * self._queries
        places = torch.rand(size, context // self._block_size, generator=random).argsort(1)
        starts = places[:, : self._blocks(pairs)].sort(1).values * self._block_size
        position = (starts[:, :, None] + torch.arange(2 * self._pairs_per_block)).flatten(1)[:, : 2 * pairs]
        tokens.scatter_(1, position, torch.stack([key, value], dim=-1).flatten(1))
        planted = torch.zeros(size, length, dtype=torch.bool).scatter_(1, position, True)

        asked = torch.randint(pairs, (size, self._queries), generator=random)
        targets = torch.full_like(tokens, IGNORE)
        tokens[:, context + 1 :: 2] = key.gather(1, asked)
        targets[:, context + 1 :: 2] = value.gather(1, asked)
        return Batch(tokens, targets, planted)
