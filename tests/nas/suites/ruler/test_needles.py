"""Needles: the requested values are in the context, once, and the question names their keys."""

import re
from random import Random

import pytest

from nas.suites.ruler.needles import REPEATED, Lines, Needles, repeated

NEEDLE = re.compile(r"One of the special magic (?:number|uuid)s for (\S+) is: (\S+)\.")
LINES = Lines(["one line", "another line", "a third line"])


@pytest.mark.parametrize(
    ("problem", "needles", "answers"),
    [
        (Needles(repeated), 1, 1),
        (Needles(LINES, keys=4), 4, 1),
        (Needles(None), 21, 1),
        (Needles(None, with_identifiers=True), 21, 1),
        (Needles(LINES, values=4), 4, 4),
        (Needles(LINES, keys=4, queries=4), 4, 4),
    ],
)
def test_the_context_states_each_answer(problem: Needles, needles: int, answers: int) -> None:
    prompt = problem.draw(20, Random(1))
    context, _, question = prompt.text.partition("\nWhat ")
    stated = NEEDLE.findall(context)
    assert len(stated) == needles
    asked = [value for key, value in stated if f" {key} " in question or f" {key}, " in question]
    assert sorted(asked) == sorted(prompt.answers)
    assert len(prompt.answers) == answers
    assert all(answer in prompt.expected for answer in prompt.answers)
    assert len({value for _, value in stated}) == needles


def test_the_haystack_is_around_the_needle() -> None:
    assert Needles(repeated).draw(5, Random(0)).text.count(REPEATED) == 5
    lines = [line for line in Needles(LINES).draw(7, Random(0)).text.split("\n") if line in LINES.lines]
    assert len(lines) == 7
    place = LINES.lines.index(lines[0])
    assert lines == [LINES.lines[(place + index) % 3] for index in range(7)]
