"""Planted multi-query associative recall: find a few key-value pairs in a long stretch of noise.

After the multi-query associative recall of Zoology (Arora et al. 2024, arXiv 2312.04927): a sequence states key-value
pairs and later queries the values of some of the keys. Here the pairs are planted in blocks at random positions among
noise, so that it is known which chunks must be remembered exactly:

    n8 n3 k7 v1 k3 v9 n5 n1 n1 k2 v4 k5 v1 n6 n2 n9 | n4 k3 n1 k5 n7 k2 n2 k7
                                            predict:      v9    v1    v4    v1

A block ends in a margin of noise. Short convolutions carry information about a pair a few tokens on, and models tend to
retrieve from there. Without the margin the last pair of a block would be stored in the next chunk, which looks like
noise and yet is needed.

Three options make the task harder:

- ``distractors`` are further pairs of the same form that are never queried. Pairs and distractors share the blocks in
  random order, so that only a query tells them apart.
- With ``aligned=False`` a block begins at any token, and may lie in two chunks.
- With ``shared_noise=True`` the noise around the pairs consists of values, and of keys that are in no pair of the
  sequence: the kind of a token no longer tells a pair from noise.

Difficulty is drawn per training batch: a sequence length and a number of pairs, each a halving of its maximum down to
its minimum. Without easy batches the plateau before learning starts is several times longer.
"""

import torch
from torch import Tensor

from nas.data.batch import IGNORE, Batch, Part
from nas.data.stream import Stream, halvings, pick, spread
from nas.errors import UserError


class Recall(Stream):
    """An endless, seeded stream of recall problems; implements `nas.data.batch.Task`.

    Token ids: keys first, then values, then noise.

    Args:
        keys, values, noise: number of different tokens of each kind.
        length, min_length: largest and smallest number of tokens in a sequence.
        pairs, min_pairs: largest and smallest number of key-value pairs in a sequence.
        block_size: tokens in a planted block.
        block_margin: tokens at the end of a block that stay noise.
        queries: queried keys at the end of every sequence, each after a noise token.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches, all at full difficulty.
        seed: seed of all random draws.
        distractors: key-value pairs that are never queried; shorter training sequences have as many as fit.
        aligned: whether the position of a block is a multiple of its size.
        shared_noise: whether the noise between the pairs consists of keys and values. The noise token before each query
            stays one of the ``noise`` tokens, so that a queried key is followed by a value only in its pair.
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
        distractors: int = 0,
        aligned: bool = True,
        shared_noise: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, validation_batches=validation_batches, seed=seed)
        self._pairs_per_block = (block_size - block_margin) // 2
        if self._pairs_per_block < 1:
            raise UserError(
                f"data.block_size={block_size} and data.block_margin={block_margin} leave no room for a key-value "
                "pair; give data.block_size of at least data.block_margin + 2."
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
        self._distractors, self._aligned, self._shared_noise = distractors, aligned, shared_noise
        self._check_distractors(length)

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        return self._draw(pick(self._lengths, random), pick(self._pairs, random), size, random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        return self._draw(self._lengths[0] * length_factor, self._pairs[0], size, random)

    def token_text(self, token: int) -> str:
        """Return k, v or n (key, value, noise) and its number."""
        for letter, count in (("k", self._keys), ("v", self._values)):
            if token < count:
                return f"{letter}{token}"
            token -= count
        return f"n{token}"

    def chance(self) -> float:
        """Return the recall of a guess among all values."""
        return 1 / self._values

    def _blocks(self, pairs: int) -> int:
        """Return the number of planted blocks for ``pairs`` key-value pairs."""
        return -(-pairs // self._pairs_per_block)

    def _check_distractors(self, length: int) -> None:
        """Raise UserError unless the longest sequences have room, and enough keys, for pairs, distractors and noise."""
        pairs, given = self._pairs[0], f"data.distractors={self._distractors}"
        if self._distractors > (room := self._room(length, pairs)):
            raise UserError(
                f"{given} do not fit: data.length={length} has room for {room} beside data.pairs={pairs} and "
                f"{self._queries} queries; give at most {room}, or a larger data.length."
            )
        needed = pairs + self._distractors + self._shared_noise
        if needed > self._keys:
            noise = " and data.shared_noise=true" if self._shared_noise else ""
            raise UserError(
                f"{given}{noise} with data.pairs={pairs} need {needed} different keys, but data.keys={self._keys}; "
                f"give data.keys of at least {needed}, or fewer pairs or distractors."
            )

    def _room(self, length: int, pairs: int) -> int:
        """Return the number of distractors for which ``length`` tokens have room beside the pairs and the queries."""
        return (length - 2 * self._queries) // self._block_size * self._pairs_per_block - pairs

    def _draw(self, length: int, pairs: int, size: int, random: torch.Generator) -> Batch:
        """Draw ``size`` sequences with every pair in a block, and queries for pairs drawn with replacement."""
        first_noise = self._keys + self._values
        stated = pairs + min(self._distractors, self._room(length, pairs))
        tokens = torch.randint(first_noise, self.vocab_size, (size, length), generator=random)
        keys = torch.rand(size, self._keys, generator=random).argsort(1)
        key = keys[:, :stated]
        value = torch.randint(self._keys, first_noise, (size, stated), generator=random)

        context = length - 2 * self._queries
        if self._shared_noise:
            symbols = torch.cat([keys[:, stated:], torch.arange(self._keys, first_noise).expand(size, -1)], dim=1)
            drawn = torch.randint(symbols.shape[1], (size, context), generator=random)
            tokens[:, :context] = symbols.gather(1, drawn)
        position = self._positions(context, stated, size, random)
        if stated > pairs:
            order = torch.rand(size, stated, generator=random).argsort(1)
            position = position.gather(1, order[:, :, None].expand(-1, -1, 2))
        tokens.scatter_(1, position.flatten(1), torch.stack([key, value], dim=-1).flatten(1))
        planted = torch.zeros(size, length, dtype=torch.bool).scatter_(1, position[:, :pairs].flatten(1), True)

        queried = torch.randint(pairs, (size, self._queries), generator=random)
        targets = torch.full_like(tokens, IGNORE)
        tokens[:, context + 1 :: 2] = key.gather(1, queried)
        targets[:, context + 1 :: 2] = value.gather(1, queried)
        return Batch(tokens, targets, planted)

    def _positions(self, context: int, stated: int, size: int, random: torch.Generator) -> Tensor:
        """Draw the positions [size, stated, 2] of keys and values in blocks of the first ``context`` tokens."""
        blocks = self._blocks(stated)
        if self._aligned:
            places = torch.rand(size, context // self._block_size, generator=random).argsort(1)
            starts = places[:, :blocks].sort(1).values * self._block_size
        else:
            starts = spread(blocks, self._block_size, context, size, random)
        slots = (starts[:, :, None] + torch.arange(2 * self._pairs_per_block)).flatten(1)
        return slots[:, : 2 * stated].unflatten(1, (stated, 2))
