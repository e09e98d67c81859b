"""Variable tracking: a chain of assignments among repeated sentences; all variables with a value are requested."""

from itertools import pairwise
from random import Random
from string import ascii_uppercase

from nas.suites.ruler.needles import repeated
from nas.suites.ruler.prompts import Prompt, insert, number

TEMPLATE = (
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\nQuestion: Find "
    "all variables that are assigned the value {value} in the text above. Answer: According to the chain(s) of "
    "variable assignment in the text above, {count} variables are assigned the value {value}, they are: "
)
CHAIN = 5
"""Variables of a chain: four hops."""
LETTERS = 5
"""Letters of a variable."""
DIGITS = 5
"""Digits of a value."""


class Variables:
    """List all variables that have the value."""

    least = 1

    def draw(self, units: int, random: Random) -> Prompt:
        """See `nas.suites.ruler.prompts.Problem`; a unit is a line of repeated sentences."""
        names: list[str] = []
        while len(names) < CHAIN:
            name = "".join(random.choices(ascii_uppercase, k=LETTERS))
            names += [name] * (name not in names)
        value = number(DIGITS, random)
        chain = [f"VAR {names[0]} = {value}", *(f"VAR {later} = VAR {name}" for name, later in pairwise(names))]
        context = "\n".join(insert(chain, repeated(units, random), random))
        return Prompt(TEMPLATE.format(context=context, value=value, count=CHAIN), names, " ".join(names))
