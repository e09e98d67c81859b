"""Suite identifiers: names in source code, renamed at random, that stand earlier in the sequence.

A name is right if all of its tokens are that begin within the name after its first three letters; the earlier tokens
cannot be known. See `nas.data.renaming`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.data.renaming import LETTERS, PREFIX, PYTHON, C, Language, Occurrence, code_of, renamed
from nas.data.seeding import generator
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError
from nas.evaluation.metrics import segment_ends
from nas.suites.documents import Document, Documents
from nas.suites.result import Result, Score, Segment, by_segment
from nas.suites.sequences import JOINED, Excerpt, Tokens, filled
from nas.suites.subject import Advance, Subject

ON_NAMES, ON_TOKENS = "accuracy on names", "accuracy on their tokens"
"""Names of the scores."""
LANGUAGES = (PYTHON, C)
SEEN = 2**14
"""Bytes of a document by which its language is recognised if its name does not tell it."""
SIGNS = {
    PYTHON: (b"\ndef ", b"\nimport ", b"\nfrom ", b"self."),
    C: (b"\n#include ", b"\n#define ", b"\nstatic ", b"\nstruct "),
}
"""Pieces of text that are frequent in one of the languages only."""
LEAST_SIGNS = 3
"""Least number of signs of a language in a source file."""


class Names(NamedTuple):
    """Scored names of sequences.

    Attributes:
        sequence: [m] index of the sequence of each name.
        distance: [m] tokens since the occurrence before.
        first, last: [m] range of the name's scored targets in its sequence, without the last.
    """

    sequence: Tensor
    distance: Tensor
    first: Tensor
    last: Tensor


def language_of(document: Document) -> Language | None:
    """Return the language of a source file, by the ending of its name or by its text; None for other documents."""
    for language in LANGUAGES:
        if document.name.endswith(language.endings):
            return language
    text = b"\n" + document.text()[:SEEN]
    signs = {language: sum(map(text.count, found)) for language, found in SIGNS.items()}
    best = max(signs, key=lambda language: signs[language])
    return best if signs[best] >= LEAST_SIGNS else None


def source_files(documents: Documents) -> tuple[Documents, Language] | None:
    """Return the source files of the language of most of them, and the language; None if there are none."""
    files: dict[Language, list[Document]] = {}
    for document in documents.every:
        if (language := language_of(document)) is not None:
            files.setdefault(language, []).append(document)
    if not files:
        return None
    most = max(files, key=lambda language: len(files[language]))
    return replace(documents, every=files[most]), most


def renamed_sequences(
    documents: Documents, language: Language, length: int, count: int, seed: int, kind: str = JOINED
) -> tuple[Tensor, Names]:
    """Return sequences [n, length + 1] of source files with new names, and their scored names.

    Args:
        documents: the source files, all of one language.
        language: their language.
        length: tokens of a sequence.
        count: largest number of sequences.
        seed: seed of the order of the files and of the names.
        kind: how files fill a sequence; see `nas.suites.sequences.sequences`.

    Raises:
        UserError: the files do not fill a single sequence.
    """
    rows: list[Tensor] = []
    names: list[tuple[int, int, int, int]] = []
    for index, excerpts in enumerate(filled(documents, length, count, seed, kind)):
        tokens, scored = _renamed(excerpts, documents, language, generator(seed, "names", index))
        if len(tokens) > length:
            names += ((len(rows), *one) for one in scored if one[2] <= length)
            rows.append(torch.from_numpy(tokens[: length + 1]))
    if not rows:
        raise UserError(
            f"{documents.source} has too little code for a sequence of {length:,} tokens; give less for suites.lengths,"
            f" or more code with {documents.option}."
        )
    columns = torch.tensor(names, dtype=torch.int64).reshape(-1, 4).t().contiguous()
    return torch.stack(rows), Names(*columns)


def evaluate(subject: Subject, sequences: Tensor, names: Names, vocabulary: Vocabulary, advance: Advance) -> Result:
    """Return the accuracy on names and on their tokens, by distance too. The chance is that of guessing every letter.

    Args:
        subject: the model.
        sequences: [n, T + 1] tokens.
        names: the scored names.
        vocabulary: vocabulary of the tokens.
        advance: see `nas.suites.subject.Advance`.
    """
    count, length = sequences.shape[0], sequences.shape[1] - 1
    letters = torch.from_numpy(vocabulary.byte_lengths)[sequences[:, 1:]].double()
    right = _within(names, subject.predict(sequences, advance).hits.double())
    tokens = (names.last - names.first).double()
    whole, each = (right == tokens).double(), torch.ones_like(tokens)

    def score(values: Tensor, weights: Tensor) -> Score:
        totals, divisors = (
            torch.zeros(count).double().index_add_(0, names.sequence, given) for given in (values, weights)
        )
        return Score.of(totals, divisors, int(weights.sum()))

    def by_distance(values: Tensor, weights: Tensor) -> list[Segment]:
        return by_segment(values, weights, names.distance, names.sequence, segment_ends(length))

    guessed = _within(names, LETTERS**-letters).sum() / tokens.sum()
    return Result(
        suite="identifiers",
        part="",
        length=length,
        sequences=count,
        scores={ON_NAMES: score(whole, each), ON_TOKENS: score(right, tokens)},
        chance={ON_NAMES: float((LETTERS ** -_within(names, letters)).mean()), ON_TOKENS: float(guessed)},
        curves={
            f"{ON_NAMES} by distance": by_distance(whole, each),
            f"{ON_TOKENS} by distance": by_distance(right, tokens),
        },
    )


def _within(names: Names, values: Tensor) -> Tensor:
    """Return the sum [m] of values [n, T] of targets over the scored targets of each name."""
    before = torch.nn.functional.pad(values.cumsum(1), (1, 0))
    return before[names.sequence, names.last] - before[names.sequence, names.first]


def _renamed(
    excerpts: Sequence[Excerpt], documents: Documents, language: Language, random: torch.Generator
) -> tuple[Tokens, list[tuple[int, int, int]]]:
    """Return the tokens of parts of files with new names, which are common to all parts, and their scored names.

    Each name is (distance, first target, last target).
    """
    sizes, parts, code = documents.vocabulary.byte_lengths, [], []
    for excerpt in excerpts:
        before, end = (int(sizes[excerpt.tokens[:place]].sum()) for place in (excerpt.start, excerpt.end))
        text = excerpt.document.text()
        parts.append(text[before:end])
        mask = code_of(torch.frombuffer(bytearray(text), dtype=torch.uint8), language)
        code.append(mask[before:end].numpy().tobytes())
    piece = renamed(b"".join(parts), b"".join(code), random, language.keywords)
    ends = np.cumsum([len(part) for part in parts])
    made = np.concatenate(
        [documents.encoded(piece.code[end - len(part) : end]) for part, end in zip(parts, ends, strict=True)]
    )
    return made, _scored(piece.later, np.concatenate([[0], sizes[made].cumsum()]))


def _scored(later: Sequence[Occurrence], edges: Tokens) -> list[tuple[int, int, int]]:
    """Return distance, first target and last target of each occurrence that has a token to score.

    Args:
        later: the occurrences.
        edges: first byte of each token, and the number of all bytes.
    """
    if not later:
        return []
    begin, end, before = np.array(later).T
    own, past = np.searchsorted(edges, [begin + PREFIX, end])  # tokens that begin there or later
    past -= edges[past] > end  # the last token has more than the name
    starts = edges[:-1]
    distance = np.searchsorted(starts, begin, side="right") - np.searchsorted(starts, before, side="right")
    kept = past > own
    return list(zip(distance[kept].tolist(), (own[kept] - 1).tolist(), (past[kept] - 1).tolist(), strict=True))
