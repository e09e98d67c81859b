"""The bytes of a text, split into training and validation bytes; by default of Python's standard library.

The standard library is on every machine, so a search on real text needs no download. Its source differs a little
between Python versions: compare metrics on it only within one installation.
"""

import hashlib
import os
import stat
import sysconfig
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.data.batch import Part
from nas.errors import UserError

NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests"})
"""Folders of the standard library that are left out: installed packages, and tests in unusual encodings."""

CHOICES_PART = 5
"""Divisor of the training bytes: one part of this many trains the architecture in bilevel training."""

MAX_BYTES = 512 * 2**20
"""Default limit on the size of a text, in bytes: all of it is held in memory."""

SHOWN = {ord("\n"): "↵", ord("\t"): "→", ord(" "): "·"}


class Corpus:
    """A text as two vectors of bytes, for training and for validation.

    About a tenth of the files are for validation, chosen by a hash of their path inside the folder. If these files
    hold less than a twentieth or more than a fifth of the bytes (one file, or a few of very different sizes), the
    last tenth of all bytes is for validation instead.

    Args:
        path: a file, or a folder of which every regular file is read (links to files too; links to folders
            are not followed); None is the standard library.
        max_bytes: largest allowed size of the text in bytes; all of it is held in memory.

    Raises:
        UserError: the text cannot be read, is empty or is too large.
    """

    def __init__(self, path: str | None, max_bytes: int = MAX_BYTES) -> None:
        self._given = f"data.path={path}"
        if path is None:
            self._given = f"data.path=null (the standard library of Python, in {sysconfig.get_path('stdlib')})"
        try:
            files = _library() if path is None else _files(os.path.expanduser(path))
            self._check_size(sum(file.size for file in files), max_bytes)
            self._train, self._validation = _split(files)
        except FileNotFoundError as error:
            raise UserError(
                f"{self._given}: no such file, {error.filename!r}; give a file or folder of text."
            ) from error
        except OSError as error:
            raise UserError(f"{self._given} cannot be read ({error}); give a readable file or folder.") from error

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

    def _check_size(self, total: int, max_bytes: int) -> None:
        if total == 0:
            raise UserError(f"{self._given} holds no text: no file, or empty ones; give a file or folder of text.")
        if total > max_bytes:
            raise UserError(
                f"{self._given} holds {total:,} bytes, over data.max_bytes={max_bytes}; "
                "give a smaller file or folder, or a larger data.max_bytes."
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


class _File(NamedTuple):
    path: Path
    name: str  # its path inside the folder, with "/" on every system
    size: int  # in bytes


def _library() -> list[_File]:
    files = _files(sysconfig.get_path("stdlib"), skip=NOT_LIBRARY)
    return [file for file in files if file.path.suffix == ".py"]


def _files(root: str, skip: Collection[str] = ()) -> list[_File]:
    """List the regular files under a folder, sorted by name; or the given file alone."""
    given = os.stat(root)
    if stat.S_ISREG(given.st_mode):
        return [_File(Path(root), Path(root).name, given.st_size)]
    if not stat.S_ISDIR(given.st_mode):
        raise OSError("it is neither a regular file nor a folder")
    found = []
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        subfolders[:] = [name for name in subfolders if name not in skip]
        for path in (Path(folder, name) for name in names):
            if path.is_file():
                found.append(_File(path, path.relative_to(root).as_posix(), path.stat().st_size))
    return sorted(found, key=lambda file: file.name)


def _raise(error: OSError) -> None:
    raise error


def _split(files: list[_File]) -> tuple[Tensor, Tensor]:
    """Return the training and the validation bytes, each a uint8 vector."""
    train = [file for file in files if not _validates(file)]
    validation = [file for file in files if _validates(file)]
    total = sum(file.size for file in files)
    if total <= 20 * sum(file.size for file in validation) <= 4 * total:
        return _read(train), _read(validation)
    text = _read(files)
    cut = len(text) - len(text) // 10
    return text[:cut], text[cut:]


def _validates(file: _File) -> bool:
    digest = hashlib.blake2b(os.fsencode(file.name), digest_size=8).digest()
    return int.from_bytes(digest, "little") % 10 == 0


def _read(files: list[_File]) -> Tensor:
    text = bytearray()
    for file in files:
        with open(file.path, "rb") as opened:
            text += opened.read(file.size)
    return torch.from_numpy(np.frombuffer(text, dtype=np.uint8))
