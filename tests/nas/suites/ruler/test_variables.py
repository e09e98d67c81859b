"""Variable tracking: a chain of five variables."""

import re
from random import Random

from nas.suites.ruler.needles import REPEATED
from nas.suites.ruler.variables import Variables


def test_all_variables_of_the_chain_have_the_value() -> None:
    prompt = Variables().draw(6, Random(0))
    statements = re.findall(r"^VAR (\w+) = (?:VAR )?(\w+)$", prompt.text, re.M)
    value = re.search(r"the value (\d{5}) in the text", prompt.text)
    assert value is not None
    held = {value[1]}
    for name, given in statements:  # in the order of the context
        assert given in held
        held.add(name)
    assert [name for name, _ in statements] == prompt.answers
    assert len(held) == 6
    assert prompt.text.count(REPEATED) == 6
