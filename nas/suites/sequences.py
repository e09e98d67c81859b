"""Sequences of any length from held-out documents: joined one after the other, or each from one long document."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.errors import UserError
from nas.suites.documents import Document, Documents

JOINED, WHOLE = "joined", "whole"
KINDS = (JOINED, WHOLE)
"""How documents fill a sequence; see `sequences`."""

Tokens: TypeAlias = NDArray[np.int64]


class Excerpt(NamedTuple):
    """An excerpt of a document: all tokens of the document, and the range of the excerpt."""

    document: Document
    tokens: Tokens
    start: int
    end: int


def sequences(documents: Documents, length: int, count: int, seed: int, kind: str = JOINED) -> Tensor:
    """Return up to ``count`` disjoint sequences [n, length + 1] of tokens; the last token is a target alone.

    A sequence begins where a document begins. A long document has further sequences, spread evenly over it. They are
    taken where other documents are too few.

    Args:
        documents: the documents, which come in random order.
        length: tokens of a sequence.
        count: largest number of sequences; there are fewer if the documents do not suffice.
        seed: seed of the order.
        kind: "joined", where a sequence continues with the next document, or "whole", where a document that is too
            short for a sequence is left out.

    Raises:
        UserError: the documents do not fill a single sequence.
    """
    return torch.from_numpy(np.stack([joined(row) for row in filled(documents, length, count, seed, kind)]))


def joined(excerpts: Sequence[Excerpt]) -> Tokens:
    """Return the tokens of excerpts, one after the other."""
    return np.concatenate([excerpt.tokens[excerpt.start : excerpt.end] for excerpt in excerpts])


def filled(documents: Documents, length: int, count: int, seed: int, kind: str = JOINED) -> list[list[Excerpt]]:
    """Return the excerpts that fill each sequence; see `sequences`."""
    rows = list(islice(_rows(documents, length + 1, count, seed, kind), count))
    if not rows:
        held = "none of them has" if kind == WHOLE else "all together do not have"
        raise UserError(
            f"the documents of {documents.source} cannot fill a sequence of {length:,} tokens: {held} {length + 1:,} "
            f"tokens; give less for suites.lengths, or more text with {documents.option}."
        )
    return rows


def _rows(documents: Documents, needed: int, count: int, seed: int, kind: str) -> Iterator[list[Excerpt]]:
    """Yield the excerpts of sequences of ``needed`` tokens until the documents are used up."""
    begun: list[Excerpt] = []
    have, others = 0, []
    limit = -(-count // max(1, len(documents.every)))
    for document in documents.shuffled(seed):
        tokens = documents.tokens(document)
        if not documents.vocabulary.byte_lengths[tokens].any():
            continue  # without text
        start = 0
        if kind == JOINED and have + len(tokens) >= needed > have > 0:
            start = needed - have
            yield [*begun, Excerpt(document, tokens, 0, start)]
            begun, have = [], 0
        if len(tokens) - start >= needed:
            own = [
                [Excerpt(document, tokens, first, first + needed)]
                for first in range(start, len(tokens) - needed + 1, needed)
            ]
            chosen = {index * len(own) // limit for index in range(limit)}
            yield from (own[index] for index in sorted(chosen))
            others += [row for index, row in enumerate(own) if index not in chosen]
        elif kind == JOINED and not start:
            begun.append(Excerpt(document, tokens, 0, len(tokens)))
            have += len(tokens)
    yield from others
