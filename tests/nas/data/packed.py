"""A task with packed documents: the lines of a text."""

import pytest

import nas.data
from nas.data.batch import IGNORE, Batch, Part
from nas.data.text import Text

NEWLINE = 10


class Lines(Text):
    """Predict the next byte of a line; what follows its end is not scored. Some lines are empty: one token long."""

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        return by_line(super().train_batch(step, part))

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        return [by_line(batch) for batch in super().validation_batches(length_factor)]

    def selection_batches(self, count: int, length_factor: int = 1) -> list[Batch]:
        return [by_line(batch) for batch in super().selection_batches(count, length_factor)]


def by_line(batch: Batch) -> Batch:
    ends = batch.tokens == NEWLINE
    index = (ends.cumsum(1) - ends.int()).int()
    return batch._replace(targets=batch.targets.masked_fill(ends, IGNORE), documents=index)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task of data=text has packed documents."""
    monkeypatch.setitem(nas.data.TASKS, "text", Lines)
