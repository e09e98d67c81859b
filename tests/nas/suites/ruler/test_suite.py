"""Scores of RULER: a subject that copies finds every needle, one that is silent finds none."""

import re
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError
from nas.suites.ruler.suite import ORDER, TASKS, TEXT_TASKS, evaluate, haystack, share_of
from nas.suites.subject import Advance
from tests.nas.suites.fakes import Answering, documents

TEXT = documents(b"\n\n".join(b"line %d of some text" % line for line in range(50)))


def copied(prompt: str) -> str:
    """The values of the keys in the question, or the variables of the chain."""
    if "VAR" in prompt:
        return " ".join(re.findall(r"VAR (\w+) =", prompt))
    context, _, question = prompt.partition("\nWhat ")
    stated = re.findall(r"for (\S+) is: (\S+)\.", context)
    return " " + ", ".join(value for key, value in stated if re.search(rf" {key}[ ,]", question))


@pytest.mark.parametrize("task", [task for task in ORDER if not task.endswith("words")])
def test_a_subject_that_copies_finds_everything(task: str) -> None:
    problem = TEXT_TASKS[task](haystack(TEXT, 0)) if task in TEXT_TASKS else TASKS[task](1500)
    subject = Answering(copied)
    found = evaluate(subject, task, problem, 1500, 3, 0, Vocabulary.of_bytes(), lambda count: None)
    assert found.scores["score"].value == 1.0
    assert (found.part, found.sequences, len(found.examples)) == (task, 3, 3)
    assert 1200 < subject.longest <= 1500
    silent = evaluate(
        Answering(lambda prompt: ""), task, problem, 1500, 3, 0, Vocabulary.of_bytes(), lambda count: None
    )
    assert silent.scores["score"].value == 0.0


def test_an_answer_counts_wherever_it_stands_in_the_output() -> None:
    assert share_of(["one", "two", "three"], "It is TWO,\x00one") == pytest.approx(2 / 3)
    output = Answering(lambda prompt: "is: 1234567")
    assert (
        evaluate(output, "single_1", TASKS["single_1"](0), 600, 2, 0, Vocabulary.of_bytes(), lambda count: None)
        .scores["score"]
        .value
        == 0
    )


def test_an_id_beyond_the_vocabulary_is_no_text() -> None:
    class Padded(Answering):
        def answer(self, prompts: Sequence[Tensor], count: int, advance: Advance) -> Tensor:
            return (
                super().answer(prompts, count, advance).masked_fill_(torch.tensor([True] + [False] * (count - 1)), 300)
            )

    subject = Padded(lambda prompt: "x" + copied(prompt))
    found = evaluate(subject, "single_1", TASKS["single_1"](0), 600, 2, 0, Vocabulary.of_bytes(), lambda count: None)
    assert found.scores["score"].value == 1.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="the shortest prompt and its output do not fit"):
        evaluate(
            Answering(str),
            "common_words",
            TASKS["common_words"](512),
            512,
            2,
            0,
            Vocabulary.of_bytes(),
            lambda count: None,
        )
    with pytest.raises(UserError, match=r"the test has no text for haystacks"):
        haystack(documents(b"\n \n"), 0)
    assert {*ORDER} == {*TASKS, *TEXT_TASKS}
