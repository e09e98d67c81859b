"""Needles: how many there are, and where the requested one stands."""

import pytest

from tests.nas.data.ruler.solving import read, ruler


@pytest.mark.parametrize(
    ("problem", "distractors", "needles"),
    [("single", 0, 1), ("single", 4, 5), ("multikey_2", 0, 10), ("multikey_3", 0, 6)],
)
def test_the_requested_needle_is_any_of_them(problem: str, distractors: int, needles: int) -> None:
    task = ruler(problem, distractors=distractors, batch_size=200)
    batch = task.full_batch(0)
    assert batch.planted is not None
    ranks, starts = set(), batch.planted.int().argmax(1).tolist()
    for (context, _, _), start in zip(read(task, batch), starts, strict=True):
        assert context.count("!") == needles
        assert context[start] == "!"
        ranks.add(context[:start].count("!"))
    assert ranks == set(range(needles))
    assert len(set(starts)) > 20


def test_shorter_sequences_have_as_many_distractors_as_fit() -> None:
    task = ruler("single", distractors=9)
    counts = {
        (len(context), context.count("!")) for step in range(20) for context, *_ in read(task, task.train_batch(step))
    }
    assert counts == {(118, 10), (54, 4)}
