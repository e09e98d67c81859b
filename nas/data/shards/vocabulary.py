"""The vocabulary of a tokenizer that encodes bytes without loss.

Tokens are bytes themselves, byte-level BPE as of GPT-2 or Llama 3, or BPE with byte fallback as of Gemma: there a
character without a token becomes the tokens of its UTF-8 bytes, and ``▁`` stands for a space.
"""

import re
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from nas.data.batch import BYTE, Task, token_of
from nas.data.corpus import byte_text
from nas.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTES = "bytes"
"""Name of the vocabulary whose tokens are bytes."""

END = "<|endoftext|>"
"""Name of the end token of the vocabularies that this project makes."""

ENDS = (END, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "<|end▁of▁sentence|>")
"""Names under which the end token of a tokenizer is looked for."""

FALLBACK = re.compile("<0x([0-9A-F]{2})>")
"""Matches the name of the token of a byte, in BPE with byte fallback."""
SPACE = "▁"
"""Character that stands for a space in the names of such tokens. In a text it comes back as a space."""

INVALID = re.compile("([\udc80-\udcff]+)")
"""Matches bytes that are not UTF-8, in a text that was decoded with the error handler surrogateescape."""

PROBE = "".join(map(chr, range(1, 127))) + " a  b\n\n\tc \r\n d'll 12345 ÀÉñü 三十 ☃ 😀 "
"""Text that a tokenizer must encode without loss; all its characters are in the normal form NFC."""


class Vocabulary:
    """The tokens of a tokenizer as bytes, and the encoding of text.

    Args:
        pieces: bytes of each token; empty for special tokens.
        names: name of each special token, by its id.
        end: id of the end token, which follows every document.
        tokenizer: the tokenizer; None if tokens are bytes.

    Attributes:
        end: id of the end token.
        begin: id of the token with which sequences begin, such as <bos>; None if they begin with a text.
        size: number of tokens.
    """

    def __init__(
        self, pieces: Sequence[bytes], names: dict[int, str], end: int, tokenizer: "Tokenizer | None" = None
    ) -> None:
        self._pieces, self._names, self._tokenizer = pieces, names, tokenizer
        self.end = end
        self.begin = None if tokenizer is None else _begin_of(tokenizer)
        self.size = len(pieces)

    @classmethod
    def of_bytes(cls) -> Self:
        """Return the vocabulary of bytes: ids 0 to 255 are bytes, 256 is the end token."""
        return cls([*(bytes([byte]) for byte in range(256)), b""], {256: END}, end=256)

    @classmethod
    def read(cls, path: Path, end: str | int | None = None, option: str = "tokenizer.end=NAME") -> Self:
        """Return the vocabulary of a tokenizer.json.

        Args:
            path: the file; it is read as JSON, and nothing in it is executed.
            end: name or id of the end token; None for the first of `ENDS` that is a special token, or
                else a token.
            option: option of the end token, for messages.

        Raises:
            UserError: the file is no tokenizer, is not lossless, or has no such end token.
        """
        tokenizer = _read(path)
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        added: dict[int, Any] = tokenizer.get_added_tokens_decoder()
        pieces = [b""] * (max(vocabulary.values(), default=-1) + 1)
        falls_back, alphabet = bool(getattr(tokenizer.model, "byte_fallback", False)), byte_alphabet()
        for name, token in vocabulary.items():
            pieces[token] = _bytes_with_fallback(name) if falls_back else _bytes_of(name, alphabet)
        for token, extra in added.items():
            if extra.special or not falls_back:
                pieces[token] = b"" if extra.special else extra.content.encode()
        special = {token: str(extra.content) for token, extra in added.items() if extra.special}
        made = cls(pieces, special, _end_of(path, vocabulary, special, end, option), tokenizer)
        made._check(path)
        return made

    def encode(self, text: bytes) -> list[int]:
        """Return the tokens of UTF-8 text, without an end token.

        Each byte that is not UTF-8 becomes the token of that byte. Names of special tokens in the text are encoded
        like other text.
        """
        if self._tokenizer is None:
            return list(text)
        tokens: list[int] = []
        for run in INVALID.split(text.decode("utf-8", "surrogateescape")):
            if run and "\udc80" <= run[0] <= "\udcff":
                tokens += [self._token_of_byte[byte] for byte in run.encode("utf-8", "surrogateescape")]
            elif run:
                tokens += self._tokenizer.encode_batch_fast([run], add_special_tokens=False)[0].ids
        return tokens

    def begun(self, tokens: Sequence[int]) -> list[int]:
        """Return the tokens of a sequence that begins with these: behind the begin token if there is one."""
        return [*tokens] if self.begin is None else [self.begin, *tokens]

    def without_begin(self) -> Self:
        """Return the same vocabulary, of sequences that begin with a text."""
        made = copy(self)
        made.begin = None
        return made

    def encode_array(self, text: bytes) -> NDArray[np.int64]:
        """Return the tokens of UTF-8 text as an array; see `encode`."""
        if self._tokenizer is None:
            return np.frombuffer(text, dtype=np.uint8).astype(np.int64)
        return np.array(self.encode(text), dtype=np.int64)

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of tokens; special tokens have none."""
        return b"".join(self._pieces[token] for token in tokens)

    def texts(self, tokens: Sequence[int]) -> list[str]:
        r"""Return the text of each token, for pages: white space is visible.

        A character that is spread over several tokens stands on the first of them. Bytes that are not UTF-8 are shown
        like `nas.data.corpus.byte_text`, special tokens by their names.

        >>> Vocabulary.of_bytes().texts([*"für\n三".encode(), 0xFF, 256])
        ['f', 'ü', '', 'r', '↵', '三', '', '', '\\xff', '<|endoftext|>']
        """
        texts: list[str] = []
        for special, run in groupby(tokens, key=self._names.__contains__):
            own = list(run)
            texts += [self._names[token] for token in own] if special else self._texts(own)
        return texts

    @property
    def json(self) -> str | None:
        """The text of the tokenizer.json; None if tokens are bytes."""
        return None if self._tokenizer is None else self._tokenizer.to_str()

    @property
    def end_name(self) -> str:
        """The name of the end token."""
        return self._names.get(self.end) or self.decode([self.end]).decode("utf-8", "replace")

    @cached_property
    def byte_lengths(self) -> NDArray[np.int64]:
        """Return the number of bytes of each token, int64 [size]; 0 for special tokens."""
        return np.array([len(piece) for piece in self._pieces], dtype=np.int64)

    def _texts(self, tokens: list[int]) -> list[str]:
        """Return the texts of tokens none of which is special."""
        owners = np.repeat(np.arange(len(tokens)), self.byte_lengths[tokens])
        texts, at = [""] * len(tokens), 0
        for character in self.decode(tokens).decode("utf-8", "surrogateescape"):
            invalid = "\udc80" <= character <= "\udcff"
            single = invalid or character.isascii()
            texts[owners[at]] += byte_text(ord(character) & 0xFF) if single else character
            at += 1 if invalid else len(character.encode())
        return texts

    @cached_property
    def _token_of_byte(self) -> list[int]:
        """Return the token of each byte; raise ValueError if a byte has none."""
        found = {piece: token for token, piece in enumerate(self._pieces) if len(piece) == 1}
        return [found[bytes([byte])] for byte in range(256)]

    def _check(self, path: Path) -> None:
        """Raise UserError if the tokenizer loses bytes."""
        every = {piece for piece in self._pieces if len(piece) == 1}
        back = self.decode(self.encode(PROBE.encode()))
        if len(every) < 256 or back != PROBE.encode():
            found = f"only {len(every)} of 256 bytes are tokens" if len(every) < 256 else "a text is decoded to another"
            raise UserError(
                f"{path} is a tokenizer that does not encode bytes without loss: {found}; give byte-level BPE, as of "
                "GPT-2 or Llama 3, or BPE with byte fallback, as of Gemma, or train one."
            )


def vocabulary_of(task: Task) -> Vocabulary | None:
    """Return the vocabulary of a task; None if its tokens are no text, or of an unknown tokenizer."""
    if token_of(task) == BYTE:
        return Vocabulary.of_bytes()
    found: Vocabulary | None = getattr(task, "vocabulary", None)
    return found


def token_texts(task: Task, tokens: Sequence[int]) -> list[str]:
    """Return the texts of consecutive tokens of a task, for pages; see `Vocabulary.texts`.

    Ids beyond the vocabulary, which a model may have, are shown as its end token.
    """
    vocabulary = vocabulary_of(task)
    if vocabulary is None:
        return [task.token_text(token) for token in tokens]
    return vocabulary.texts([token if token < vocabulary.size else vocabulary.end for token in tokens])


def _read(path: Path) -> "Tokenizer":
    """Return the tokenizer of a file, set to encode all of a text, and names of special tokens as text."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises no other class
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is no tokenizer that the package tokenizers reads ({reason}); give a tokenizer.json."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def byte_alphabet() -> dict[str, int]:
    """Return the byte that each character of byte-level BPE stands for: printable ones themselves, others from Ā on."""
    from tokenizers.pre_tokenizers import ByteLevel

    characters = sorted(ByteLevel.alphabet())
    same = {character: ord(character) for character in characters if ord(character) < 256}
    others = (byte for byte in range(256) if byte not in same.values())
    return same | dict(zip((one for one in characters if one not in same), others, strict=True))


def _bytes_of(name: str, alphabet: dict[str, int]) -> bytes:
    """Return the bytes of a token of byte-level BPE; a name that has other characters is the text itself."""
    values = [alphabet.get(character) for character in name]
    return bytes(value for value in values if value is not None) if None not in values else name.encode()


def _bytes_with_fallback(name: str) -> bytes:
    """Return the bytes of a token of BPE with byte fallback."""
    byte = FALLBACK.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.replace(SPACE, " ").encode()


def _begin_of(tokenizer: "Tokenizer") -> int | None:
    """Return the token that a tokenizer puts before a text, as most of those with a <bos> do; None if it puts none."""
    plain, whole = (tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True))
    return whole[0] if plain and whole[1 : 1 + len(plain)] == plain else None


def _end_of(path: Path, vocabulary: dict[str, int], special: dict[int, str], end: str | int | None, option: str) -> int:
    """Return the id of the end token. Of the usual names that of a special token comes first: Gemma has a tag </s>."""
    if isinstance(end, int):
        if end not in vocabulary.values():
            raise UserError(f"{path} has no token {end}, which is to end documents; give the tokenizer of the tokens.")
        return end
    names = [name for name in (ENDS if end is None else (end,)) if name in vocabulary]
    names.sort(key=lambda name: vocabulary[name] not in special)
    if not names:
        wanted = f"no token {end}" if end is not None else f"none of the tokens {', '.join(ENDS)}"
        raise UserError(f"{path} has {wanted}, which is to end documents; give {option} of a token.")
    return vocabulary[names[0]]
