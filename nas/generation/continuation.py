"""The text of one continuation as its tokens come: whole characters only, and nothing of the text that ends it."""

import codecs
from typing import Protocol

from nas.data.shards.vocabulary import Vocabulary


class Continuation(Protocol):
    """One continuation.

    Attributes:
        finished: whether it has ended, so that further tokens are not part of it.
    """

    finished: bool

    def add(self, token: int) -> str:
        """Append a token; return the text that is certain now."""
        ...

    def close(self) -> str:
        """Return the text that was held back, at the end."""
        ...


class TextContinuation:
    """A continuation whose tokens are pieces of text.

    Bytes of a character are held back until it is whole. A text that may become the stop text is held back until it
    does, or does not. Bytes that are not UTF-8 become U+FFFD.

    Args:
        vocabulary: vocabulary of the tokens; its end token ends the continuation. Ids that it lacks are no text.
        stop: text that ends the continuation and is not part of it; None for none.

    >>> one = TextContinuation(Vocabulary.of_bytes(), stop="--")
    >>> [one.add(byte) for byte in "a-é--".encode()], one.finished
    (['a', '', '', '-é', '', ''], True)
    """

    def __init__(self, vocabulary: Vocabulary, stop: str | None = None) -> None:
        self.finished = False
        self._vocabulary, self._stop = vocabulary, stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def add(self, token: int) -> str:
        """See `Continuation`."""
        if token == self._vocabulary.end:
            self.finished = True
            return ""
        known = token < self._vocabulary.size
        self._held += self._decoder.decode(self._vocabulary.decode([token]) if known else b"")
        if self._stop is None:
            return self._release(len(self._held))
        at = self._held.find(self._stop)
        if at < 0:
            return self._release(len(self._held) - self._begun(self._stop))
        self.finished = True
        text = self._release(at)
        self._held = ""
        self._decoder.reset()
        return text

    def close(self) -> str:
        """See `Continuation`."""
        self._held += self._decoder.decode(b"", final=True)
        return self._release(len(self._held))

    def _release(self, length: int) -> str:
        """Return the first characters of the held text, and hold the others only."""
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _begun(self, stop: str) -> int:
        """Return the length of the longest end of the held text with which the stop text begins."""
        most = min(len(stop) - 1, len(self._held))
        return next((length for length in range(most, 0, -1) if self._held.endswith(stop[:length])), 0)


class IdContinuation:
    """A continuation of tokens that are no text: their ids, with spaces between them.

    Args:
        stop: id that ends the continuation and is not part of it; None for none.
    """

    def __init__(self, stop: int | None = None) -> None:
        self.finished = False
        self._stop = stop
        self._between = ""

    def add(self, token: int) -> str:
        """See `Continuation`."""
        if token == self._stop:
            self.finished = True
            return ""
        text, self._between = f"{self._between}{token}", " "
        return text

    def close(self) -> str:
        """See `Continuation`."""
        return ""
