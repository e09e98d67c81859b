"""The work on one unit of a corpus: read its documents, split them into parts, encode and write them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.data.shards.folder import Part, Shard
from nas.data.shards.vocabulary import INVALID, Vocabulary
from nas.preparing.documents import documents, is_text, parts_of
from nas.preparing.pieces import Piece
from nas.preparing.shards import ShardWriter

HASHED = 2**20
"""Bytes at the start of a document whose hash decides its part."""
MODULUS = 2**128
"""The fingerprint of documents is the sum of their hashes modulo this."""


class Settings(NamedTuple):
    """What a worker needs to know beside the unit; plain values.

    Attributes:
        root: folder of the files of the input.
        column: column of tables that has the text.
        validation: share of documents for validation.
        folder: folder of the shards.
        tokenizer: path of the tokenizer.json; None if tokens are bytes.
        end: id of the end token.
    """

    root: str
    column: str
    validation: float
    folder: str
    tokenizer: str | None = None
    end: int = 256

    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary."""
        return Vocabulary.of_bytes() if self.tokenizer is None else Vocabulary.read(Path(self.tokenizer), self.end)


@dataclass
class Counts:
    """What the documents of a unit, or of many units, add up to.

    Attributes:
        documents: number of documents that are not empty.
        bytes: their bytes.
        invalid_bytes: how many of the bytes are not UTF-8.
        empty: number of documents without text, which are left out.
        not_text: number of files that are not text, which are left out.
        altered: number of documents of which the tokenizer changes the number of bytes.
        digest: sum of the hashes of the documents modulo `MODULUS`.
    """

    documents: int = 0
    bytes: int = 0
    invalid_bytes: int = 0
    empty: int = 0
    not_text: int = 0
    altered: int = 0
    digest: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
        return Counts(**sums | {"digest": sums["digest"] % MODULUS})


@dataclass
class Finished:
    """A unit whose shards are on the disk.

    Attributes:
        number: number of the unit.
        shards: its shards; none of a part that has no document.
        counts: what its documents add up to.
    """

    number: int
    shards: list[Shard] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


def encode_unit(
    settings: Settings, vocabulary: Vocabulary, number: int, pieces: Iterable[Piece], report: Callable[[int], None]
) -> Finished:
    """Write the shards of a unit.

    Args:
        settings: what is the same for all units.
        vocabulary: vocabulary of the tokens.
        number: number of the unit.
        pieces: the pieces of the unit.
        report: called with the bytes of text that were encoded since the last call.

    Raises:
        UserError: a document cannot be read.
        OSError: a file cannot be read, or a shard cannot be written. No shard of the unit is left then.
    """
    made = Finished(number)
    writers: dict[Part, ShardWriter] = {}
    dtype = np.dtype(dtype_of(vocabulary.size)).newbyteorder("<")
    with ExitStack() as files:
        for piece in pieces:
            if not is_text(settings.root, piece):
                made.counts.not_text += 1
                continue
            for blocks in documents(settings.root, piece, settings.column):
                head, document = started(blocks)
                if not head:
                    made.counts.empty += 1
                    continue
                part = part_of(head, settings.validation)
                if part not in writers:
                    writers[part] = ShardWriter(files, Path(settings.folder), part, number, vocabulary.end, dtype)
                made.counts += _encode(document, vocabulary, writers[part], dtype, report)
        made.shards = [writer.finish() for writer in writers.values()]
    return made


def started(blocks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first `HASHED` bytes of a document, and the blocks of the whole document."""
    rest = iter(blocks)
    head = b""
    for block in rest:
        head += block
        if len(head) >= HASHED:
            break
    return head[:HASHED], chain([head], rest)


def part_of(head: bytes, validation: float) -> Part:
    """Return the part of a document: documents with the same text, apart from white space, are in the same part.

    Args:
        head: the first `HASHED` bytes of the document.
        validation: share of documents for validation.
    """
    digest = hashlib.blake2b(b" ".join(head.split()), digest_size=8).digest()
    return "validation" if int.from_bytes(digest, "little") < validation * 2**64 else "train"


def dtype_of(vocab_size: int) -> str:
    """Return the name of the smallest type that holds the tokens of a vocabulary."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def _encode(
    document: Iterable[bytes],
    vocabulary: Vocabulary,
    writer: ShardWriter,
    dtype: np.dtype[Any],
    report: Callable[[int], None],
) -> Counts:
    """Write the tokens of a document, and return what it adds up to."""
    digest = hashlib.blake2b(digest_size=16)
    counts, encoded = Counts(documents=1), 0
    for text in parts_of(document):
        digest.update(text)
        tokens = vocabulary.encode_array(text)
        size = int(vocabulary.byte_lengths[tokens].sum())
        writer.add(tokens.astype(dtype), size)
        counts.bytes += len(text)
        counts.invalid_bytes += _invalid(text)
        encoded += size
        report(len(text))
    writer.end_document()
    counts.altered = int(encoded != counts.bytes)
    counts.digest = int.from_bytes(digest.digest(), "little")
    return counts


def _invalid(text: bytes) -> int:
    """Return how many bytes of a text are not UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return sum(map(len, INVALID.findall(text.decode("utf-8", "surrogateescape"))))
    return 0
