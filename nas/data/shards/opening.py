"""Open a corpus of tokens, whoever made it: a folder of `nas.prepare`, or shards of nanoGPT or of Megatron-LM.

All tokens stay on disk as memory-mapped arrays. From a stranger's folder only numbers and a tokenizer.json are read.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.shards.folder import PARTS, RECORD, TOKENIZER, Folder, fingerprint_of
from nas.data.shards.megatron import read_megatron
from nas.data.shards.span import Shard, Span
from nas.data.shards.vocabulary import BYTES, Vocabulary
from nas.errors import UserError, warn

HELD_OUT = 10
"""Divisor of the tokens: one part of this many is for validation, for shards that name no part for it."""
VALIDATES = re.compile(r"(?<![a-z])val(id(ation)?)?(?![a-z])", re.IGNORECASE)
"""Matches the names of files for validation, such as val.bin or text_valid_document.bin."""
SAMPLES, SAMPLE = 64, 2**12
"""Number and size, in tokens or bytes, of the pieces of a file that are checked or hashed."""


@dataclass(frozen=True)
class Tokenised:
    """A corpus of tokens.

    Attributes:
        given: the option that named it, as text for messages.
        training: tokens of the training documents; none in a folder of nas.prepare for validation alone.
        validation: tokens of the validation documents.
        vocabulary: the vocabulary of the tokens; None if it is not known.
        tokenizer: fingerprint of the tokenizer; None if it is not known.
        files: size and hash of each file, by its path inside the folder.
    """

    given: str
    training: Span
    validation: Span
    vocabulary: Vocabulary | None
    tokenizer: str | None
    files: dict[str, tuple[int, str]]


def open_tokens(option: str, place: str, tokenizer: str | None, end: int | None) -> Tokenised:
    """Open a corpus of tokens; raise UserError if it is empty, cut off, or of no known format.

    Args:
        option: the option that names it, for messages.
        place: a folder of `nas.prepare`; a .bin or a folder of such files (nanoGPT: uint16 tokens); a .idx, the .bin
            beside it, or a folder of such pairs (Megatron-LM).
        tokenizer: tokenizer.json of shards that others made, or "bytes"; None if it is not known.
        end: id that ends each document, in shards of nanoGPT; None for the end token of the tokenizer.
    """
    given, path = f"{option}={place}", Path(place).expanduser()
    try:
        if (path / RECORD).is_file():
            return _prepared(given, path, tokenizer, end)
        return _foreign(given, path, tokenizer, end)
    except OSError as error:
        raise UserError(f"{given} cannot be read ({error}); give a readable folder of tokens.") from error


def _prepared(given: str, path: Path, tokenizer: str | None, end: int | None) -> Tokenised:
    folder = Folder.read(path)
    if tokenizer is not None and fingerprint_of(_file(tokenizer)) != folder.fingerprint.tokenizer:
        raise UserError(
            f"data.tokenizer={tokenizer} is not the tokenizer of {given}, which has its own; leave data.tokenizer out."
        )
    if end not in (None, folder.end):
        raise UserError(f"data.end={end} is not the end token of {given}, which is {folder.end}; leave data.end out.")
    vocabulary = folder.vocabulary()
    if vocabulary.size != folder.vocab_size:
        raise UserError(
            f"{given} has {folder.vocab_size} token ids, but its tokenizer {vocabulary.size}; prepare the folder anew."
        )
    if not folder.complete:
        warn(f"{given} holds only a part of its input: nas.prepare has not ended; run it again to read the rest.")
    parts = {
        part: Span(
            [
                Shard(path / f"{own.name}.bin", folder.tokens(own), folder.documents(own)[:-1, 0])
                for own in folder.of(part)
            ]
        )
        for part in PARTS
    }
    train, validation = parts["train"], parts["validation"]
    if not len(train) + len(validation):
        raise UserError(f"{given} is empty: it has no tokens; run nas.prepare again until it has ended.")
    if not len(validation):
        train, validation = _held_out(train)
    files = _files(path, [path / RECORD, *(shard.path for part in parts.values() for shard in part.shards)])
    return Tokenised(given, train, validation, vocabulary, folder.fingerprint.tokenizer, files)


def _foreign(given: str, path: Path, tokenizer: str | None, end: int | None) -> Tokenised:
    """Open shards of nanoGPT or of Megatron-LM; files that `VALIDATES` matches are for validation."""
    vocabulary = fingerprint = file = None
    if tokenizer is not None:
        file = _file(tokenizer)
        vocabulary = Vocabulary.of_bytes() if file is None else Vocabulary.read(file, end, option="data.end=ID")
        fingerprint = fingerprint_of(file)
    found = _list(given, path)
    ended_by = vocabulary.end if vocabulary is not None and end is None else end
    shards = [read_megatron(one) if one.suffix == ".idx" else _nanogpt(one, ended_by) for one in found]
    validation = Span([shard for shard in shards if len(shards) > 1 and VALIDATES.search(shard.path.name)])
    train = Span([shard for shard in shards if shard not in validation.shards])
    if not len(train):
        raise UserError(f"{given} has files for validation alone ({found[0].name}); give files to train on too.")
    if not len(validation):
        train, validation = _held_out(train)
    root = path if path.is_dir() else path.parent
    files = _files(root, [*found, *(one.with_suffix(".bin") for one in found if one.suffix == ".idx")])
    if file is not None:
        files |= {TOKENIZER: (file.stat().st_size, fingerprint_of(file))}
    return Tokenised(given, train, validation, vocabulary, fingerprint, files)


def _list(given: str, path: Path) -> list[Path]:
    """Return the .idx files of Megatron-LM, or the .bin files of nanoGPT where there are none."""
    if path.is_dir():
        found = sorted(path.glob("*.idx")) or sorted(path.glob("*.bin"))
        if not found:
            raise UserError(
                f"{given} has neither {RECORD}, as nas.prepare leaves it, nor files .bin or .idx; give a folder of "
                "tokens, or data=text for text."
            )
        return found
    index = path.with_suffix(".idx") if path.suffix in (".bin", ".idx") else Path(f"{path}.idx")
    if index.is_file():
        return [index]
    if path.suffix == ".bin" and path.is_file():
        return [path]
    reason = "it is no .bin or .idx" if path.exists() else "there is no such folder or file"
    raise UserError(f"{given}: {reason}; give a folder of nas.prepare, a .bin of nanoGPT, or an .idx of Megatron-LM.")


def _nanogpt(path: Path, end: int | None) -> Shard:
    size = path.stat().st_size
    if not size or size % 2:
        what = "is empty" if not size else f"has {size:,} bytes, an odd number: it is cut off, or has no uint16 tokens"
        raise UserError(f"{path} {what}; give uint16 tokens as nanoGPT writes them.")
    return Shard(path, np.memmap(path, "<u2", "r"), end=end)


def _held_out(span: Span) -> tuple[Span, Span]:
    """Return the first tokens for training, and the last tenth for validation, cut where a document begins."""
    cut = span.border(max(len(span) - max(len(span) // HELD_OUT, 2), 0))
    return span.cut(0, cut), span.cut(cut, len(span))


def _file(tokenizer: str) -> Path | None:
    """Return the path of data.tokenizer; None if tokens are bytes."""
    if tokenizer == BYTES:
        return None
    path = Path(tokenizer).expanduser()
    if not path.is_file():
        raise UserError(f"data.tokenizer={tokenizer}: there is no such file; give a tokenizer.json, or bytes.")
    return path


def _files(root: Path, paths: Sequence[Path]) -> dict[str, tuple[int, str]]:
    """Return the size of each file and a hash of pieces of it, by its path inside a folder."""
    return {path.relative_to(root).as_posix(): (path.stat().st_size, _hash(path)) for path in paths}


def _hash(path: Path) -> str:
    """Return a hash of pieces spread over a file, all of it if it is small."""
    size, made = path.stat().st_size, hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        for place in range(SAMPLES):
            file.seek(max(size - SAMPLE, 0) * place // (SAMPLES - 1))
            made.update(file.read(SAMPLE))
    return made.hexdigest()


def largest(span: Span) -> tuple[int, Path]:
    """Return the largest token in pieces spread over each shard, or a negative one, and the file that has it."""
    found = []
    for shard in span.shards:
        starts = {max(len(shard.tokens) - SAMPLE, 0) * place // (SAMPLES - 1) for place in range(SAMPLES)}
        pieces = [shard.tokens[start : start + SAMPLE] for start in starts]
        least, most = min(int(piece.min()) for piece in pieces), max(int(piece.max()) for piece in pieces)
        found.append((least if least < 0 else most, shard.path))
    return max(found, key=lambda one: (one[0] < 0, one[0]))
