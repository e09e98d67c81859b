"""What is seen of many jobs: on a terminal a bar of them over one bar of steps per worker, else a line per job."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import TaskID

from nas.console import Bars, say
from nas.jobs.events import Began, Ended, Event, Left, Stepped


class Display:
    """Shows the events of one or more workers, each with one job at a time; a context.

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
        self._bar = Bars.on(console, several=True)
        self._all = self._bar.add_task(f"{noun}s".ljust(self._wide), total=jobs, completed=finished, figures=best)
        self._running: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for task in self._running.values():
            self._bar.remove_task(task)
        self._bar.stop()

    def hear(self, event: Event, worker: int = 0) -> None:
        """Show an event.

        Two workers may report the same job: one that was taken for dead, and the one that runs the job again.

        Args:
            event: what is reported.
            worker: number of the worker that reports it.
        """
        if isinstance(event, Began):
            self._running[worker] = self._bar.add_task(
                self._name(event.job).ljust(self._wide), total=None, figures=event.values
            )
        elif isinstance(event, Stepped):
            task = self._running[worker]
            self._bar.update(task, completed=event.step, total=event.steps)
            if event.figures:
                self._bar.update(task, figures=event.figures)
        elif isinstance(event, Left):
            self.drop(worker)
            self.say(f"{self._name(event.job)}  is left to be run again: {event.reason}")
        elif isinstance(event, Ended):
            self.drop(worker)
            self._bar.update(self._all, completed=event.finished, figures=event.best)
            so_far = "" if self._console.is_terminal or not event.best else f"  ({event.best})"
            self.say(f"{self._name(event.job)}  {event.told}{so_far}")

    def drop(self, worker: int) -> None:
        """Show the job of a worker no longer, if it has one."""
        if worker in self._running:
            self._bar.remove_task(self._running.pop(worker))

    def say(self, sentence: str) -> None:
        """A line that stays."""
        say(self._console, sentence)

    def _name(self, job: int) -> str:
        return f"{self._noun} {job + 1} of {self._jobs}"
