"""The first paragraph of a run's page."""

import math

from nas.results.answer import answer, beside, findings
from tests.nas.runs.examples import metrics, row

FOUND = "Found, from the first layer to the last: linear, token_hybrid@8."
COST = ["The softmax share is 0.125 (budget 0.07).", "A sequence of 131,072 tokens needs a cache of 1.00 MiB."]


def test_it_says_the_verdict_what_was_found_and_the_cost() -> None:
    given = metrics(verdict=("The routers beat random routing by 0.31.",))
    assert answer(given, 512) == ["The routers beat random routing by 0.31.", FOUND, *COST]
    assert findings(given) == ["The routers beat random routing by 0.31.", FOUND]


def test_figures_without_a_verdict_make_the_paragraph_of_the_rest() -> None:
    assert answer(metrics(verdict=()), 512) == [FOUND, "Recall at 512 tokens is 0.500.", *COST]
    plain = metrics(verdict=(), choices=None, controls=(), learnt=row(quality=math.nan, share=math.nan))
    assert answer(plain, 512) == [COST[1]]


def test_two_runs_are_compared_in_their_lengths() -> None:
    made = beside([metrics(), metrics(learnt=row(quality=0.25))], [512, 1024])
    assert made[0] == "Recall at 512 tokens is 0.500 in A and 0.250 at 1,024 tokens in B."
    assert made[1] == "The softmax share is 0.125 in A and 0.125 in B."
    assert "cache of 1.00 MiB in A and 1.00 MiB in B" in made[2]
    assert beside([None, metrics()], [512, 512]) == []
