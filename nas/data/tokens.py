"""Language modelling on tokens that a tokenizer has made before; see `nas.data.shards`."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.batch import IGNORE, Batch, Part
from nas.data.seeding import generator
from nas.data.shards.corpora import LEAST, Corpora, Parts, unknown_token
from nas.data.shards.order import Mixture, permuted
from nas.data.shards.span import Span
from nas.data.shards.vocabulary import token_texts
from nas.errors import UserError

JOINED, PACKED = "joined", "packed"
"""Values of data.documents."""
COUNTED = 2**22
"""Largest number of validation tokens that `Tokens.chance` counts."""


class Tokens:
    """Predict the next token in windows of one or several corpora of tokens; implements ``nas.data.batch.Task``.

    The windows of an epoch are disjoint and shuffled. Their places are shifted by an offset that each epoch draws.
    Quality is in bits per UTF-8 byte of the text where the vocabulary is known, else in bits per token.

    Args:
        path: corpus, see `nas.data.shards.opening.open_tokens`; None if ``mix`` is given.
        mix: share of the sequences by corpus, in any unit; None if ``path`` is given.
        documents: "joined" for windows that run over the ends of documents; "packed" to know these ends: a batch then
            has `Batch.documents`, and the first token of a document is not predicted.
        tokenizer: tokenizer.json of shards that others made, or "bytes"; None if it is not known.
        end: id that ends each document, in shards of nanoGPT; None for the end token of the tokenizer.
        begin: whether each sequence, and each packed document, begins with the begin token of the vocabulary if it has
            one. That token replaces the last one of a full window.
        vocab_size: number of token ids; None for that of the vocabulary.
        length: tokens in a sequence.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches, fewer if the validation tokens are too few.
        seed: seed of the training windows.

    Attributes:
        vocabulary: the vocabulary of the tokens; None if it is not known.
        tokenizer: fingerprint of the tokenizer; None if it is not known.
        byte_lengths: UTF-8 bytes of each token, int64 [vocab_size]; None if they are not known.

    Raises:
        UserError: a corpus cannot be read, or does not fit the vocabulary or another corpus.
    """

    name: str = "tokens"

    def __init__(
        self,
        *,
        path: str | None,
        mix: Mapping[str, float] | None,
        documents: str,
        tokenizer: str | None,
        end: int | None,
        begin: bool,
        vocab_size: int | None,
        length: int,
        batch_size: int,
        validation_batches: int,
        seed: int,
    ) -> None:
        if documents not in (JOINED, PACKED):
            raise UserError(f"data.documents={documents} is unknown; choose one of: {JOINED}, {PACKED}.")
        self._corpora = Corpora.open(path, mix, tokenizer, end, vocab_size)
        vocabulary, self.vocab_size = self._corpora.vocabulary, self._corpora.vocab_size
        self.vocabulary = vocabulary if vocabulary is None or begin else vocabulary.without_begin()
        self._begin = None if self.vocabulary is None else self.vocabulary.begin
        self.tokenizer, self.source = self._corpora.tokenizer, self._corpora.source
        self._packed = documents == PACKED
        if self._packed:
            self._corpora.check_divided()
        self._mixture = Mixture(self._corpora.weights)
        self._length, self._batch_size, self._validation_batches = length, batch_size, validation_batches
        self._seed = seed
        self.quality = "bits_per_token" if self.vocabulary is None else "bits_per_byte"
        self.byte_lengths: Tensor | None = None
        if self.vocabulary is not None:
            self.byte_lengths = torch.zeros(self.vocab_size, dtype=torch.int64)
            self.byte_lengths[: self.vocabulary.size] = torch.from_numpy(self.vocabulary.byte_lengths)

    @property
    def parts(self) -> list[Parts]:
        """Return the parts of each corpus."""
        return self._corpora.parts

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        """Return the training batch of a step, all full windows; windows of an epoch are disjoint."""
        return self._training(step, part, 1)

    def longer_batch(self, step: int, length_factor: int, part: Part) -> Batch:
        """Return a training batch of fewer, longer windows; see `nas.data.batch.longer_batch_of`."""
        return self._training(step, part, length_factor)

    def _training(self, step: int, part: Part, length_factor: int) -> Batch:
        """Return a training batch; windows of another length are in an order of their own."""
        size, length = self._batch_size // length_factor, self._length * length_factor
        order = () if length_factor == 1 else (length_factor,)
        places = [self._mixture.place(step * size + row) for row in range(size)]
        spans: list[Span] = [getattr(parts, part) for parts in self._corpora.parts]
        for given, span in zip(self._corpora.given, spans, strict=True):
            if len(span) < LEAST:
                raise UserError(f"{given} is too short for bilevel training of {part}; give a longer corpus.")
        starts = [0] * len(places)
        for source, span in enumerate(spans):
            rows = [row for row, place in enumerate(places) if place[0] == source]
            key = (self._seed, part, source, *order)
            drawn = _starts(self._last(span, length), length, [places[row][1] for row in rows], key)
            for row, start in zip(rows, drawn, strict=True):
                starts[row] = start
        return self._batch([(spans[source], start) for (source, _), start in zip(places, starts, strict=True)], length)

    def full_batch(self, step: int) -> Batch:
        """Return a training batch: all have full length."""
        return self.train_batch(step)

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        """Return batches of disjoint windows spread evenly over the validation tokens; longer ones have fewer rows."""
        length, size = self._length * length_factor, max(1, self._batch_size // length_factor)
        wanted = self._mixture.counts(self._validation_batches * size)
        spans = [parts.validation for parts in self._corpora.parts]
        disjoint = [self._last(span, length) // length + 1 for span in spans]
        counts = [min(count, most) for count, most in zip(wanted, disjoint, strict=True)]
        return self._spread(spans, counts, min(size, sum(counts)), length)

    def selection_batches(self, count: int, length_factor: int = 1) -> list[Batch]:
        """Return batches of windows spread evenly over the selection tokens, which no validation batch has.

        Windows overlap if there are too few tokens.
        """
        length, size = self._length * length_factor, max(1, self._batch_size // length_factor)
        return self._spread(
            [parts.selection for parts in self._corpora.parts], self._mixture.counts(count * size), size, length
        )

    def token_text(self, token: int) -> str:
        """Return the text of a token by itself; its number if the vocabulary is not known."""
        return str(token) if self.vocabulary is None else token_texts(self, [token])[0]

    def chance(self) -> float:
        """Return the quality of a model that knows only how frequent each validation token is."""
        shares = self._mixture.counts(COUNTED)
        frequency = np.zeros(self.vocab_size)
        for parts, share in zip(self._corpora.parts, shares, strict=True):
            tokens = self._checked(parts.validation.tokens(0, min(len(parts.validation), max(share, 1))))
            frequency += np.bincount(tokens, minlength=self.vocab_size) * (share / COUNTED / len(tokens))
        there = frequency[frequency > 0]
        bits = float(-(there * np.log2(there)).sum())
        return bits if self.byte_lengths is None else bits / float(frequency @ self.byte_lengths.numpy())

    def _spread(self, spans: Sequence[Span], counts: Sequence[int], size: int, length: int) -> list[Batch]:
        """Return batches of ``size`` windows, of which each span has a number, spread from end to end.

        Windows that do not fill a batch are left out evenly, so that no part of a span is.
        """
        rows: list[tuple[Span, int]] = []
        for span, count in zip(spans, counts, strict=True):
            last = self._last(span, length)
            rows += [(span, index * last // max(count - 1, 1)) for index in range(count)]
        full = len(rows) - len(rows) % size
        kept = [rows[(2 * index + 1) * len(rows) // (2 * full)] for index in range(full)]
        return [self._batch(kept[first : first + size], length) for first in range(0, full, size)]

    def _last(self, span: Span, length: int) -> int:
        """Return the start of the last window of a span: the first one that reaches its end.

        Begin tokens take the place of tokens of the span: one in a window, or one in each document of a packed window.
        """
        first = max(len(span) - length - 1, 0)
        if self._begin is None:
            return first
        if not self._packed:
            return max(len(span) - length, 0)
        begins = span.begins(first, len(span))
        sizes = 1 + (begins + 1)[::-1].cumsum()[::-1] - begins  # of the windows that begin at each token
        return first + int(np.argmax(sizes <= length + 1))

    def _batch(self, rows: Sequence[tuple[Span, int]], length: int | None = None) -> Batch:
        """Return the batch of windows, given as spans and starts."""
        length = self._length if length is None else length
        tokens = np.zeros((len(rows), length + 1), dtype=np.int64)
        scored = np.zeros((len(rows), length + 1), dtype=np.bool_)
        begins = np.zeros((len(rows), length + 1), dtype=np.bool_)
        for row, (span, start) in enumerate(rows):
            found = span.tokens(start, start + length + 1)
            marks = span.begins(start, start + len(found)) if self._packed else np.zeros(len(found), dtype=np.bool_)
            if self._begin is not None:
                found, marks = _begun(found, marks, self._begin, length + 1)
            tokens[row, : len(found)], scored[row, : len(found)] = found, True
            if self._packed:
                begins[row, : len(found)] = marks
                begins[row, len(found) : len(found) + 1] = True  # padding is a document of its own
        given = torch.from_numpy(self._checked(tokens))
        predicted = torch.from_numpy((scored & ~begins)[:, 1:])
        documents = None
        if self._packed:
            begins[:, 0] = False  # the first token is of document 0, whether or not it begins there
            documents = torch.from_numpy(begins[:, :-1].cumsum(1, dtype=np.int32))
        return Batch(
            tokens=given[:, :-1].contiguous(),
            targets=given[:, 1:].masked_fill(~predicted, IGNORE),
            planted=None,
            documents=documents,
        )

    def _checked(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return tokens that were read; raise UserError if the vocabulary lacks one of them."""
        least, most = int(tokens.min()), int(tokens.max())
        if least < 0 or most >= self.vocab_size:
            given = " or ".join(self._corpora.given)
            raise unknown_token(given, least if least < 0 else most, self.vocab_size)
        return tokens


def _begun(
    found: NDArray[np.int64], begins: NDArray[np.bool_], begin: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Put a token before a window and before each document in it, and cut the window to ``size`` tokens.

    >>> _begun(np.array([5, 6, 7, 8]), np.array([False, False, True, False]), 2, size=4)
    (array([2, 5, 6, 2]), array([ True, False, False,  True]))
    """
    at = np.union1d([0], np.flatnonzero(begins))
    return np.insert(found, at, begin)[:size], np.insert(np.zeros_like(begins), at, values=True)[:size]


def _starts(last: int, length: int, samples: Sequence[int], key: tuple[int | str, ...]) -> list[int]:
    """Return the first tokens of the windows of samples, which are counted over all epochs.

    Args:
        last: start of the last window of the span.
        length: tokens in a window.
        samples: numbers of the windows, from 0.
        key: what identifies the order.
    """
    count = max(1, (last + 1) // length)  # of any offset
    slack = last - (count - 1) * length
    epochs, indices = np.divmod(np.array(samples, dtype=np.int64), count)
    starts = np.zeros_like(indices)
    for epoch in np.unique(epochs).tolist():
        own = epochs == epoch
        offset = torch.randint(slack + 1, (), generator=generator("tokens", *key, epoch)).item()
        starts[own] = offset + permuted(indices[own], count, "windows", *key, epoch) * length
    found: list[int] = starts.tolist()
    return found
