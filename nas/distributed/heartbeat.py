"""Heartbeats of the processes of a run: a process that has ended without a word is noticed and named.

A thread of each process counts in the shared store and reads the counts of the others. It also runs while the process
waits in a collective of torch.distributed, which may last until a timeout of half an hour.
"""

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from torch.distributed import Store  # type: ignore[attr-defined]  # documented, but not in __all__

TO_END = 10.0
"""Seconds that a process has to end by itself after the process with the store has ended."""
TO_FOLLOW = 2.0
"""Seconds that a process has to end by itself after another has reported a failure; the store remains for longer."""


class Heartbeat:
    """Counts for this process and watches others, until `stop`: the first process watches all, the others the first.

    Args:
        store: store of this run, for this thread alone.
        rank: rank of this process.
        world: number of processes.
        silence: seconds without a new count after which a process counts as ended.
        every: seconds between two counts.
        failed: key that the store has once a process has reported a failure.
        lost: called at most once, in the thread, with the ranks of the processes that have ended; with none if the key
            ``failed`` is there and this process has not ended.
        cut_off: called at most once, in another thread, if the store has not answered for as long as ``silence``: the
            process that holds it is stopped. Calls of the store, which wait for it, never return then.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        world: int,
        silence: float,
        every: float,
        failed: str,
        lost: Callable[[Collection[int]], None],
        cut_off: Callable[[], None],
    ) -> None:
        self._store, self._rank, self._silence, self._lost = store, rank, silence, lost
        self._cut_off, self._rounds = cut_off, 0
        self._every, self._failed = every, failed
        self._others = [other for other in range(world) if other != rank]
        self._seen = {other: (0, time.monotonic()) for other in (self._others if rank == 0 else [0])}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._guard = threading.Thread(target=self._watch, name="heartbeat guard", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        self._thread.start()
        self._guard.start()

    def stop(self) -> None:
        """End the thread. The others take this process for ended once their time is over; `ended` does not name it."""
        self._stopped.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with suppress(RuntimeError):  # the store is gone
            self._store.add(_key(self._rank, "stopped"), 1)

    def ended(self) -> list[int]:
        """Return the ranks of the others that do not count now and have not stopped; waits for some heartbeats."""
        try:
            before = [self._count_of(rank) for rank in self._others]
            time.sleep(4 * self._every)
            silent = [r for r, count in zip(self._others, before, strict=True) if self._count_of(r) == count]
            return [rank for rank in silent if not self._store.add(_key(rank, "stopped"), 0)]
        except RuntimeError:  # the process with the store has ended
            return [0]

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            self._rounds += 1
            try:
                self._count()
                if self._store.check([self._failed]):
                    if not self._stopped.wait(TO_FOLLOW):
                        self._lost([])
                    return
            except RuntimeError:  # the process with the store has ended, at the end of the run before this one
                if not self._stopped.wait(min(TO_END, self._silence)):
                    self._lost([0])
                return
            if silent := [r for r, (_, at) in self._seen.items() if time.monotonic() - at > self._silence]:
                self._lost(silent)
                return

    def _watch(self) -> None:
        """Call ``cut_off`` if a round of `_run` takes too long, without the time in which this process is stopped."""
        rounds, waited = 0, 0.0
        while self._thread.is_alive():
            time.sleep(self._every)
            rounds, waited = (rounds, waited + self._every) if rounds == self._rounds else (self._rounds, 0.0)
            if waited > self._silence:
                self._cut_off()
                return

    def _count(self) -> None:
        self._store.add(_key(self._rank), 1)
        for other, (count, _) in self._seen.items():
            if (now := self._count_of(other)) != count:
                self._seen[other] = now, time.monotonic()

    def _count_of(self, rank: int) -> int:
        return self._store.add(_key(rank), 0)


def _key(rank: int, kind: str = "heartbeat") -> str:
    return f"{kind} {rank}"
