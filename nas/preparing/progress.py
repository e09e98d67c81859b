"""The progress of encoding: a bar with MB/s and the remaining time on a terminal, otherwise some lines."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console

from nas.console import Bars, say
from nas.preparing.pieces import Plan
from nas.preparing.unit import Finished
from nas.preparing.workers import Encoded

LINES = 10
"""Number of lines in a file or a pipe, which has no bar."""


class Progress:
    """A context that shows the bytes of text that are encoded.

    Args:
        console: where they are shown.
        plan: the units.
        finished: numbers of the units that were finished before.
    """

    def __init__(self, console: Console, plan: Plan, finished: set[int]) -> None:
        self._console = console
        self._sizes = [sum(piece.size for piece in unit) for unit in plan.units]
        self._finished = set(finished)
        self._running: dict[int, int] = {}
        self._before = self._bytes
        self._began = time.monotonic()
        self._lines = LINES * self._bytes // plan.bytes
        self._bar = Bars.on(console, amounts=True)
        self._task = self._bar.add_task("text", total=plan.bytes, completed=self._bytes, figures=self._figures())

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, event: Encoded | Finished) -> None:
        """Show that text was encoded or that a unit is finished."""
        if isinstance(event, Finished):
            self._running.pop(event.number, None)
            self._finished.add(event.number)
        else:
            self._running[event.number] = self._running.get(event.number, 0) + event.bytes
        self._bar.update(self._task, completed=self._bytes, figures=self._figures())
        self._say()

    @property
    def _bytes(self) -> int:
        """Return the bytes that are encoded; sizes of units of tables are approximate."""
        running = (min(size, self._sizes[number]) for number, size in self._running.items())
        return sum(self._sizes[number] for number in self._finished) + sum(running)

    def _figures(self) -> str:
        return f"  {len(self._finished):,} of {len(self._sizes):,} units finished"

    def _say(self) -> None:
        """Print a line for each tenth of the bytes, where there is no bar."""
        encoded, every = self._bytes, sum(self._sizes)
        if self._console.is_terminal or LINES * encoded // every <= self._lines:
            return
        self._lines = LINES * encoded // every
        speed = (encoded - self._before) / max(time.monotonic() - self._began, 1e-9)
        say(
            self._console,
            f"{encoded / 1e6:,.1f} of {every / 1e6:,.1f} MB, {speed / 1e6:,.1f} MB/s, "
            f"{(every - encoded) / max(speed, 1e-9):,.0f} s left",
        )
