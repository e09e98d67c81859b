"""A folder of tokens as `nas.prepare` leaves it: its record, and its shards as memory-mapped arrays.

The folder has these files. ``tokens.json`` is the record. ``tokenizer.json`` is the tokenizer, unless tokens are bytes.
``NAME.bin`` has the little-endian tokens of a shard; the end token follows each document. ``NAME.idx.npy`` has an int64
array [documents + 1, 2]: the first token and the first byte of each document, and in the last row the totals.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from nas.data.shards.vocabulary import BYTES, Vocabulary
from nas.errors import UserError

RECORD = "tokens.json"
TOKENIZER = "tokenizer.json"
FORMAT = 1
"""Version of the format."""
NAMES = re.compile(r"(train|validation)-\d+")
"""Matches the names of shards; a record that names other files is refused."""
DTYPES = ("uint16", "uint32")

Part = Literal["train", "validation"]
PARTS: tuple[Part, ...] = ("train", "validation")


@dataclass(frozen=True)
class Fingerprint:
    """Hashes by which a changed corpus is recognised.

    Attributes:
        input: hash of all documents, which does not depend on their order.
        tokenizer: SHA-256 of the tokenizer, see `fingerprint_of`.
    """

    input: str
    tokenizer: str


@dataclass(frozen=True)
class Input:
    """What the tokens were made of.

    Attributes:
        path: path of the file or folder.
        bytes: bytes of text.
        documents: number of documents.
        invalid_bytes: how many of the bytes are not UTF-8.
    """

    path: str
    bytes: int
    documents: int
    invalid_bytes: int


@dataclass(frozen=True)
class Shard:
    """One file of tokens.

    Attributes:
        name: name of its files, without ending.
        part: what its documents are for.
        tokens: number of tokens, with the end token of each document.
        documents: number of documents.
        bytes: number of bytes of all tokens.
    """

    name: str
    part: Part
    tokens: int
    documents: int
    bytes: int


@dataclass(frozen=True)
class Folder:
    """A folder of tokens.

    Attributes:
        path: path of the folder.
        dtype: type of the tokens on disk, uint16 or uint32.
        vocab_size: number of tokens of the vocabulary.
        end: id of the end token.
        tokenizer: "bytes", or "tokenizer.json".
        fingerprint: hashes of the text and of the tokenizer.
        input: what the tokens were made of.
        shards: the shards of both parts, sorted by name.
        complete: whether all of the input is in the shards; False while `nas.prepare` has not ended.
    """

    path: Path
    dtype: str
    vocab_size: int
    end: int
    tokenizer: str
    fingerprint: Fingerprint
    input: Input
    shards: tuple[Shard, ...]
    complete: bool = True

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return the folder of a path, after a check of its record and of the size of each shard.

        Raises:
            UserError: there is no record, it is damaged, or a shard is missing or cut off.
        """
        folder = Path(path)
        given = _read_record(folder)
        try:
            made = cls(
                path=folder,
                dtype=str(given["dtype"]),
                vocab_size=int(given["vocab_size"]),
                end=int(given["end"]),
                tokenizer=str(given["tokenizer"]),
                fingerprint=Fingerprint(**given["fingerprint"]),
                input=Input(**given["input"]),
                shards=tuple(Shard(**shard) for shard in given["shards"]),
                complete=bool(given.get("complete", True)),
            )
            valid = made._is_valid()
        except (KeyError, TypeError, ValueError, AttributeError):
            valid = False
        if not valid:
            raise UserError(f"{folder / RECORD} is damaged or not of nas.prepare; prepare the folder anew.")
        for shard in made.shards:
            check_shard(folder, shard, made.dtype)
        return made

    def record(self) -> str:
        """Return the content of the record, JSON."""
        values = {"format": FORMAT} | {name: value for name, value in asdict(self).items() if name != "path"}
        return json.dumps(values, indent=1) + "\n"

    def of(self, part: Part) -> list[Shard]:
        """Return the shards of a part."""
        return [shard for shard in self.shards if shard.part == part]

    def tokens(self, shard: Shard) -> NDArray[np.unsignedinteger[Any]]:
        """Return the tokens of a shard, memory-mapped, of type `dtype` in little-endian order."""
        return np.memmap(self.path / f"{shard.name}.bin", dtype=np.dtype(self.dtype).newbyteorder("<"), mode="r")

    def documents(self, shard: Shard) -> NDArray[np.int64]:
        """Return the first token and byte of each document, memory-mapped, [documents + 1, 2]; last the totals."""
        return _index(self.path, shard)

    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary of the tokens.

        Raises:
            UserError: tokenizer.json is missing, or not the one with which the tokens were made.
        """
        if self.tokenizer == BYTES:
            return Vocabulary.of_bytes()
        path = self.path / TOKENIZER
        if not path.is_file():
            raise UserError(f"{path} is missing, without which its tokens have no text; restore it from a copy.")
        if fingerprint_of(path) != self.fingerprint.tokenizer:
            raise UserError(f"{path} is not the tokenizer that {RECORD} names; restore it, or prepare the folder anew.")
        return Vocabulary.read(path, self.end)

    def _is_valid(self) -> bool:
        """Return whether the values of the record are possible."""
        return (
            self.dtype in DTYPES
            and self.tokenizer in (BYTES, TOKENIZER)
            and 0 <= self.end < self.vocab_size <= 2 ** (8 * np.dtype(self.dtype).itemsize)
            and all(NAMES.fullmatch(shard.name) and shard.name.startswith(f"{shard.part}-") for shard in self.shards)
            and all(shard.documents > 0 and shard.tokens >= shard.documents for shard in self.shards)
        )


def check_shard(folder: Path, shard: Shard, dtype: str) -> None:
    """Raise UserError if the files of a shard in a folder are not as long as the shard, or are damaged."""
    path = folder / f"{shard.name}.bin"
    expected = shard.tokens * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
        index = _index(folder, shard)
        found = (index.dtype.str, index.shape, *index[-1].tolist())
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise UserError(
            f"{folder} lacks the shard {shard.name}, or its index is damaged ({error}); restore the files, or "
            "prepare the folder anew."
        ) from error
    if size != expected:
        raise UserError(
            f"{path} has {size:,} bytes, but {RECORD} says {expected:,}: it was cut off or replaced; restore it, "
            "or prepare the folder anew."
        )
    if found != ("<i8", (shard.documents + 1, 2), shard.tokens, shard.bytes):
        raise UserError(
            f"{path.with_suffix('.idx.npy')} does not fit {RECORD}: it was cut off or replaced; restore it, or "
            "prepare the folder anew."
        )


def _index(folder: Path, shard: Shard) -> NDArray[np.int64]:
    return cast(NDArray[np.int64], np.load(folder / f"{shard.name}.idx.npy", mmap_mode="r", allow_pickle=False))


def fingerprint_of(tokenizer: Path | None) -> str:
    """Return the SHA-256 of a tokenizer.json, or of the word "bytes" for None."""
    content = BYTES.encode() if tokenizer is None else tokenizer.read_bytes()
    return hashlib.sha256(content).hexdigest()


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder} has no {RECORD}; give a folder that nas.prepare wrote.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it, or prepare the folder anew.") from error
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise UserError(f"{path} is not of format {FORMAT}, which this version reads; prepare the folder anew.")
    return given
