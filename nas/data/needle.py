"""A needle in a haystack, byte by byte: one sentence in a long text states a value that the end of the text requests.

The three forms of single needles of RULER (Hsieh et al. 2024, arXiv 2404.06654; niah_single_1 to 3 of
https://github.com/NVIDIA/RULER):

    form     haystack                                value                               in RULER
    noise    the same few sentences over and over    a number of 7 digits                S-NIAH-1
    text     running text                            a number of 7 digits                S-NIAH-2
    digits   running text                            32 hexadecimal digits, as a UUID    S-NIAH-3

A sequence is a haystack with a needle, then a question; the value is to be predicted:

    The grass is green. The sky is b
    One of the special magic numbers for quiet-harbor is: 4820563.
    lue. The sun is yellow. Here we go.
    The special magic number for quiet-harbor is: 4820563

``distractors`` are further needles of the same form at other places, each with another key and another value, as in
RULER's multi-key needles. Only the key in the question tells which needle is requested.

RULER evaluates instruction-tuned models, uses essays as running text, and puts needles between sentences. Here models
are trained on the task: there are no instructions, running text is any text, and a needle may stand at any byte. As in
RULER, an answer is correct only if the whole value is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.config import COLUMN, MAX_BYTES
from nas.data.batch import BYTE, IGNORE, Batch, Part
from nas.data.corpus import Corpus, Source, byte_text, windows
from nas.data.stream import Stream, pick, training_lengths
from nas.errors import UserError

NOISE = b"The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
NEEDLE = b"One of the special magic %ss for %s is: %s."
QUESTION = b"\nThe special magic %s for %s is: "


class Form(NamedTuple):
    """One form of the task.

    Attributes:
        running: whether the haystack is running text.
        kind: name of a value in the text.
        alphabet: the characters of a value.
        value_length: default number of characters.
    """

    running: bool
    kind: bytes
    alphabet: bytes
    value_length: int


FORMS = {
    "noise": Form(False, b"number", b"0123456789", 7),
    "text": Form(True, b"number", b"0123456789", 7),
    "digits": Form(True, b"uuid", b"0123456789abcdef", 32),
}

ADJECTIVES = (
    b"bold brave brief bright broad calm clean clear crisp dark deep dense dry early faint fair fast fine firm flat "
    b"fresh full grand green happy hollow huge kind large late lean light lucky mild narrow neat new odd old open pale "
    b"plain proud pure quick quiet rapid rare raw rich rough round safe sharp short shy simple slim slow small smart "
    b"soft solid steep strict strong sweet swift tall tame thick thin tidy tiny vast vivid warm weak wide wild wise"
).split()
NOUNS = (
    b"anchor apple arrow badge barn basin beach bell bench bird boat book bottle bowl branch bread brick bridge brush "
    b"bucket button cabin candle canyon castle chain chair cliff clock cloud coat coin copper corner crane creek crown "
    b"desert door dragon drum engine falcon farm feather fence field flag flute forest garden gate globe glove guitar "
    b"hammer harbor hill honey island ladder lake lamp leaf lemon lion maple meadow mirror moon needle ocean piano"
).split()

KEYS = len(ADJECTIVES) * len(NOUNS)
"""Number of different keys: an adjective and a noun."""


class Needle(Stream):
    """An endless, seeded stream of haystacks with a needle; implements `nas.data.batch.Task`.

    Args:
        form: "noise", "text" or "digits".
        path: the running text, a file or folder; None is the standard library. Its validation bytes
            (`nas.data.corpus.Corpus`) are the haystacks for validation and selection.
        length: bytes in a sequence at full difficulty, question and value included. Training also draws its halvings
            down to min_length.
        min_length: shortest training sequence; None for the smallest multiple of 64 that fits needle and question.
            Without such short batches long values take much longer to learn.
        value_length: characters of the value; None for RULER's number of characters.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches, all at full length.
        seed: seed of all random draws.
        column: column of JSON Lines and Parquet files that has the running text.
        max_bytes: largest allowed size of the running text in bytes; all of it is held in memory.
        distractors: needles with other keys and values; shorter training sequences have as many as fit.
    """

    name: str = "needle"
    vocab_size: int = 256
    quality: str = "exact_match"
    token: str = BYTE

    def __init__(
        self,
        *,
        form: str,
        path: str | None,
        length: int,
        min_length: int | None,
        value_length: int | None,
        batch_size: int,
        validation_batches: int,
        seed: int,
        column: str = COLUMN,
        max_bytes: int = MAX_BYTES,
        distractors: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation_batches=validation_batches, seed=seed)
        if form not in FORMS:
            raise UserError(f"data.form={form} is unknown; choose one of: {', '.join(FORMS)}.")
        self._form = FORMS[form]
        self._value_length = self._form.value_length if value_length is None else value_length
        what = f"a needle and its question with values of {self._value_length} characters"
        self._lengths = training_lengths(
            length, min_length, sum(self._largest()), what, ", or a smaller data.value_length"
        )
        self._distractors = distractors
        self._check_distractors(length)
        self._corpus = None
        if self._form.running:
            self._corpus = Corpus(path, column, max_bytes)
        elif path is not None:
            raise UserError(f"data.path={path} has no effect with data.form={form}; choose form=text or form=digits.")
        for held_out in (False, True):
            self._haystacks(length, "all", held_out)  # a too short text fails here

    @property
    def corpus(self) -> Corpus | None:
        """Return the text; None if there is no running text."""
        return self._corpus

    @property
    def source(self) -> Source | None:
        """Return the files that the running text was read from; None if there is no running text."""
        return self._corpus.source if self._corpus else None

    def token_text(self, token: int) -> str:
        """Return the text of a byte, see `nas.data.corpus.byte_text`."""
        return byte_text(token)

    def chance(self) -> float:
        """Return the exact match of a guess among all values."""
        first = 9 / 10 if self._form.kind == b"number" else 1.0  # a number does not begin with 0
        return 1 / (first * len(self._form.alphabet) ** self._value_length)

    def _check_distractors(self, length: int) -> None:
        """Raise UserError if the longest sequences have no room for all distractors, or there are too few keys."""
        room = min(self._room(length), KEYS - 1)
        if self._distractors > room:
            raise UserError(
                f"data.distractors={self._distractors} do not fit: data.length={length} has room for {room} needles "
                f"beside the requested one; give at most {room}, or a larger data.length."
            )

    def _room(self, length: int) -> int:
        """Return the number of distractors for which a sequence has room."""
        needle, question = self._largest()
        return (length - needle - question) // needle

    def _largest(self) -> tuple[int, int]:
        """Return the largest number of bytes of a needle, and of a question with its value."""
        longest = max(ADJECTIVES, key=len) + b"-" + max(NOUNS, key=len)
        needle, question = self._parts(longest, self._form.alphabet[:1] * self._value_length)
        return len(needle), len(question)

    def _parts(self, key: bytes, value: bytes) -> tuple[bytes, bytes]:
        """Return the needle, on a line of its own, and the question with the value."""
        needle = NEEDLE % (self._form.kind, key, value)
        return b"\n" + needle + b"\n", QUESTION % (self._form.kind, key) + value

    def _haystacks(self, length: int, part: Part, held_out: bool) -> Tensor | None:
        """Return the running text of haystacks; raise UserError if no sequence of ``length`` fits."""
        if self._corpus is None:
            return None
        return self._corpus.validation(length) if held_out else self._corpus.training(length, part)

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        return self._draw(pick(self._lengths, random), size, self._haystacks(self._lengths[0], part, False), random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        length = self._lengths[0] * length_factor
        return self._draw(length, size, self._haystacks(length, "all", held_out), random)

    def _draw(self, length: int, size: int, text: Tensor | None, random: torch.Generator) -> Batch:
        """Draw ``size`` sequences of ``length`` + 1 bytes, of which a model sees all but the last."""
        if text is None:
            haystacks = [(NOISE * (length // len(NOISE) + 1))[: length + 1]] * size
        else:
            starts = torch.randint(len(text) - length, (size,), generator=random)
            haystacks = [row.tobytes() for row in windows(text, starts, length).numpy()]
        distractors = min(self._distractors, self._room(length))
        keys, values = _keys(size, distractors, random), self._values(size, distractors, random)
        depths = torch.rand(size, 1 + distractors, generator=random).tolist()
        sequences = bytearray()
        planted = torch.zeros(size, length, dtype=torch.bool)
        for row, haystack in enumerate(haystacks):
            parts = [self._parts(key, value) for key, value in zip(keys[row], values[row], strict=True)]
            needles, question = [needle for needle, _ in parts], parts[0][1]
            room = length + 1 - sum(map(len, needles)) - len(question)
            places = [int(depth * (room + 1)) for depth in depths[row]]
            hidden, start = _hide(haystack[:room], needles, places)
            sequences += hidden + question
            planted[row, start + 1 : start + len(needles[0]) - 1] = True
        given = torch.from_numpy(np.frombuffer(sequences, dtype=np.uint8)).view(size, length + 1).long()
        targets = torch.full((size, length), IGNORE)
        targets[:, -self._value_length :] = given[:, -self._value_length :]
        return Batch(given[:, :-1].contiguous(), targets, planted)

    def _values(self, size: int, distractors: int, random: torch.Generator) -> list[list[bytes]]:
        """Draw the value of each needle of each sequence: the requested one, then others that differ from it."""
        requested = self._digits(size, random)
        others = self._digits(size * distractors, random).view(size, distractors, self._value_length)
        while (same := (others == requested[:, None]).all(-1)).any():
            others[same] = self._digits(int(same.sum()), random)
        alphabet = self._form.alphabet
        each = torch.cat([requested[:, None], others], dim=1).tolist()
        return [[bytes(alphabet[digit] for digit in value) for value in row] for row in each]

    def _digits(self, count: int, random: torch.Generator) -> Tensor:
        """Draw the digits [count, value_length] of values; a number does not begin with 0."""
        alphabet = self._form.alphabet
        digits = torch.randint(len(alphabet), (count, self._value_length), generator=random)
        if self._form.kind == b"number":
            digits[:, 0] = torch.randint(1, len(alphabet), (count,), generator=random)
        return digits


def _keys(size: int, distractors: int, random: torch.Generator) -> list[list[bytes]]:
    """Draw the keys of each sequence, no two alike: that of the requested needle, then those of the distractors."""
    adjective, noun = (torch.randint(len(kind), (size, 1), generator=random) for kind in (ADJECTIVES, NOUNS))
    key = adjective * len(NOUNS) + noun
    if distractors:
        steps = 1 + torch.rand(size, KEYS - 1, generator=random).topk(distractors).indices
        key = torch.cat([key, (key + steps) % KEYS], dim=1)
    return [[ADJECTIVES[one // len(NOUNS)] + b"-" + NOUNS[one % len(NOUNS)] for one in row] for row in key.tolist()]


def _hide(haystack: bytes, needles: Sequence[bytes], places: Sequence[int]) -> tuple[bytes, int]:
    """Return a haystack with each needle at its place, and the position at which the first needle starts."""
    hidden, before, start = b"", 0, 0
    for place, index in sorted(zip(places, range(len(needles)), strict=True)):
        hidden += haystack[before:place]
        if index == 0:
            start = len(hidden)
        hidden += needles[index]
        before = place
    return hidden + haystack[before:], start
