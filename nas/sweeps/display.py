"""What is seen of a sweep: on a terminal a bar of trials over one bar of steps per worker, else a line per trial."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from nas.sweeps.events import Began, Ended, Event, Left, Stepped


class Display:
    """Shows the events of one or more workers; a context.

    Args:
        console: where.
        trials: how many are asked for.
        finished: how many have ended before.
        best: the best of them, as text.
    """

    def __init__(self, console: Console, trials: int, finished: int, best: str) -> None:
        self._console, self._trials = console, trials
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._bar.add_task("trials", total=trials, completed=finished, figures=best)
        self._running: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for task in self._running.values():
            self._bar.remove_task(task)
        self._bar.stop()

    def hear(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Began):
            self._running[event.trial] = self._bar.add_task(
                f"trial {event.trial + 1} of {self._trials}", total=None, figures=event.values
            )
        elif isinstance(event, Stepped):
            task = self._running[event.trial]
            self._bar.update(task, completed=event.step, total=event.steps)
            if event.figures:
                self._bar.update(task, figures=event.figures)
        elif isinstance(event, Left):
            self.drop(event.trial)
            self.say(f"trial {event.trial + 1} of {self._trials}  is left to be run again: {event.reason}")
        elif isinstance(event, Ended):
            self.drop(event.trial)
            self._bar.update(self._all, completed=event.finished, figures=event.best)
            so_far = "" if self._console.is_terminal or not event.best else f"  ({event.best})"
            self.say(f"trial {event.trial + 1} of {self._trials}  {event.told}{so_far}")

    def drop(self, trial: int) -> None:
        """Show a trial no longer."""
        self._bar.remove_task(self._running.pop(trial))

    def say(self, sentence: str) -> None:
        """A line that stays."""
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)
