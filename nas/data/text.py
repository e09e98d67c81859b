"""Byte-level language modelling on any text, by default the source of Python's own standard library.

The default is there on every machine that runs this, so that a search on real text needs no download. It differs
a little between Python versions: figures on it compare within one installation.
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

from nas.data.batch import Batch, Part
from nas.data.seeding import generator
from nas.errors import UserError

NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests"})
"""Folders in the standard library's place left out of it: what was installed, and tests in odd encodings."""

CHOICES_PART = 5
"""One part in so many of the training bytes is what choices learn from, where they learn apart from the weights."""

SHOWN = {ord("\n"): "↵", ord("\t"): "→", ord(" "): "·"}


class Text:
    """Predict the next byte of windows drawn from a text; implements ``nas.data.batch.Task``.

    About a tenth of the files validate, picked by a hash of their path inside the folder. Where that leaves
    validation with less than a twentieth or more than a fifth of the bytes (one file, or a few of very
    different sizes), the last tenth of all bytes validates instead. The seed has no part in the split.

    Args:
        path: a file, or a folder of which every regular file is read (links to files too; links to folders
            are not followed); None is the standard library.
        length: bytes in a sequence.
        batch_size: sequences in a batch.
        validation_batches: batches to validate on, fewer where the text has no room for them side by side.
        seed: seed of the training windows.
        max_bytes: largest text to read: all of it is held in memory.
    """

    name: str = "text"
    vocab_size: int = 256
    quality: str = "bits_per_byte"

    def __init__(
        self,
        path: str | None,
        length: int,
        batch_size: int,
        validation_batches: int,
        seed: int,
        max_bytes: int = 512 * 2**20,
    ) -> None:
        sizes = {"length": length, "batch_size": batch_size, "validation_batches": validation_batches}
        for name, value in sizes.items():
            if value < 1:
                raise UserError(f"data.{name}={value} is too small; give 1 or more.")
        self._length = length
        self._batch_size = batch_size
        self._validation_batches = validation_batches
        self._seed = seed
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
        for text, part in ((self._train, "training"), (self._validation, "validation")):
            self._check_room(text, part, length)

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        """The training batch of a step: windows that start anywhere in the training bytes, or in a part of them.

        The last fifth of them is for choices; UserError where that has no room for a sequence.
        """
        cut = len(self._train) - len(self._train) // CHOICES_PART
        text = {"all": self._train, "weights": self._train[:cut], "choices": self._train[cut:]}[part]
        self._check_room(text, "training" if part == "all" else f"bilevel training of {part}", self._length)
        draws = generator(self._seed, "text", step)
        starts = torch.randint(len(text) - self._length, (self._batch_size,), generator=draws)
        return _windows(text, starts, self._length)

    def full_batch(self, step: int) -> Batch:
        """A training batch: they are all of one length."""
        return self.train_batch(step)

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        """Batches of one size, their windows apart from each other and evenly spread over the validation bytes."""
        text, length = self._validation, self._length * length_factor
        count, size = self._validates_on(length)
        starts = torch.arange(count) * (len(text) - length - 1) // max(count - 1, 1)
        return [_windows(text, some, length) for some in starts.split(size)]

    def selection_batches(self, count: int) -> list[Batch]:
        """Batches from the validation bytes between the windows of `validation_batches`, spread evenly over these gaps.

        Where the gaps have no room for a window, the two overlap.
        """
        text, length = self._validation, self._length
        gaps = max(self._validates_on(length)[0] - 1, 1)
        last = len(text) - length - 1  # the last place to start from
        room = max(last / gaps - 2 * (length + 1), 0.0)  # places in a gap to start from
        along = torch.arange(count * self._batch_size, dtype=torch.float64) * gaps / (count * self._batch_size)
        starts = (along.floor() * last / gaps + length + 1 + along.frac() * room).long().clamp(max=last)
        return [_windows(text, some, length) for some in starts.split(self._batch_size)]

    def _validates_on(self, length: int) -> tuple[int, int]:
        """How many windows, side by side, the validation bytes have room for, and how many of them are in a batch."""
        self._check_room(self._validation, "validation", length)
        count = min(self._validation_batches * self._batch_size, len(self._validation) // (length + 1))
        size = min(count, self._batch_size)
        return count - count % size, size

    def token_text(self, token: int) -> str:
        r"""Printable ASCII as it is, white space as ``↵``, ``→`` and ``·``, any other byte as ``\xNN``."""
        return SHOWN.get(token) or (chr(token) if 32 < token < 127 else f"\\x{token:02x}")

    def _check_size(self, total: int, max_bytes: int) -> None:
        if total == 0:
            raise UserError(f"{self._given} holds no text: no file, or empty ones; give a file or folder of text.")
        if total > max_bytes:
            raise UserError(
                f"{self._given} holds {total:,} bytes, over data.max_bytes={max_bytes}; "
                "give a smaller file or folder, or a larger data.max_bytes."
            )

    def _check_room(self, text: Tensor, part: str, length: int) -> None:
        if len(text) <= length:
            raise UserError(
                f"{self._given} is too short: a {part} sequence needs {length + 1:,} bytes and there are {len(text):,} "
                f"for {part}; give a longer text, or sequences shorter than data.length={self._length}."
            )


class _File(NamedTuple):
    path: Path
    name: str  # its path inside the folder, with "/" on every system
    size: int  # in bytes


def _library() -> list[_File]:
    files = _files(sysconfig.get_path("stdlib"), skip=NOT_LIBRARY)
    return [file for file in files if file.path.suffix == ".py"]


def _files(root: str, skip: Collection[str] = ()) -> list[_File]:
    """The regular files under a folder, sorted by name; or the one file given."""
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
    """The training and the validation bytes, each a uint8 vector."""
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


def _windows(text: Tensor, starts: Tensor, length: int) -> Batch:
    places = starts[:, None] + torch.arange(length)
    return Batch(tokens=text[places].long(), targets=text[places + 1].long(), planted=None)
