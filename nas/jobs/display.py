"""What is seen of many jobs: on a terminal a bar of them over one bar of steps per worker, else a line per job."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from nas.jobs.events import Began, Ended, Event, Left, Stepped


class Bars(Progress):
    """A bar per task, each with its figures in a line below it: side by side they are wider than a terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            yield Text(f"  {task.fields['figures']}", no_wrap=True, overflow="ellipsis")


class Display:
    """Shows the events of one or more workers; a context.

    Args:
        console: where.
        noun: what a job is called: "trial".
        jobs: how many are asked for.
        finished: how many have ended before.
        best: the best of them, as text.
    """

    def __init__(self, console: Console, noun: str, jobs: int, finished: int, best: str) -> None:
        self._console, self._noun, self._jobs = console, noun, jobs
        self._wide = len(self._name(jobs - 1))
        self._bar = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._bar.add_task(f"{noun}s".ljust(self._wide), total=jobs, completed=finished, figures=best)
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
            self._running[event.job] = self._bar.add_task(
                self._name(event.job).ljust(self._wide), total=None, figures=event.values
            )
        elif isinstance(event, Stepped):
            task = self._running[event.job]
            self._bar.update(task, completed=event.step, total=event.steps)
            if event.figures:
                self._bar.update(task, figures=event.figures)
        elif isinstance(event, Left):
            self.drop(event.job)
            self.say(f"{self._name(event.job)}  is left to be run again: {event.reason}")
        elif isinstance(event, Ended):
            self.drop(event.job)
            self._bar.update(self._all, completed=event.finished, figures=event.best)
            so_far = "" if self._console.is_terminal or not event.best else f"  ({event.best})"
            self.say(f"{self._name(event.job)}  {event.told}{so_far}")

    def drop(self, job: int) -> None:
        """Show a job no longer."""
        self._bar.remove_task(self._running.pop(job))

    def say(self, sentence: str) -> None:
        """A line that stays."""
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def _name(self, job: int) -> str:
        return f"{self._noun} {job + 1} of {self._jobs}"
