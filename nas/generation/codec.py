"""Text to tokens and back, for the tasks whose tokens are pieces of text."""

from collections.abc import Sequence
from typing import Protocol

from nas.data.batch import BYTE, Task, token_of


class Encoding(Protocol):
    """How text becomes tokens. A task whose tokens are pieces of text has one as its attribute ``vocabulary``.

    Attributes:
        end: id of the token that ends a document; None if there is none.
        size: number of tokens. A model may have more ids, which are no text.
    """

    @property
    def end(self) -> int | None: ...

    @property
    def size(self) -> int: ...

    def encode(self, text: bytes) -> list[int]:
        """Return the tokens of UTF-8 text, without an end token."""
        ...

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of tokens; the bytes of each token do not depend on the tokens around it."""
        ...


class Bytes:
    """The encoding of text as its bytes."""

    end = None
    size = 256

    def encode(self, text: bytes) -> list[int]:
        """See `Encoding`."""
        return list(text)

    def decode(self, tokens: Sequence[int]) -> bytes:
        """See `Encoding`."""
        return bytes(tokens)


def encoding_of(task: Task) -> Encoding | None:
    """Return how text becomes the tokens of a task; None if its tokens are no text, or if that is not known."""
    if token_of(task) == BYTE:
        return Bytes()
    vocabulary: Encoding | None = getattr(task, "vocabulary", None)
    return vocabulary
