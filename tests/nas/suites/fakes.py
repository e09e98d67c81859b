"""Documents, vocabularies and subjects of which every prediction is known."""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nas.data.shards.vocabulary import END, Vocabulary
from nas.suites.documents import Document, Documents
from nas.suites.subject import Advance, Predicted

NATS = torch.log(torch.tensor(2.0)).item()


class Pairs(Vocabulary):
    """Bytes, and pairs of small letters that do not begin at the last letter of a word."""

    def __init__(self) -> None:
        letters = range(ord("a"), ord("z") + 1)
        pieces = [*(bytes([byte]) for byte in range(256)), b"", *(bytes([a, b]) for a in letters for b in letters)]
        super().__init__(pieces, {256: END}, end=256)
        self._known = {piece: token for token, piece in enumerate(pieces) if piece}

    def encode(self, text: bytes) -> list[int]:
        return [self._known[piece] for piece in re.findall(rb"[a-z]{2}|.", text, re.DOTALL)]


def documents(*texts: bytes, vocabulary: Vocabulary | None = None, end: int | None = None, name: str = "") -> Documents:
    """Documents of these texts, as bytes without an end token by default."""
    every = [Document(name, lambda text=text: text) for text in texts]  # type: ignore[misc]
    return Documents("the test", every, vocabulary or Vocabulary.of_bytes(), end)


class Predicting:
    """Predicts a given share of the tokens: hits by a function of the sequence and the target's position."""

    def __init__(
        self, hit: Callable[[list[int], int], bool], loss: Callable[[int], float] = lambda place: NATS
    ) -> None:
        self._hit, self._loss = hit, loss

    def predict(self, sequences: Tensor, advance: Advance) -> Predicted:
        length = sequences.shape[1] - 1
        hits = [[self._hit(row, place) for place in range(1, length + 1)] for row in sequences.tolist()]
        losses = torch.tensor([self._loss(place) for place in range(length)]).expand(len(sequences), -1)
        advance(len(sequences))
        return Predicted(losses, torch.tensor(hits))

    def answer(self, prompts: Sequence[Tensor], count: int, advance: Advance) -> Tensor:
        raise NotImplementedError


def copies(sequence: list[int], place: int) -> bool:
    """Whether the right token followed the longest run of at least two tokens that stood earlier and stands before."""
    known = [earlier for earlier in range(2, place) if _same_before(sequence, earlier, place) >= 2]
    best = max(known, key=lambda earlier: (_same_before(sequence, earlier, place), earlier), default=None)
    return best is not None and sequence[best] == sequence[place]


def _same_before(sequence: list[int], one: int, other: int) -> int:
    """The number of equal tokens before two places."""
    count = 0
    while count < one and sequence[one - 1 - count] == sequence[other - 1 - count]:
        count += 1
    return count


class Answering:
    """Answers prompts of bytes by a function of their text."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self._reply = reply
        self.longest = 0

    def predict(self, sequences: Tensor, advance: Advance) -> Predicted:
        raise NotImplementedError

    def answer(self, prompts: Sequence[Tensor], count: int, advance: Advance) -> Tensor:
        self.longest = max(self.longest, *(len(prompt) + count for prompt in prompts))
        advance(len(prompts))
        replies = [list(self._reply(bytes(prompt.tolist()).decode()).encode()) for prompt in prompts]
        return torch.tensor([(reply + [256] * count)[:count] for reply in replies])
