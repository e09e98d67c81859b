"""Byte-level language modelling on any text."""

import torch
from torch import Tensor

from nas.config import COLUMN, MAX_BYTES
from nas.data.batch import BYTE, Batch, Part
from nas.data.corpus import Corpus, Source, byte_text, windows
from nas.data.seeding import generator


class Text:
    """Predict the next byte of windows drawn from a text; implements ``nas.data.batch.Task``.

    The validation bytes do not depend on the seed; see `nas.data.corpus.Corpus`.

    Args:
        path: a file or folder; None is the standard library.
        length: bytes in a sequence.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches, fewer if the validation bytes are too short for disjoint ones.
        seed: seed of the training windows.
        column: column of JSON Lines and Parquet files that has the text.
        max_bytes: largest allowed size of the text in bytes; all of it is held in memory.
    """

    name: str = "text"
    vocab_size: int = 256
    quality: str = "bits_per_byte"
    token: str = BYTE

    def __init__(
        self,
        path: str | None,
        length: int,
        batch_size: int,
        validation_batches: int,
        seed: int,
        column: str = COLUMN,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._length = length
        self._batch_size = batch_size
        self._validation_batches = validation_batches
        self._seed = seed
        self._corpus = Corpus(path, column, max_bytes)
        self._corpus.training(length)
        self._corpus.validation(length)

    @property
    def corpus(self) -> Corpus:
        """Return the text."""
        return self._corpus

    @property
    def source(self) -> Source:
        """Return the files that the text was read from."""
        return self._corpus.source

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        """Return the training batch of a step: windows that start anywhere in the training bytes, or in a part of them.

        Raises UserError if no sequence fits the part.
        """
        return self._training(step, part, 1)

    def longer_batch(self, step: int, length_factor: int, part: Part) -> Batch:
        """Return a training batch of fewer, longer windows; see `nas.data.batch.longer_batch_of`."""
        return self._training(step, part, length_factor)

    def _training(self, step: int, part: Part, length_factor: int) -> Batch:
        size, length = self._batch_size // length_factor, self._length * length_factor
        text = self._corpus.training(length, part)
        draws = generator(self._seed, "text", step)
        starts = torch.randint(len(text) - length, (size,), generator=draws)
        return _batch(text, starts, length)

    def full_batch(self, step: int) -> Batch:
        """Return a training batch: all have full length."""
        return self.train_batch(step)

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        """Return batches of one size, with disjoint windows spread evenly over the validation bytes."""
        length = self._length * length_factor
        text = self._corpus.validation(length)
        count, size = self._validates_on(length)
        starts = torch.arange(count) * (len(text) - length - 1) // max(count - 1, 1)
        return [_batch(text, some, length) for some in starts.split(size)]

    def selection_batches(self, count: int, length_factor: int = 1) -> list[Batch]:
        """Return batches from the gaps between the windows of `validation_batches`, spread evenly over these gaps.

        If the gaps are too short for a window, the two kinds of windows overlap. Longer batches have fewer windows.
        """
        length, size = self._length * length_factor, max(1, self._batch_size // length_factor)
        text = self._corpus.validation(length)
        gaps = max(self._validates_on(length)[0] - 1, 1)
        last = len(text) - length - 1  # the last possible start
        room = max(last / gaps - 2 * (length + 1), 0.0)  # possible starts in a gap
        along = torch.arange(count * size, dtype=torch.float64) * gaps / (count * size)
        starts = (along.floor() * last / gaps + length + 1 + along.frac() * room).long().clamp(max=last)
        return [_batch(text, some, length) for some in starts.split(size)]

    def chance(self) -> float:
        """Return the bits per byte of a model that knows only how frequent each validation byte is."""
        counts = torch.bincount(self._corpus.validation(self._length)).double()
        frequency = counts[counts > 0] / counts.sum()
        return -(frequency * frequency.log2()).sum().item()

    def _validates_on(self, length: int) -> tuple[int, int]:
        """Return the number of disjoint windows in the validation bytes, and the number of windows in a batch."""
        count = min(self._validation_batches * self._batch_size, len(self._corpus.validation(length)) // (length + 1))
        size = min(count, self._batch_size)
        return count - count % size, size

    def token_text(self, token: int) -> str:
        """Return the text of a byte, see `nas.data.corpus.byte_text`."""
        return byte_text(token)


def _batch(text: Tensor, starts: Tensor, length: int) -> Batch:
    given = windows(text, starts, length).long()
    return Batch(tokens=given[:, :-1].contiguous(), targets=given[:, 1:].contiguous(), planted=None)
