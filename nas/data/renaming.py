"""Source code with a random name for each identifier, so that only the context tells where a name occurs again.

A new name is as long as the old one. Its first three letters tell it from everything else in the text: the letters
after them can be predicted where the name occurs again. Names of five or more characters outside strings and comments
are renamed, except the keywords of the language. The rest of the code is as it was, so that names recur at the
distances of real code.
"""

import keyword
import re
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.errors import UserError

PREFIX = 3
"""Letters of a name that are not scored; no other name begins with them."""

LETTERS = 26
"""Number of letters, a to z, from which names are drawn."""

NAME = re.compile(rb"(?<![\w\x80-\xff])[A-Za-z_]\w{%d,}(?![\w\x80-\xff])" % (PREFIX + 1))
"""Matches a name that is long enough."""

TRIES = 1000
"""Largest number of windows that are drawn until one has enough bytes to score, and of names until one is free."""


class Language(NamedTuple):
    """A programming language.

    Attributes:
        endings: endings of its files.
        no_code: matches a comment, a string, or what else has no names to change.
        keywords: names that are never changed.
    """

    endings: tuple[str, ...]
    no_code: re.Pattern[bytes]
    keywords: frozenset[bytes]


PYTHON = Language(
    (".py", ".pyi"),
    re.compile(
        rb"#[^\n]*"
        rb'|"""(?:[^"\\]|\\.|"(?!""))*+"""'
        rb"|'''(?:[^'\\]|\\.|'(?!''))*+'''"
        rb'|"(?:[^"\\\n]|\\.)*+"'
        rb"|'(?:[^'\\\n]|\\.)*+'",
        re.DOTALL,
    ),
    frozenset(map(str.encode, keyword.kwlist)),
)

C = Language(
    (".c", ".h"),
    re.compile(
        rb"//(?:[^\\\n]|\\.)*+"
        rb"|/\*.*?\*/"
        rb"|\#[ \t]*(?:include|error|warning|pragma)[^\n]*"
        rb'|"(?:[^"\\\n]|\\.)*+"'
        rb"|'(?:[^'\\\n]|\\.)*+'",
        re.DOTALL,
    ),
    frozenset(
        b"alignas alignof break const constexpr continue default define defined double endif extern false float ifdef "
        b"ifndef inline nullptr register restrict return short signed sizeof static static_assert struct switch "
        b"thread_local typedef typeof typeof_unqual undef union unsigned volatile while".split()
    ),
)


class Occurrence(NamedTuple):
    """A later occurrence of a name: its range in the text, and the start of the occurrence before it, in bytes."""

    start: int
    end: int
    before: int


class Piece(NamedTuple):
    """A piece of code with new names.

    Attributes:
        code: its bytes.
        scored: positions of bytes that the context determines.
        first: the position and the length of the first occurrence of the name that each of these bytes is in.
        later: occurrences of names after their first ones.
    """

    code: bytes
    scored: list[int]
    first: list[tuple[int, int]]
    later: list[Occurrence]


def code_of(text: Tensor, language: Language = PYTHON) -> Tensor:
    """Return uint8 [n], 1 for each byte of a text that is in no comment and no string."""
    code = np.ones(len(text), dtype=np.uint8)
    for match in language.no_code.finditer(text.numpy().data):
        code[match.start() : match.end()] = 0
    return torch.from_numpy(code)


def renamed(text: bytes, code: bytes, random: torch.Generator, keywords: frozenset[bytes] = PYTHON.keywords) -> Piece:
    """Return a text with a random name for each identifier; what its ends may cut keeps its name.

    Args:
        text: bytes of source code.
        code: 1 for each byte that may be renamed.
        random: generator of the names.
        keywords: names that are not changed.

    Raises:
        UserError: there are more identifiers than beginnings of names.
    """
    letters = names(len(text), random)
    changed = bytearray(text)
    scored: list[int] = []
    first: list[tuple[int, int]] = []
    known: dict[bytes, tuple[bytes, int]] = {}
    latest: dict[bytes, int] = {}
    later: list[Occurrence] = []
    taken: set[bytes] = set()
    for match in NAME.finditer(text, 1, len(text)):
        start, end, old = match.start(), match.end(), match[0]
        if not code[start] or end == len(text) or old in keywords:
            continue
        if old in known:
            new, place = known[old]
            scored += range(start + PREFIX, end)
            first += [(place, len(old))] * (len(old) - PREFIX)
            later.append(Occurrence(start, end, latest[old]))
        else:
            new, tries = letters[start:end], 0
            while new[:PREFIX] in taken or new[:PREFIX] in text:
                new, tries = names(len(old), random), tries + 1
                if tries == TRIES:
                    raise _too_long(len(text))
            known[old] = new, start
            taken.add(new[:PREFIX])
        latest[old] = start
        changed[start:end] = new
    return Piece(bytes(changed), scored, first, later)


def _too_long(length: int) -> UserError:
    return UserError(
        f"a sequence of {length} bytes has more identifiers than there are beginnings of {PREFIX} letters; give less "
        "for data.length, data.length_factors or suites.lengths."
    )


def names(count: int, random: torch.Generator) -> bytes:
    """Draw letters from a to z."""
    drawn = torch.randint(ord("a"), ord("a") + LETTERS, (count,), generator=random, dtype=torch.uint8)
    return drawn.numpy().tobytes()
