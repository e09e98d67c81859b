"""Variable tracking: chains of assignments in order."""

from tests.nas.data.ruler.solving import read, ruler


def test_chains_interleave_and_keep_their_order() -> None:
    task = ruler("variable_tracking", distractors=2, batch_size=50)
    orders = set()
    for context, _, answer in read(task, task.full_batch(0)):
        assigned = [context[place + 1] for place, text in enumerate(context) if text == "!"]
        assert len(set(assigned)) == 15
        ranks = [assigned.index(variable) for variable in answer]
        assert ranks == sorted(ranks)
        orders.add(tuple(ranks))
    assert len(orders) > 40
