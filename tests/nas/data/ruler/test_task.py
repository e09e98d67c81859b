"""RULER's tasks: a program that reads the context answers every question, and no answer can be guessed without it."""

from typing import Any

import pytest
import torch

from nas.data.batch import IGNORE
from nas.data.ruler.task import PROBLEMS
from nas.errors import UserError
from tests.nas.data.ruler.solving import read, ruler, solve

HARDER = {"single": 4, "variable_tracking": 2}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("factor", [1, 8])
def test_a_program_that_reads_the_context_answers_every_question(problem: str, factor: int) -> None:
    for distractors in {0, HARDER.get(problem, 0)}:
        task = ruler(problem, distractors=distractors)
        batches = [*map(task.train_batch, range(12)), *task.validation_batches(factor), *task.selection_batches(1)]
        for batch in batches:
            for context, question, answer in read(task, batch):
                assert solve(problem, context, question) == answer


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_best_guess_without_context_is_at_chance(problem: str) -> None:
    task = ruler(problem, batch_size=3000)
    answers = torch.stack([targets[targets != IGNORE] for targets in task.full_batch(0).targets])
    guessed = torch.stack([(place == place.mode().values).float().mean() for place in answers.unbind(1)])
    chance = task.chance()
    if task.quality == "exact_match":  # too small to measure, so by token
        chance **= 1 / answers.shape[1]
    assert guessed.mean().item() == pytest.approx(chance, abs=0.012)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_planted_tokens_are_enough_for_the_answer(problem: str) -> None:
    task = ruler(problem, distractors=HARDER.get(problem, 0))
    batch = task.full_batch(0)
    if problem.endswith("words"):
        assert batch.planted is None
        return
    assert batch.planted is not None
    for (context, question, answer), planted in zip(read(task, batch), batch.planted.tolist(), strict=True):
        kept = [text if needed else "n0" for text, needed in zip(context, planted, strict=False)]
        assert solve(problem, kept, question) == answer
        assert not any(planted[len(context) :])


@pytest.mark.parametrize("problem", PROBLEMS)
def test_lengths_shapes_and_tokens(problem: str) -> None:
    task = ruler(problem, length=256)
    least = 128 if problem == "frequent_words" else 64
    batches = [task.train_batch(step) for step in range(40)]
    assert {batch.tokens.shape for batch in batches} == {(8, n) for n in (256, 128, 64) if n >= least}
    for factor in (1, 4):
        batches, again = (ruler(problem, length=256).validation_batches(factor) for _ in range(2))
        assert [tuple(batch.tokens.shape) for batch in batches] == [(8 // factor, 256 * factor)] * 2
        assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(batches, again, strict=True))
        for batch in batches:
            assert batch.tokens.dtype == batch.targets.dtype == torch.int64
            assert 0 <= batch.tokens.min() <= batch.tokens.max() < task.vocab_size


@pytest.mark.parametrize(
    ("problem", "changed", "named"),
    [
        ("words", {}, "data.problem=words is unknown; choose one of: single, multikey_2,"),
        ("frequent_words", {"length": 77}, "data.length=77 has no room for problem=frequent_words; give at least 78"),
        ("multikey_3", {"min_length": 52}, "data.min_length=52 has no room for problem=multikey_3; give at least 53"),
        ("common_words", {"words": 640}, "data.length=128 has no room for problem=common_words; give at least 141"),
        ("single", {"distractors": 10}, "data.distractors=10 do not fit: data.length=128 .* room for 9 .*; give"),
        ("variable_tracking", {"distractors": 3, "words": 19}, "data.distractors=3 do not fit: .* data.words=19 have"),
        ("multikey_2", {"distractors": 1}, "data.distractors=1 has no effect with data.problem=multikey_2; give 0, or"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_cannot_work_are_named(problem: str, changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        ruler(problem, **changed)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_sequence_of_the_minimum_length_can_be_answered(problem: str) -> None:
    with pytest.raises(UserError) as caught:
        ruler(problem, length=1)
    least = int(str(caught.value).rpartition(" ")[2].rstrip("."))
    for length in range(least, least + 30):
        task = ruler(problem, length=length, batch_size=2)
        for context, question, answer in read(task, task.full_batch(0)):
            assert solve(problem, context, question) == answer
