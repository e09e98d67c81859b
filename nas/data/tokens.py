"""Language modelling on tokens that a tokenizer has made before; see `nas.data.shards`."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.batch import IGNORE, Batch, Part
from nas.data.corpus import CHOICES_PART, Source
from nas.data.seeding import generator
from nas.data.shards.opening import Tokenised, largest, open_tokens
from nas.data.shards.order import Mixture, permuted
from nas.data.shards.span import Span
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError

JOINED, PACKED = "joined", "packed"
"""Values of data.documents."""
SELECTION_PART = 3
"""Divisor of the validation tokens: one part of this many is for selection."""
LEAST = 2
"""Smallest number of tokens of a part: one to read and one to predict."""
COUNTED = 2**22
"""Largest number of validation tokens that `Tokens.chance` counts."""


class Parts(NamedTuple):
    """The disjoint parts of one corpus; "all" consists of "weights" and "choices"."""

    all: Span
    weights: Span
    choices: Span
    validation: Span
    selection: Span


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
        vocab_size: number of token ids; None for that of the vocabulary.
        length: tokens in a sequence.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches, fewer if the validation tokens are too few.
        seed: seed of the training windows.

    Attributes:
        vocabulary: the vocabulary of the tokens; None if it is not known.
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
        vocab_size: int | None,
        length: int,
        batch_size: int,
        validation_batches: int,
        seed: int,
    ) -> None:
        weights = _weights(path, mix)
        option = "data.path" if path is not None else "data.mix"
        if documents not in (JOINED, PACKED):
            raise UserError(f"data.documents={documents} is unknown; choose one of: {JOINED}, {PACKED}.")
        self._corpora = [open_tokens(option, place, tokenizer, end) for place in weights]
        self.vocabulary = _common(self._corpora)
        self.vocab_size = _vocab_size(self._corpora, self.vocabulary, vocab_size)
        self._packed = documents == PACKED
        if self._packed:
            _check_documents(self._corpora)
        self._parts = [_parts(corpus) for corpus in self._corpora]
        self._mixture = Mixture(list(weights.values()))
        self._length, self._batch_size, self._validation_batches = length, batch_size, validation_batches
        self._seed = seed
        self.source = _source(list(weights), self._corpora)
        self.quality = "bits_per_token" if self.vocabulary is None else "bits_per_byte"
        self.byte_lengths: Tensor | None = None
        if self.vocabulary is not None:
            self.byte_lengths = torch.zeros(self.vocab_size, dtype=torch.int64)
            self.byte_lengths[: self.vocabulary.size] = torch.from_numpy(self.vocabulary.byte_lengths)

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        """Return the training batch of a step, all full windows; windows of an epoch are disjoint."""
        places = [self._mixture.place(step * self._batch_size + row) for row in range(self._batch_size)]
        spans: list[Span] = [getattr(parts, part) for parts in self._parts]
        for corpus, span in zip(self._corpora, spans, strict=True):
            if len(span) < LEAST:
                raise UserError(f"{corpus.given} is too short for bilevel training of {part}; give a longer corpus.")
        starts = [0] * len(places)
        for source, span in enumerate(spans):
            rows = [row for row, place in enumerate(places) if place[0] == source]
            drawn = _starts(span, self._length, [places[row][1] for row in rows], (self._seed, part, source))
            for row, start in zip(rows, drawn, strict=True):
                starts[row] = start
        return self._batch([(spans[source], start) for (source, _), start in zip(places, starts, strict=True)])

    def full_batch(self, step: int) -> Batch:
        """Return a training batch: all have full length."""
        return self.train_batch(step)

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        """Return batches of disjoint windows spread evenly over the validation tokens; longer ones have fewer rows."""
        length, size = self._length * length_factor, max(1, self._batch_size // length_factor)
        wanted = self._mixture.counts(self._validation_batches * size)
        spans = [parts.validation for parts in self._parts]
        counts = [min(count, _windows(span, length)) for count, span in zip(wanted, spans, strict=True)]
        return self._spread(spans, counts, min(size, sum(counts)), length)

    def selection_batches(self, count: int, length_factor: int = 1) -> list[Batch]:
        """Return batches of windows spread evenly over the selection tokens, which no validation batch has.

        Windows overlap if there are too few tokens.
        """
        length, size = self._length * length_factor, max(1, self._batch_size // length_factor)
        return self._spread(
            [parts.selection for parts in self._parts], self._mixture.counts(count * size), size, length
        )

    def token_text(self, token: int) -> str:
        """Return the text of a token by itself; its number if the vocabulary is not known."""
        return self.token_texts([token])[0]

    def token_texts(self, tokens: Sequence[int]) -> list[str]:
        """Return the texts of consecutive tokens, in which a character may be spread over several tokens."""
        if self.vocabulary is None:
            return [str(token) for token in tokens]
        known = [token if token < self.vocabulary.size else self.vocabulary.end for token in tokens]
        return self.vocabulary.texts(known)

    def encode(self, text: bytes) -> list[int] | None:
        """Return the tokens of a text; None if the vocabulary is not known."""
        return None if self.vocabulary is None else self.vocabulary.encode(text)

    def chance(self) -> float:
        """Return the quality of a model that knows only how frequent each validation token is."""
        shares = self._mixture.counts(COUNTED)
        frequency = np.zeros(self.vocab_size)
        for parts, share in zip(self._parts, shares, strict=True):
            tokens = self._checked(parts.validation.tokens(0, min(len(parts.validation), max(share, 1))))
            frequency += np.bincount(tokens, minlength=self.vocab_size) * (share / COUNTED / len(tokens))
        there = frequency[frequency > 0]
        bits = float(-(there * np.log2(there)).sum())
        return bits if self.byte_lengths is None else bits / float(frequency @ self.byte_lengths.numpy())

    def _spread(self, spans: Sequence[Span], counts: Sequence[int], size: int, length: int) -> list[Batch]:
        """Return batches of ``size`` windows, of which each span has a number, spread from end to end."""
        rows: list[tuple[Span, int]] = []
        for span, count in zip(spans, counts, strict=True):
            last = max(len(span) - length - 1, 0)
            rows += [(span, index * last // max(count - 1, 1)) for index in range(count)]
        full = len(rows) - len(rows) % size
        return [self._batch(rows[first : first + size], length) for first in range(0, full, size)]

    def _batch(self, rows: Sequence[tuple[Span, int]], length: int | None = None) -> Batch:
        """Return the batch of windows, given as spans and starts."""
        length = self._length if length is None else length
        tokens = np.zeros((len(rows), length + 1), dtype=np.int64)
        scored = np.zeros((len(rows), length + 1), dtype=np.bool_)
        begins = np.zeros((len(rows), length + 1), dtype=np.bool_)
        for row, (span, start) in enumerate(rows):
            found = span.tokens(start, start + length + 1)
            tokens[row, : len(found)], scored[row, : len(found)] = found, True
            if self._packed:
                begins[row, : len(found)] = span.begins(start, start + len(found))
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
            given = " or ".join(corpus.given for corpus in self._corpora)
            raise _unknown(given, least if least < 0 else most, self.vocab_size)
        return tokens


def _weights(path: str | None, mix: Mapping[str, float] | None) -> dict[str, float]:
    """Return the weight of each corpus; raise UserError unless either ``path`` or ``mix`` is given."""
    if path is not None:
        if mix:
            raise UserError(f"data.path={path} and data.mix are both given; give one of them.")
        return {path: 1.0}
    if not mix:
        raise UserError(
            "data.path is missing; give a folder of tokens, as nas.prepare leaves it, or several ones with weights, "
            "'data.mix={DIR_A: 3, DIR_B: 1}'."
        )
    if not isinstance(mix, Mapping):
        raise UserError(f"data.mix={mix} is no mapping; give for example 'data.mix={{DIR_A: 3, DIR_B: 1}}'.")
    for place, weight in mix.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise UserError(f"data.mix has {weight} for {place}; give numbers over 0, or leave the corpus out.")
    return {str(place): weight for place, weight in mix.items()}


def _common(corpora: Sequence[Tokenised]) -> Vocabulary | None:
    """Return the vocabulary of all corpora; raise UserError if they have different tokenizers."""
    first = corpora[0]
    for other in corpora[1:]:
        if other.tokenizer != first.tokenizer:
            raise UserError(
                f"{first.given} and {other.given} have different tokenizers (by fingerprint, {first.tokenizer} and "
                f"{other.tokenizer}); prepare them with one tokenizer.json, or give data.tokenizer for shards without."
            )
    return first.vocabulary


def _vocab_size(corpora: Sequence[Tokenised], vocabulary: Vocabulary | None, given: int | None) -> int:
    """Return the number of token ids; raise UserError if it is not known or the tokens do not fit."""
    if vocabulary is None and given is None:
        raise UserError(
            f"{corpora[0].given} does not say its vocabulary; give data.tokenizer=tokenizer.json (or bytes), or "
            "data.vocab_size."
        )
    if vocabulary is not None and given is not None and given < vocabulary.size:
        raise UserError(f"data.vocab_size={given} is less than the {vocabulary.size} ids of the tokenizer; give more.")
    size = given if given is not None else vocabulary.size if vocabulary is not None else 0
    for corpus in corpora:
        for span in (corpus.training, corpus.validation):
            token, path = largest(span)
            if not 0 <= token < size:
                raise _unknown(str(path), token, size)
    return size


def _unknown(where: str, token: int, size: int) -> UserError:
    return UserError(
        f"{where} has the token id {token}, but the vocabulary has the ids 0 to {size - 1}; give the tokenizer that "
        "made these tokens, or a larger data.vocab_size."
    )


def _check_documents(corpora: Sequence[Tokenised]) -> None:
    """Raise UserError if a corpus does not say where its documents end."""
    for corpus in corpora:
        if not (corpus.training.divided and corpus.validation.divided):
            raise UserError(
                f"data.documents={PACKED} needs the ends of documents, which {corpus.given} does not say; give "
                f"data.end=ID of the token that ends each document, or data.documents={JOINED}."
            )


def _parts(corpus: Tokenised) -> Parts:
    """Return the parts of a corpus, cut where documents begin."""
    train, held_out = corpus.training, corpus.validation
    cut = train.border(len(train) - len(train) // CHOICES_PART)
    chosen = held_out.border(len(held_out) - len(held_out) // SELECTION_PART)
    validation, selection = held_out.cut(0, chosen), held_out.cut(chosen, len(held_out))
    if min(len(validation), len(selection)) < LEAST:
        validation = selection = held_out
    for span, part in ((train, "training"), (held_out, "validation")):
        if len(span) < LEAST:
            raise UserError(f"{corpus.given} is too short: it has {len(span)} tokens for {part}; give a longer corpus.")
    return Parts(train, train.cut(0, cut), train.cut(cut, len(train)), validation, selection)


def _windows(span: Span, length: int) -> int:
    """Return the number of disjoint windows, each with the target of its last token; 1 if none is full."""
    return max(1, (len(span) - 1) // length)


def _starts(span: Span, length: int, samples: Sequence[int], key: tuple[int | str, ...]) -> list[int]:
    """Return the first tokens of the windows of samples, which are counted over all epochs."""
    count = max(1, (len(span) - length) // length)  # of any offset
    slack = max(len(span) - 1 - count * length, 0)
    epochs, indices = np.divmod(np.array(samples, dtype=np.int64), count)
    starts = np.zeros_like(indices)
    for epoch in np.unique(epochs).tolist():
        own = epochs == epoch
        offset = torch.randint(min(length - 1, slack) + 1, (), generator=generator("tokens", *key, epoch)).item()
        starts[own] = offset + permuted(indices[own], count, "windows", *key, epoch) * length
    found: list[int] = starts.tolist()
    return found


def _source(places: Sequence[str], corpora: Sequence[Tokenised]) -> Source:
    """Return the files of all corpora; those of several ones have the corpus in their names."""
    if len(corpora) == 1:
        return Source(places[0], corpora[0].files)
    every = {
        f"{place}/{name}": file for place, own in zip(places, corpora, strict=True) for name, file in own.files.items()
    }
    return Source(" + ".join(places), every)
