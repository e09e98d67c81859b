"""Held-out documents: those of a run's own data, or of another text, as bytes and as tokens of the run."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.batch import Task
from nas.data.corpus import Corpus, Source
from nas.data.encodings import Names
from nas.data.files import list_names
from nas.data.seeding import generator
from nas.data.shards.corpora import Parts
from nas.data.shards.folder import RECORD
from nas.data.shards.opening import open_tokens
from nas.data.shards.span import Span
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError
from nas.preparing.documents import documents, is_text
from nas.preparing.pieces import of_file

READ = 2**26
"""Largest number of held-out tokens of a corpus from which documents are taken."""
PART = 2**22
"""Training tokens that are read at a time."""


@dataclass(frozen=True)
class Document:
    """A document.

    Attributes:
        name: path of its file inside a folder; "" if it is not known.
        text: function that returns its bytes.
        tokens: function that returns its tokens in the vocabulary of the run; None to encode its bytes.
    """

    name: str
    text: Callable[[], bytes]
    tokens: Callable[[], NDArray[np.int64]] | None = None


@dataclass(frozen=True)
class Documents:
    """Documents of one source.

    Attributes:
        source: what they are, as text for messages.
        every: the documents.
        vocabulary: vocabulary of the run.
        end: id of the token that ends a document; None if the run has none.
        option: option that sets another source, as text for messages.
        version: text that changes with the files of the source.
    """

    source: str
    every: Sequence[Document]
    vocabulary: Vocabulary
    end: int | None
    option: str = "suites.path"
    version: str = ""

    def shuffled(self, seed: int) -> Iterator[Document]:
        """Yield the documents in a random order, which depends on the seed alone."""
        for index in torch.randperm(len(self.every), generator=generator(seed, "documents")).tolist():
            yield self.every[index]

    def tokens(self, document: Document) -> NDArray[np.int64]:
        """Return the tokens of a document, with the end token if the run has one."""
        return self.encoded(document.text()) if document.tokens is None else document.tokens()

    def encoded(self, text: bytes) -> NDArray[np.int64]:
        """Return the tokens of a text, with the end token if the run has one."""
        tokens = self.vocabulary.encode(text)
        return np.array(tokens if self.end is None else [*tokens, self.end], dtype=np.int64)


def end_of(task: Task, vocabulary: Vocabulary) -> int | None:
    """Return the id of the token that ends a document; None if the model has no such token."""
    return vocabulary.end if vocabulary.end < task.vocab_size else None


def standard_library(task: Task, vocabulary: Vocabulary, option: str) -> Documents:
    """Return the held-out files of Python's standard library; see `Documents` for ``option``."""
    corpus = Corpus(None)
    end, version = end_of(task, vocabulary), corpus.source.digest
    return Documents("Python's standard library", of_corpus(corpus), vocabulary, end, option, version)


def held_out(task: Task, vocabulary: Vocabulary, path: str | None, column: str) -> Documents | None:
    """Return the documents of a path, or the held-out ones of the data of a run; None if it has none.

    Args:
        task: task of the run.
        vocabulary: vocabulary of the run.
        path: file or folder of text, or a folder of tokens, whose documents for validation are taken; None for the data
            of the run.
        column: column with the text, in .jsonl and .parquet.

    Raises:
        UserError: the path cannot be read or has no documents.
    """
    if path is not None:
        return given(task, vocabulary, "suites.path", path, column)
    corpus = _corpus(task)
    if parts := _parts(task):
        source: Source = task.source  # type: ignore[attr-defined]
        every = [one for part in parts for one in of_tokens(part.validation, vocabulary)]
    elif corpus is not None:
        source, every = corpus.source, of_corpus(corpus)
    else:
        return None
    name, end = f"the held-out part of {source}", end_of(task, vocabulary)
    return Documents(name, every, vocabulary, end, version=source.digest)


def given(task: Task, vocabulary: Vocabulary, option: str, path: str, column: str) -> Documents:
    """Return the documents of an option, see `of_path`; they have the tokens and the end token of a run."""
    every, end = of_path(option, path, column), end_of(task, vocabulary)
    return Documents(f"{option}={path}", every, vocabulary, end, option, _version(Path(path).expanduser()))


def _version(root: Path) -> str:
    """Return a hash of the names, sizes and times of change of the files of a path, which are not read."""
    folder = root.parent if root.is_file() else root
    files = ((name, (folder / name).stat()) for name in list_names(str(root)))
    every = "".join(f"{name}\0{found.st_size} {found.st_mtime_ns}\n" for name, found in files)
    return hashlib.sha256(os.fsencode(every)).hexdigest()


def training(task: Task, most: int) -> Iterator[NDArray[np.int64]]:
    """Yield up to ``most`` training tokens of a run in parts; none if it generates its data."""
    left = most
    for span in (corpus.all for corpus in _parts(task)):
        for start in range(0, min(left, len(span)), PART):
            yield span.tokens(start, min(start + PART, left, len(span)))
        left -= min(left, len(span))
    if (corpus := _corpus(task)) is not None:
        for part in corpus.training(1)[:left].split(PART):
            yield part.numpy().astype(np.int64)


def of_corpus(corpus: Corpus) -> list[Document]:
    """Return the held-out files of a corpus as documents."""
    return [Document(name, _bytes_of(part)) for name, part in corpus.held_out()]


def of_tokens(span: Span, vocabulary: Vocabulary, own: bool = True) -> list[Document]:
    """Return the documents of a part of a corpus of tokens.

    Args:
        span: the part.
        vocabulary: its vocabulary.
        own: whether this is the vocabulary of the run.
    """
    starts = np.flatnonzero(span.begins(0, min(len(span), READ))).tolist()
    edges = [0, *starts, min(len(span), READ)] if not starts or starts[0] else [*starts, min(len(span), READ)]
    return [
        Document("", partial(_decoded, span, vocabulary, *place), partial(span.tokens, *place) if own else None)
        for place in pairwise(edges)
    ]


def _decoded(span: Span, vocabulary: Vocabulary, start: int, end: int) -> bytes:
    return vocabulary.decode(span.tokens(start, end).tolist())


def _parts(task: Task) -> Sequence[Parts]:
    found: Sequence[Parts] = getattr(task, "parts", ())
    return found


def _corpus(task: Task) -> Corpus | None:
    found: Corpus | None = getattr(task, "corpus", None)
    return found


def of_path(option: str, path: str, column: str) -> list[Document]:
    """Return the documents of a file, a folder of files or a folder of tokens; rows of .jsonl are documents.

    Args:
        option: name of the option, for messages.
        path: its value.
        column: column with the text, in .jsonl and .parquet.

    Raises:
        UserError: the path cannot be read or has no documents.
    """
    root = Path(path).expanduser()
    if (root / RECORD).is_file():
        corpus = open_tokens(option, path, None, None)
        assert corpus.vocabulary is not None
        return of_tokens(corpus.validation, corpus.vocabulary, own=False)
    names = Names(option, "suites.column")
    try:
        made = [document for name in list_names(str(root)) for document in _of_file(root, name, column, names)]
    except FileNotFoundError as error:
        raise UserError(f"{option}={path}: no such file, {error.filename!r}; give a file or folder of text.") from error
    except OSError as error:
        raise UserError(f"{option}={path} cannot be read ({error}); give a readable file or folder.") from error
    if not made:
        raise UserError(f"{option}={path} holds no text: no file, or empty ones; give a file or folder of text.")
    return made


def _of_file(root: Path, name: str, column: str, names: Names) -> Iterator[Document]:
    """Yield the documents of a file: the rows of a table, or a text file as a whole, which is read when needed.

    Files that are no text have none.
    """
    folder = str(root.parent if root.is_file() else root)
    for piece in of_file(folder, name, Path(folder, name).stat().st_size, column, names=names):
        found = partial(documents, folder, piece, column, names)
        if piece.kind != "text":
            yield from (Document("", partial(bytes, b"".join(blocks))) for blocks in found())
        elif piece.size and is_text(folder, piece):
            yield Document(name, partial(_joined, found))


def _joined(found: Callable[[], Iterable[Iterable[bytes]]]) -> bytes:
    return b"".join(chain.from_iterable(found()))


def _bytes_of(part: Tensor) -> Callable[[], bytes]:
    return lambda: part.numpy().tobytes()
