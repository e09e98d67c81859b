"""One or several corpora of tokens as a task reads them: weights, one vocabulary, and disjoint parts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from nas.data.corpus import CHOICES_PART, Source
from nas.data.shards.opening import Tokenised, largest, open_tokens
from nas.data.shards.span import Span
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError

SELECTION_PART = 3
"""Divisor of the validation tokens: one part of this many is for selection."""
LEAST = 2
"""Smallest number of tokens of a part: one to read and one to predict."""


class Parts(NamedTuple):
    """The disjoint parts of one corpus; "all" consists of "weights" and "choices"."""

    all: Span
    weights: Span
    choices: Span
    validation: Span
    selection: Span


@dataclass(frozen=True)
class Corpora:
    """Corpora with one vocabulary.

    Attributes:
        given: the option that named each corpus, as text for messages.
        weights: share of the sequences of each corpus, in any unit.
        parts: the parts of each corpus.
        vocabulary: the vocabulary of all tokens; None if it is not known.
        tokenizer: fingerprint of its tokenizer; None if it is not known.
        vocab_size: number of token ids.
        source: the files of all corpora.
    """

    given: list[str]
    weights: list[float]
    parts: list[Parts]
    vocabulary: Vocabulary | None
    tokenizer: str | None
    vocab_size: int
    source: Source

    @classmethod
    def open(
        cls,
        path: str | None,
        mix: Mapping[str, float] | None,
        tokenizer: str | None,
        end: int | None,
        vocab_size: int | None,
    ) -> Self:
        """Open the corpora of the options of `nas.data.tokens.Tokens`.

        Raises:
            UserError: a corpus cannot be read, or does not fit the vocabulary or another corpus.
        """
        weights = _weights(path, mix)
        option = "data.path" if path is not None else "data.mix"
        opened = [open_tokens(option, place, tokenizer, end) for place in weights]
        vocabulary, parts = _common(opened), list(map(_parts, opened))
        size = _vocab_size(opened, vocabulary, vocab_size)
        if end is not None and end >= size:
            raise UserError(
                f"data.end={end} is no token id: the vocabulary has the ids 0 to {size - 1}; give one of them."
            )
        return cls(
            given=[corpus.given for corpus in opened],
            weights=list(weights.values()),
            parts=parts,
            vocabulary=vocabulary,
            tokenizer=opened[0].tokenizer,
            vocab_size=size,
            source=_source(list(weights), opened),
        )

    def check_divided(self) -> None:
        """Raise UserError if a corpus does not say where its documents end."""
        for given, parts in zip(self.given, self.parts, strict=True):
            if not (parts.all.divided and parts.validation.divided):
                raise UserError(
                    f"data.documents=packed needs the ends of documents, which {given} does not say; give data.end=ID "
                    "of the token that ends each document, or data.documents=joined."
                )


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
    least = 0 if vocabulary is None else vocabulary.size
    if given is not None and given < least:
        raise UserError(f"data.vocab_size={given} is less than the {least} ids of the tokenizer; give more.")
    size = least if given is None else given
    for corpus in corpora:
        for span in (corpus.training, corpus.validation):
            token, path = largest(span)
            if not 0 <= token < size:
                raise unknown_token(str(path), token, size)
    return size


def unknown_token(where: str, token: int, size: int) -> UserError:
    """Return the error for a token id that the vocabulary does not have."""
    return UserError(
        f"{where} has the token id {token}, but the vocabulary has the ids 0 to {size - 1}; give the tokenizer that "
        "made these tokens, or a larger data.vocab_size."
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
            raise UserError(f"{corpus.given} is too short: it has {len(span)} tokens for {part}; give more text.")
    return Parts(train, train.cut(0, cut), train.cut(cut, len(train)), validation, selection)


def _source(places: Sequence[str], corpora: Sequence[Tokenised]) -> Source:
    """Return the files of all corpora; those of several ones have the corpus in their names."""
    if len(corpora) == 1:
        return Source(places[0], corpora[0].files)
    every = {
        f"{place}/{name}": file for place, own in zip(places, corpora, strict=True) for name, file in own.files.items()
    }
    return Source(" + ".join(places), every)
