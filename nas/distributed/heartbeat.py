"""Heartbeats of the processes of a run: a process that has ended without a word is noticed and named.

A thread of each process counts in the shared store and reads the counts of the others. It also runs while the process
waits in a collective of torch.distributed, which may last until a timeout of half an hour.
"""

import threading
import time
from collections.abc import Callable, Collection

from torch.distributed import Store  # type: ignore[attr-defined]  # documented, but not in __all__

TO_END = 10.0
"""Seconds that a process has to end by itself after the process with the store has ended."""


class Heartbeat:
    """Counts for this process and watches the other processes, until `stop`.

    Args:
        store: store of this run, for this thread alone.
        rank: rank of this process.
        world: number of processes.
        silence: seconds without a new count after which a process counts as ended.
        every: seconds between two counts.
        lost: called once, in the thread, with the ranks of the processes that have ended.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        world: int,
        silence: float,
        every: float,
        lost: Callable[[Collection[int]], None],
    ) -> None:
        self._store, self._rank, self._silence, self._lost = store, rank, silence, lost
        self._every = every
        self._seen = {other: (0, time.monotonic()) for other in range(world) if other != rank}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the others then take this process for ended once their time is over."""
        self._stopped.set()
        self._thread.join()

    def ended(self) -> list[int]:
        """Return the ranks of the other processes that do not count now; waits for some heartbeats."""
        began = time.monotonic()
        self._stopped.wait(4 * self._every)
        return [rank for rank, (_, at) in self._seen.items() if at < began]

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                self._count()
            except RuntimeError:  # the process with the store has ended, at the end of the run before this one
                if not self._stopped.wait(min(TO_END, self._silence)):
                    self._lost([0])
                return
            if silent := [r for r, (_, at) in self._seen.items() if time.monotonic() - at > self._silence]:
                self._lost(silent)
                return

    def _count(self) -> None:
        self._store.add(_key(self._rank), 1)
        for other, (count, _) in self._seen.items():
            if (now := self._store.add(_key(other), 0)) != count:
                self._seen[other] = now, time.monotonic()


def _key(rank: int) -> str:
    return f"heartbeat {rank}"
