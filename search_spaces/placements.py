"""Patterns of layers by letter, such as lsll, and all placements of a pattern, such as slll..llls."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from nas.search_spaces.architecture import Layer

LETTERS = {"s": "softmax", "l": "linear", "w": "window", "t": "token_hybrid"}
"""The mixer of each letter."""
BETWEEN = ".."
"""What stands between the first and the last placement in the name of all placements."""
MOST = 64
"""Largest number of placements of a pattern."""


def spelled(name: str) -> list[str] | None:
    """Return the mixer of each layer of a pattern by letter; None if the name is no such pattern.

    >>> spelled("lsl"), spelled("linear")
    (['linear', 'softmax', 'linear'], None)
    """
    return [LETTERS[letter] for letter in name] if name and set(name) <= LETTERS.keys() else None


def pattern(layers: Sequence[Layer]) -> str:
    """Return the pattern of layers by letter, with the chunk sizes of those with a router; by name for other mixers.

    >>> pattern([Layer("linear", 64), Layer("token_hybrid", 16), Layer("softmax", 64)]), pattern([Layer("fla:kda", 64)])
    ('lts@16', 'fla:kda')
    """
    letters = {mixer: letter for letter, mixer in LETTERS.items()}
    if all(layer.mixer in letters for layer in layers):
        text = "".join(letters[layer.mixer] for layer in layers)
    else:
        text = "-".join(layer.mixer for layer in layers)
    chunks = ",".join(str(layer.chunk_size) for layer in layers if layer.routed)
    return f"{text}@{chunks}" if chunks else text


def placements(name: str) -> list[str] | None:
    """Return all placements of a pattern as patterns by letter; None if the name is not that of placements.

    The name consists of the first and the last placement. The first has equal letters side by side, and the last is the
    first in reverse: slll..llls are the four placements of one softmax layer among four.

    Raises:
        ValueError: the two ends are no patterns or not these ends, or there are more than `MOST` placements.

    >>> placements("ssl..lss"), placements("ssl")
    (['ssl', 'sls', 'lss'], None)
    """
    if BETWEEN not in name:
        return None
    first, last = name.split(BETWEEN, 1)
    if spelled(first) is None or spelled(last) is None or Counter(first) != Counter(last):
        raise ValueError(
            f"the ends of {name} are not two patterns of the same layers; give letters of: {_letters()}, for example "
            "slll..llls."
        )
    grouped = "".join(letter * count for letter, count in Counter(first).items())
    if (first, last) != (grouped, grouped[::-1]):
        raise ValueError(f"{name} does not begin at the first placement; give {grouped}{BETWEEN}{grouped[::-1]}.")
    counts = Counter(first)
    number = math.factorial(len(first)) // math.prod(map(math.factorial, counts.values()))
    if number > MOST:
        raise ValueError(f"{name} has {number:,} placements, more than {MOST}; name single patterns, such as {last}.")
    return list(_orders(counts))


def _orders(counts: Counter[str]) -> Iterator[str]:
    """Yield all orders of letters with these counts, by the order of the letters."""
    if not counts.total():
        yield ""
    for letter in counts:
        yield from (letter + rest for rest in _orders(counts - Counter(letter)))


def _letters() -> str:
    return ", ".join(f"{letter} ({mixer})" for letter, mixer in LETTERS.items())
