"""Heartbeats name processes that have ended, and no others."""

import queue
import threading
from collections.abc import Collection
from typing import cast

import pytest
from torch.distributed import Store, TCPStore

from nas.distributed.heartbeat import Heartbeat

AT_ONCE, NEVER, OFTEN = 0.1, 3600.0, 0.01
FAILED = "failed"


@pytest.fixture
def server() -> TCPStore:
    return TCPStore("127.0.0.1", 0, 3, is_master=True, wait_for_workers=False)


def client(server: TCPStore) -> TCPStore:
    return TCPStore("127.0.0.1", server.port, 3, is_master=False, wait_for_workers=False)


def never(ended: Collection[int]) -> None:
    raise AssertionError(f"{ended} have not ended")


def answers() -> None:
    raise AssertionError("the store answers")


def test_a_silent_process_is_named(server: TCPStore) -> None:
    lost: queue.Queue[Collection[int]] = queue.Queue()
    other = Heartbeat(client(server), 1, 3, NEVER, OFTEN, FAILED, never, answers)
    other.start()
    watching = Heartbeat(client(server), 0, 3, NEVER, OFTEN, FAILED, lost.put, answers)
    watching.start()
    while 1 in watching.ended():  # until it has counted
        pass
    assert watching.ended() == [2]
    impatient = Heartbeat(client(server), 0, 3, AT_ONCE, OFTEN, FAILED, lost.put, answers)
    impatient.start()
    assert 2 in lost.get()
    other.stop()
    assert watching.ended() == [2]  # the other has stopped by itself
    for each in (watching, impatient):
        each.stop()
    assert lost.empty()


def test_the_end_of_the_process_with_the_store_is_noticed() -> None:
    lost: queue.Queue[Collection[int]] = queue.Queue()
    server = TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
    watching = Heartbeat(client(server), 1, 2, AT_ONCE, OFTEN, FAILED, lost.put, answers)
    watching.start()
    del server
    assert lost.get() == [0]


def test_a_process_follows_one_that_has_reported_a_failure(server: TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.distributed.heartbeat.TO_FOLLOW", 0.0)
    lost: queue.Queue[Collection[int]] = queue.Queue()
    watching = Heartbeat(client(server), 1, 3, NEVER, OFTEN, FAILED, lost.put, answers)
    watching.start()
    server.set(FAILED, "2 1")
    assert lost.get() == []


def test_only_the_first_process_watches_all(server: TCPStore) -> None:
    lost: queue.Queue[Collection[int]] = queue.Queue()
    first = Heartbeat(client(server), 0, 3, NEVER, OFTEN, FAILED, never, answers)
    second = Heartbeat(client(server), 1, 3, 1.0, OFTEN, FAILED, lost.put, answers)
    first.start()
    second.start()
    while set(second.ended()) != {2}:  # the third never counts
        pass
    first.stop()
    assert lost.get() == [0]
    second.stop()


def test_a_run_that_ends_says_nothing() -> None:
    server = TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
    watching = Heartbeat(client(server), 1, 2, NEVER, OFTEN, FAILED, never, answers)
    watching.start()
    watching.stop()
    del server


class Stopped:
    """A store in a process that is stopped: it keeps connections open, and answers nothing."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def add(self, key: str, amount: int) -> int:
        self.goes_on.wait()
        raise RuntimeError


def test_a_store_that_does_not_answer_is_noticed() -> None:
    store, cut_off = Stopped(), threading.Event()
    lost: queue.Queue[Collection[int]] = queue.Queue()
    watching = Heartbeat(cast("Store", store), 1, 2, AT_ONCE, OFTEN, FAILED, lost.put, cut_off.set)
    watching.start()
    cut_off.wait()
    assert lost.empty()
    store.goes_on.set()
    watching.stop()
