"""Byte-level language modelling on any text."""

import torch
from torch import Tensor

from nas.data.batch import Batch, Part
from nas.data.corpus import MAX_BYTES, Corpus, byte_text, windows
from nas.data.seeding import generator


class Text:
    """Predict the next byte of windows drawn from a text; implements ``nas.data.batch.Task``.

    The seed has no part in what validates; see `nas.data.corpus.Corpus`.

    Args:
        path: a file or folder; None is the standard library.
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
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._length = length
        self._batch_size = batch_size
        self._validation_batches = validation_batches
        self._seed = seed
        self._corpus = Corpus(path, max_bytes)
        self._corpus.training(length)
        self._corpus.validation(length)

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        """The training batch of a step: windows that start anywhere in the training bytes, or in a part of them.

        UserError where a part has no room for a sequence.
        """
        text = self._corpus.training(self._length, part)
        draws = generator(self._seed, "text", step)
        starts = torch.randint(len(text) - self._length, (self._batch_size,), generator=draws)
        return _batch(text, starts, self._length)

    def full_batch(self, step: int) -> Batch:
        """A training batch: they are all of one length."""
        return self.train_batch(step)

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        """Batches of one size, their windows apart from each other and evenly spread over the validation bytes."""
        length = self._length * length_factor
        text = self._corpus.validation(length)
        count, size = self._validates_on(length)
        starts = torch.arange(count) * (len(text) - length - 1) // max(count - 1, 1)
        return [_batch(text, some, length) for some in starts.split(size)]

    def selection_batches(self, count: int) -> list[Batch]:
        """Batches from the validation bytes between the windows of `validation_batches`, spread evenly over these gaps.

        Where the gaps have no room for a window, the two overlap.
        """
        length = self._length
        text = self._corpus.validation(length)
        gaps = max(self._validates_on(length)[0] - 1, 1)
        last = len(text) - length - 1  # the last place to start from
        room = max(last / gaps - 2 * (length + 1), 0.0)  # places in a gap to start from
        along = torch.arange(count * self._batch_size, dtype=torch.float64) * gaps / (count * self._batch_size)
        starts = (along.floor() * last / gaps + length + 1 + along.frac() * room).long().clamp(max=last)
        return [_batch(text, some, length) for some in starts.split(self._batch_size)]

    def _validates_on(self, length: int) -> tuple[int, int]:
        """How many windows, side by side, the validation bytes have room for, and how many of them are in a batch."""
        count = min(self._validation_batches * self._batch_size, len(self._corpus.validation(length)) // (length + 1))
        size = min(count, self._batch_size)
        return count - count % size, size

    def token_text(self, token: int) -> str:
        """See `nas.data.corpus.byte_text`."""
        return byte_text(token)


def _batch(text: Tensor, starts: Tensor, length: int) -> Batch:
    given = windows(text, starts, length).long()
    return Batch(tokens=given[:, :-1].contiguous(), targets=given[:, 1:].contiguous(), planted=None)
