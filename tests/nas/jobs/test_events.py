"""Events are sent between processes unchanged."""

import pickle

import pytest

from nas.jobs.events import Began, Ended, Event, Released, Stepped


@pytest.mark.parametrize(
    "event",
    [
        Began(0, "width=16"),
        Stepped(1, 2, 6),
        Stepped(1, 2, 6, "loss 0.5"),
        Ended(3, "recall 1", 4, ""),
        Released(5, "why"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_arrives_as_it_was_sent(event: Event) -> None:
    assert pickle.loads(pickle.dumps(event)) == event
