"""Prompts of a given length, and what is drawn for them."""

import re
from random import Random

import pytest

from nas.suites.ruler.needles import Needles, repeated
from nas.suites.ruler.prompts import SLACK, compounds, fitted, identifier, insert, listed, number, words


@pytest.mark.parametrize("budget", [500, 900, 4000])
def test_a_prompt_is_nearly_as_long_as_fits(budget: int) -> None:
    problem = Needles(repeated)
    calls: list[int] = []

    def encode(text: str) -> list[int]:
        calls.append(len(text))
        return list(text.encode())

    found = fitted(problem, budget, encode, (0, "a"))
    assert found is not None
    assert budget - max(95, SLACK * budget) < len(found.tokens) <= budget  # a line has 90 bytes
    assert found == fitted(problem, budget, encode, (0, "a"))
    calls.clear()
    for key in range(9):
        other = fitted(problem, budget, encode, (key, "b"), like=found)
        assert other is not None
        assert budget - max(100, SLACK * budget) < len(other.tokens) <= budget
    assert len(calls) <= 2 * 9
    shorter = fitted(problem, 500, encode, (1, "b"), like=found)
    assert shorter is not None
    assert 400 < len(shorter.tokens) <= 500
    assert fitted(problem, 300, encode, (0, "a")) is None
    assert fitted(problem, 300, encode, (0, "a"), like=found) is None


def test_words_differ_however_many_are_drawn() -> None:
    for draw, count, hyphens in ((words, 100, 0), (words, 1000, 1), (compounds, 100, 1), (compounds, 9000, 2)):
        drawn = draw(count, Random(0))
        assert len({*drawn}) == count
        assert {word.count("-") for word in drawn} == {hyphens}


def test_values_have_their_form() -> None:
    assert re.fullmatch(r"[1-9]\d{6}", number(7, Random(0)))
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", identifier(Random(0)))
    assert listed(["a", "b"]) == "a, and b"


def test_sentences_are_inserted_in_order() -> None:
    drawn = [insert(["X", "Y"], ["a", "b", "c"], Random(seed)) for seed in range(30)]
    assert all([one for one in made if one in "XY"] == ["X", "Y"] for made in drawn)
    assert all([one for one in made if one in "abc"] == ["a", "b", "c"] for made in drawn)
    assert {tuple(made) for made in drawn} >= {("X", "Y", "a", "b", "c")} or len({tuple(made) for made in drawn}) > 5
