"""In-context recall in real code: identifiers are renamed at random, and their later occurrences are to be predicted.

A sequence is a piece of Python source in which each identifier has a new name of the same length, drawn for this
sequence; see `nas.data.renaming`. The letters after the first three of a name are to be predicted where the name occurs
again, which only the context makes possible:

    def qhzkwmpt(bvnae, tjxdo):
        return bvnae + tjxdo
    predict:      ae      do
"""

import numpy as np
import torch
from torch import Tensor

from nas.config import COLUMN, MAX_BYTES
from nas.data.batch import BYTE, IGNORE, Batch, Part
from nas.data.corpus import Corpus, Source, byte_text
from nas.data.renaming import LETTERS, TRIES, Piece, code_of, renamed
from nas.data.stream import Stream
from nas.errors import UserError


class Identifiers(Stream):
    """An endless, seeded stream of code with renamed identifiers; implements `nas.data.batch.Task`.

    Args:
        path: Python source, a file or folder; None is the standard library. Its validation bytes
            (`nas.data.corpus.Corpus`) are for validation and selection.
        length: bytes in a sequence.
        queries: scored bytes in a sequence, drawn from all bytes that can be scored.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches.
        seed: seed of all random draws.
        column: column of JSON Lines and Parquet files that has the source.
        max_bytes: largest allowed size of the source in bytes; all of it is held in memory.
    """

    name: str = "identifiers"
    vocab_size: int = 256
    quality: str = "recall"
    token: str = BYTE

    def __init__(
        self,
        *,
        path: str | None,
        length: int,
        queries: int,
        batch_size: int,
        validation_batches: int,
        seed: int,
        column: str = COLUMN,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__(batch_size=batch_size, validation_batches=validation_batches, seed=seed)
        self._given, self._length, self._queries = f"data.path={'null' if path is None else path}", length, queries
        self._corpus = Corpus(path, column, max_bytes)
        self._training = code_of(self._corpus.training(length))
        self._validation = code_of(self._corpus.validation(length))

    @property
    def corpus(self) -> Corpus:
        """Return the text."""
        return self._corpus

    @property
    def source(self) -> Source:
        """Return the files that the code was read from."""
        return self._corpus.source

    def token_text(self, token: int) -> str:
        """Return the text of a byte, see `nas.data.corpus.byte_text`."""
        return byte_text(token)

    def chance(self) -> float:
        """Return the recall of a guess among all letters."""
        return 1 / LETTERS

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        text = self._corpus.training(self._length, part)
        start = len(self._training) - len(text) if part == "choices" else 0
        return self._draw(text, self._training[start : start + len(text)], self._length, size, random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        if not held_out:
            return self._draw_training(size, "all", random)
        length = self._length * length_factor
        return self._draw(self._corpus.validation(length), self._validation, length, size, random)

    def _draw(self, text: Tensor, code: Tensor, length: int, size: int, random: torch.Generator) -> Batch:
        """Draw ``size`` sequences of ``length`` + 1 bytes, of which a model sees all but the last."""
        sequences = bytearray()
        targets = torch.full((size, length), IGNORE)
        planted = torch.zeros(size, length, dtype=torch.bool)
        for row in range(size):
            piece = self._piece(text, code, length, random)
            sequences += piece.code
            for index in torch.randperm(len(piece.scored), generator=random)[: self._queries].tolist():
                place, (start, letters) = piece.scored[index], piece.first[index]
                targets[row, place - 1] = piece.code[place]
                planted[row, start : start + letters] = True
        given = torch.from_numpy(np.frombuffer(sequences, dtype=np.uint8)).view(size, length + 1).long()
        return Batch(given[:, :-1].contiguous(), targets, planted)

    def _piece(self, text: Tensor, code: Tensor, length: int, random: torch.Generator) -> Piece:
        """Draw a piece with enough bytes to score; raise UserError if none is found."""
        for start in torch.randint(len(text) - length, (TRIES,), generator=random).tolist():
            window = slice(start, start + length + 1)
            piece = renamed(text[window].numpy().tobytes(), code[window].numpy().tobytes(), random)
            if len(piece.scored) >= self._queries:
                return piece
        raise UserError(
            f"{self._given} has too few identifiers that recur: {TRIES} pieces of {length} bytes have less than "
            f"data.queries={self._queries} bytes to score; give Python source, a larger data.length, or less for "
            "data.queries."
        )
