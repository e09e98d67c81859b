"""Tokens of several memory-mapped shards as one sequence, with the places where documents begin."""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.errors import UserError

SCANNED = 2**24
"""Largest number of tokens in which `Span.border` looks for the end of a document."""


class Starts(Protocol):
    """The tokens at which the documents of a shard begin, in increasing order; read one at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> int: ...


@dataclass(frozen=True, eq=False)
class Shard:
    """The tokens of one file.

    Attributes:
        path: the file.
        tokens: [n] tokens, memory-mapped.
        starts: tokens at which documents begin; None if the file does not say it.
        end: id that ends each document, for a file without starts; None if there is none.
    """

    path: Path
    tokens: NDArray[np.integer[Any]]
    starts: Starts | None = None
    end: int | None = None

    @property
    def divided(self) -> bool:
        """Whether it is known where documents begin."""
        return self.starts is not None or self.end is not None

    def begins(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Return for each token from ``start`` to ``stop`` whether a document begins at it.

        Raises:
            UserError: the starts of the documents are not in order.
        """
        found = np.zeros(stop - start, dtype=np.bool_)
        if self.starts is not None:
            first, last = bisect_left(self.starts, start), bisect_left(self.starts, stop)
            places = np.array([int(self.starts[index]) for index in range(first, last)], dtype=np.int64)
            if not ((start <= places) & (places < stop)).all():
                raise UserError(
                    f"{self.path} has an index that is damaged: its documents are not in order; copy the index again, "
                    "or make it anew."
                )
            found[places - start] = True
        elif self.end is not None:
            found[max(1 - start, 0) :] = self.tokens[max(start - 1, 0) : stop - 1] == self.end
        if start == 0 and stop:
            found[0] = True
        return found


class Span:
    """A part of the tokens of several shards, one after the other.

    Args:
        shards: the shards; none is empty.
        start: first token of the part, counted over all shards.
        stop: token after the last one; None for all tokens.
    """

    def __init__(self, shards: Sequence[Shard], start: int = 0, stop: int | None = None) -> None:
        self.shards = shards
        self._ends = list(itertools.accumulate(len(shard.tokens) for shard in shards))
        self._start = start
        self._stop = (self._ends[-1] if shards else 0) if stop is None else stop

    def __len__(self) -> int:
        return self._stop - self._start

    def cut(self, start: int, stop: int) -> "Span":
        """Return a part of this part."""
        return Span(self.shards, self._start + start, self._start + stop)

    def tokens(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the tokens from ``start`` to ``stop``."""
        parts = [shard.tokens[first:last] for shard, first, last in self._within(start, stop)]
        return np.concatenate(parts, dtype=np.int64) if parts else np.empty(0, dtype=np.int64)

    def begins(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Return for each token from ``start`` to ``stop`` whether a document begins at it."""
        parts = [shard.begins(first, last) for shard, first, last in self._within(start, stop)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.bool_)

    @property
    def divided(self) -> bool:
        """Whether it is known where the documents of all shards begin."""
        return all(shard.divided for shard in self.shards)

    def border(self, near: int) -> int:
        """Return the first token from ``near`` on at which a document begins; ``near`` itself if none is close.

        Half of the tokens behind ``near`` at least stay behind the border.
        """
        step, stop = 2**16, min(near + SCANNED, near + (len(self) - near) // 2 + 1, len(self))
        if not self.divided:
            return near
        for start in range(near, stop, step):
            found = self.begins(start, min(start + step, stop))
            if found.any():
                return start + int(found.argmax())
        return near

    def _within(self, start: int, stop: int) -> list[tuple[Shard, int, int]]:
        """Return the shards that hold a range of tokens, each with the range in it."""
        start, stop = self._start + start, min(self._start + stop, self._stop)
        found = []
        place = bisect_right(self._ends, start)
        while start < stop:
            shard, end = self.shards[place], self._ends[place]
            before = end - len(shard.tokens)
            found.append((shard, start - before, min(stop, end) - before))
            start, place = end, place + 1
        return found
