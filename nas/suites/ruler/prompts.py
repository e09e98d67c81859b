"""Prompts of RULER: what a task draws, words and values, and contexts of a given number of tokens."""

import math
import uuid
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, Protocol

from nas.data.needle import ADJECTIVES, NOUNS
from nas.data.seeding import stable_seed

PROBES = 8
"""Units by which the tokens of a unit are estimated at first."""
TRIES = 8
"""Largest number of contexts that are tried for a prompt."""
SLACK = 0.02
"""Share of the tokens of a prompt that may stay unused."""

FIRST, SECOND = ([word.decode() for word in kind] for kind in (ADJECTIVES, NOUNS))
"""The parts of words."""

Encode = Callable[[str], list[int]]
"""Returns the tokens of a text."""
Key = tuple[int | str, ...]
"""Key of random draws, see `nas.data.seeding`."""


class Prompt(NamedTuple):
    """A prompt.

    Attributes:
        text: context, question and the beginning of the answer.
        answers: texts that the output should have.
        expected: a right output.
    """

    text: str
    answers: Sequence[str]
    expected: str


class Problem(Protocol):
    """One of RULER's tasks; ``least`` is the smallest number of units, such as sentences, in a context."""

    least: int

    def draw(self, units: int, random: Random) -> Prompt:
        """Draw a prompt whose context has this number of units."""
        ...


class Fitted(NamedTuple):
    """A prompt that fits.

    Attributes:
        prompt: the prompt.
        tokens: its tokens.
        units: number of units of its context.
        step: tokens of a unit, about.
    """

    prompt: Prompt
    tokens: list[int]
    units: int
    step: float


def fitted(problem: Problem, budget: int, encode: Encode, key: Key, like: Fitted | None = None) -> Fitted | None:
    """Return a prompt of nearly ``budget`` tokens and at most so many; None if the shortest one is longer.

    Args:
        problem: the task.
        budget: largest number of tokens.
        encode: see `Encode`.
        key: key of the prompt.
        like: another prompt of this task and length, from which the search begins; long prompts take long to encode.
    """

    def tokens_of(units: int) -> list[int]:
        return encode(drawn(problem, units, key).text)

    units = least = problem.least
    if like is None:
        step = max((len(tokens_of(least + PROBES)) - len(tokens_of(least))) / PROBES, 1e-3)
    else:
        units, step = like.units, like.step
    best, high = None, math.inf
    for _ in range(TRIES):
        tokens = tokens_of(units)
        room = budget - len(tokens)
        if room >= 0:
            best = Fitted(drawn(problem, units, key), tokens, units, step)
            if room < SLACK * budget:
                break
        elif units == least:
            return None
        else:
            high = units
        following = max(least, int(min(units + math.floor(room / step), high - 1)))
        if following == units or (best is not None and following <= best.units):
            break
        units = following
    return best


def drawn(problem: Problem, units: int, key: Key) -> Prompt:
    """Return the prompt of a key with this number of units."""
    return problem.draw(units, Random(stable_seed(*key)))


def words(count: int, random: Random) -> list[str]:
    """Draw different words: single ones, or pairs or triples joined by hyphens where there are not enough."""
    single = [*FIRST, *SECOND]
    return random.sample(single, count) if count <= len(single) else compounds(count, random)


def compounds(count: int, random: Random) -> list[str]:
    """Draw different pairs of words joined by hyphens, or triples where there are not enough pairs."""
    kinds = (FIRST, SECOND) if count <= len(FIRST) * len(SECOND) else (FIRST, FIRST, SECOND)
    made = []
    for index in random.sample(range(math.prod(map(len, kinds))), count):
        parts = []
        for kind in kinds:
            index, place = divmod(index, len(kind))
            parts.append(kind[place])
        made.append("-".join(parts))
    return made


def number(digits: int, random: Random) -> str:
    """Draw a number without leading zeros."""
    return str(random.randrange(10 ** (digits - 1), 10**digits))


def identifier(random: Random) -> str:
    """Draw a UUID of version 4."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def insert(sentences: Sequence[str], among: Sequence[str], random: Random) -> list[str]:
    """Return sentences in their order at random places among others."""
    made: list[str] = []
    before = 0
    for place, sentence in zip(sorted(random.choices(range(len(among) + 1), k=len(sentences))), sentences, strict=True):
        made += [*among[before:place], sentence]
        before = place
    return [*made, *among[before:]]


def listed(items: Sequence[str]) -> str:
    """Return items as text.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b, and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])}, and {items[-1]}"
