"""Needles in a haystack: sentences that state values of keys, of which some are requested."""

from dataclasses import dataclass
from random import Random
from typing import Protocol

from nas.data.needle import NOISE
from nas.suites.ruler.prompts import Prompt, compounds, identifier, insert, listed, number

NEEDLE = "One of the special magic {kind}s for {key} is: {value}."
ONE = (
    "A special magic {kind} is hidden within the following text. Make sure to memorize it. I will quiz you about the "
    "{kind} afterwards.\n{context}\nWhat is the special magic {kind} for {query} mentioned in the provided text? The "
    "special magic {kind} for {query} mentioned in the provided text is"
)
SEVERAL = (
    "Some special magic {kind}s are hidden within the following text. Make sure to memorize it. I will quiz you about "
    "the {kind}s afterwards.\n{context}\nWhat are all the special magic {kind}s for {query} mentioned in the provided "
    "text? The special magic {kind}s for {query} mentioned in the provided text are"
)
DIGITS = 7
"""Digits of a number."""
REPEATED = NOISE.decode().strip()
"""Sentences of a haystack that is no text."""


class Haystack(Protocol):
    """The lines around needles."""

    def __call__(self, count: int, random: Random, /) -> list[str]:
        """Return a number of lines."""
        ...


def repeated(count: int, random: Random, /) -> list[str]:
    """Return the same sentences again and again."""
    return [REPEATED] * count


@dataclass(frozen=True)
class Lines:
    """A haystack of running text: its lines from a random one on, from the first again after the last."""

    lines: list[str]

    def __call__(self, count: int, random: Random, /) -> list[str]:
        """Return lines; see `Haystack`."""
        start = random.randrange(len(self.lines))
        return [self.lines[(start + index) % len(self.lines)] for index in range(count)]


class Needles:
    """Repeat the values of the requested keys.

    Args:
        haystack: lines around the needles; None for further needles.
        with_identifiers: whether values are UUIDs; keys are as well where needles fill the context.
        keys: number of keys in the context, without those of needles that fill it.
        values: number of values of each key.
        queries: number of requested keys.
    """

    least = 1

    def __init__(
        self,
        haystack: Haystack | None,
        *,
        with_identifiers: bool = False,
        keys: int = 1,
        values: int = 1,
        queries: int = 1,
    ) -> None:
        self._haystack, self._with_identifiers = haystack, with_identifiers
        self._keys, self._values, self._queries = keys, values, queries
        self._kind = "uuid" if with_identifiers else "number"

    def draw(self, units: int, random: Random) -> Prompt:
        """See `nas.suites.ruler.prompts.Problem`; a unit is a line of the haystack or a further needle."""
        keys = self._draw_keys(self._keys + (units if self._haystack is None else 0), random)
        values = [[self._value(random) for _ in range(self._values)] for _ in range(self._keys)]
        needles = [self._needle(key, one) for key, own in zip(keys, values, strict=False) for one in own]
        random.shuffle(needles)
        if self._haystack is None:
            around = [self._needle(key, self._value(random)) for key in keys[self._keys :]]
        else:
            around = self._haystack(units, random)
        answers = [one for own in values[: self._queries] for one in own]
        text = (ONE if len(answers) == 1 else SEVERAL).format(
            kind=self._kind, context="\n".join(insert(needles, around, random)), query=listed(keys[: self._queries])
        )
        return Prompt(text, answers, f" {listed(answers)}.")

    def _draw_keys(self, count: int, random: Random) -> list[str]:
        if self._with_identifiers and self._haystack is None:
            return [identifier(random) for _ in range(count)]
        return compounds(count, random)

    def _value(self, random: Random) -> str:
        return identifier(random) if self._with_identifiers else number(DIGITS, random)

    def _needle(self, key: str, value: str) -> str:
        return NEEDLE.format(kind=self._kind, key=key, value=value)
