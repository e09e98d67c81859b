"""The bytes of a text, split into training and validation bytes; by default of Python's standard library.

The standard library is on every machine, so a search on real text needs no download. Its source differs a little
between Python versions: compare metrics on it only within one installation.
"""

import hashlib
import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas.config import COLUMN, MAX_BYTES
from nas.data.batch import Part
from nas.data.files import File, list_files, read_text
from nas.errors import UserError

NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests"})
"""Folders of the standard library that are left out: installed packages, and tests in unusual encodings."""

CHOICES_PART = 5
"""Divisor of the training bytes: one part of this many trains the architecture in bilevel training."""

DIGEST_BYTES = 16
"""Bytes of the hash of a text."""

SHOWN = {ord("\n"): "↵", ord("\t"): "→", ord(" "): "·"}


@dataclass(frozen=True)
class Source:
    """The files that a corpus was read from, to recognise a changed corpus.

    Attributes:
        path: path of the file or folder; None for Python's standard library.
        files: size and hash of the text of each file, by its path inside the folder.
    """

    path: str | None
    files: dict[str, tuple[int, str]]

    @property
    def bytes(self) -> int:
        """Return the number of bytes of text."""
        return sum(size for size, _ in self.files.values())

    @property
    def digest(self) -> str:
        """Return a hash of the names and texts of all files."""
        every = "".join(f"{name}\0{size} {digest}\n" for name, (size, digest) in sorted(self.files.items()))
        return _digest(os.fsencode(every))

    def __str__(self) -> str:
        """Return what was read as text for messages."""
        count = f"{len(self.files):,} file{'s' * (len(self.files) != 1)}, {self.bytes / 1e6:,.3g} MB"
        if self.path is None:
            return f"Python's standard library ({count}), since data.path is not given"
        return f"{self.path} ({count})"


class Corpus:
    """A text as two vectors of bytes, for training and for validation.

    About a tenth of the files are for validation, chosen by a hash of their path inside the folder. If these files
    hold less than a twentieth or more than a fifth of the bytes (one file, or a few of very different sizes), the
    last tenth of all bytes is for validation instead.

    Args:
        path: a file, or a folder of which the files are read that `nas.data.files.list_files` lists; None is the
            standard library.
        column: column of JSON Lines and Parquet files that has the text.
        max_bytes: largest allowed size of the text in bytes; all of it is held in memory.

    Attributes:
        source: the files that were read.

    Raises:
        UserError: the text cannot be read, contains a file that is not text, is empty or is too large.
    """

    source: Source

    def __init__(self, path: str | None, column: str = COLUMN, max_bytes: int = MAX_BYTES) -> None:
        self._given = f"data.path={path}"
        if path is None:
            self._given = f"data.path=null (the standard library of Python, in {sysconfig.get_path('stdlib')})"
        self._max_bytes = max_bytes
        try:
            files = _library() if path is None else list_files(os.path.expanduser(path))
            text, lengths = self._read(files, column)
        except FileNotFoundError as error:
            raise UserError(
                f"{self._given}: no such file, {error.filename!r}; give a file or folder of text."
            ) from error
        except OSError as error:
            raise UserError(f"{self._given} cannot be read ({error}); give a readable file or folder.") from error
        if not len(text):
            raise UserError(f"{self._given} holds no text: no file, or empty ones; give a file or folder of text.")
        parts = text.split(lengths)
        self.source = Source(
            path, {file.name: (len(part), _digest(part.numpy().data)) for file, part in zip(files, parts, strict=True)}
        )
        self._train, self._validation, self._held_out = _split(files, text, parts)

    def training(self, length: int, part: Part = "all") -> Tensor:
        """Return the training bytes, or a part of them; raise UserError if no sequence of ``length`` fits.

        A sequence has one byte more than its length: the last target. The part for the architecture is the last fifth.
        """
        cut = len(self._train) - len(self._train) // CHOICES_PART
        text = {"all": self._train, "weights": self._train[:cut], "choices": self._train[cut:]}[part]
        return self._checked_length(text, "training" if part == "all" else f"bilevel training of {part}", length)

    def validation(self, length: int) -> Tensor:
        """Return the validation bytes; raise UserError if no sequence of ``length`` fits."""
        return self._checked_length(self._validation, "validation", length)

    def held_out(self) -> list[tuple[str, Tensor]]:
        """Return name and bytes of each file for validation, or of the part of a file that is for validation."""
        sizes = [size for _, size in self._held_out]
        return [(name, part) for (name, _), part in zip(self._held_out, self._validation.split(sizes), strict=True)]

    def _read(self, files: list[File], column: str) -> tuple[Tensor, list[int]]:
        """Return the text of all files as one uint8 vector, and the number of bytes of each file."""
        text, lengths = bytearray(), []
        for file in files:
            before = len(text)
            for part in read_text(file.path, column):
                text += part
                if len(text) > self._max_bytes:
                    raise self._too_large(files)
            lengths.append(len(text) - before)
        return torch.from_numpy(np.frombuffer(text, dtype=np.uint8)) if text else torch.empty(
            0, dtype=torch.uint8
        ), lengths

    def _too_large(self, files: list[File]) -> UserError:
        total = sum(file.path.stat().st_size for file in files)
        return UserError(
            f"{self._given} holds more text than data.max_bytes={self._max_bytes} allows (its files have {total:,} "
            "bytes, and all text is held in memory); give a smaller file or folder, or a larger data.max_bytes."
        )

    def _checked_length(self, text: Tensor, part: str, length: int) -> Tensor:
        if len(text) <= length:
            raise UserError(
                f"{self._given} is too short: a {part} sequence needs {length + 1:,} bytes and there are {len(text):,} "
                f"for {part}; give a longer text, or less for data.length or data.length_factors."
            )
        return text


def windows(text: Tensor, starts: Tensor, length: int) -> Tensor:
    """Return [B, length + 1] bytes from each start on: a sequence, and the target of its last byte."""
    return text[starts[:, None] + torch.arange(length + 1)]


def byte_text(byte: int) -> str:
    r"""Return printable ASCII as it is, white space as ``↵``, ``→`` and ``·``, any other byte as ``\xNN``."""
    return SHOWN.get(byte) or (chr(byte) if 32 < byte < 127 else f"\\x{byte:02x}")


def _library() -> list[File]:
    files = list_files(sysconfig.get_path("stdlib"), skip=NOT_LIBRARY)
    return [file for file in files if file.path.suffix == ".py"]


def _split(files: list[File], text: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[tuple[str, int]]]:
    """Return the training and the validation bytes, and name and bytes of each file in the latter.

    Args:
        files: all files.
        text: uint8 [n], their bytes.
        parts: the bytes of each file.
    """
    named = [(file.name, part) for file, part in zip(files, parts, strict=True) if _validates(file)]
    if len(text) <= 20 * sum(len(part) for _, part in named) <= 4 * len(text):
        train = [part for file, part in zip(files, parts, strict=True) if not _validates(file)]
        return torch.cat(train), torch.cat([part for _, part in named]), [(name, len(part)) for name, part in named]
    cut, end = len(text) - len(text) // 10, 0
    held_out = []
    for file, part in zip(files, parts, strict=True):
        end += len(part)
        if (left := min(len(part), end - cut)) > 0:
            held_out.append((file.name, left))
    return text[:cut], text[cut:], held_out


def _validates(file: File) -> bool:
    digest = hashlib.blake2b(os.fsencode(file.name), digest_size=8).digest()
    return int.from_bytes(digest, "little") % 10 == 0


def _digest(text: bytes | memoryview) -> str:
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).hexdigest()
