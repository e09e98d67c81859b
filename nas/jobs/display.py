"""The display of many jobs: progress bars of jobs and of each worker's steps on a terminal, otherwise a line a job."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import TaskID

from nas.console import Bars, say
from nas.jobs.events import Began, Ended, Event, Released, Stepped


class Display:
    """A context that shows the events of workers, each with one job at a time.

    Args:
        console: where the events are shown.
        noun: noun for a job, such as "trial".
        jobs: number of jobs in all.
        finished: number of jobs that have ended before.
        best: the best job so far, as text.
    """

    def __init__(self, console: Console, noun: str, jobs: int, finished: int, best: str) -> None:
        self._console, self._noun, self._jobs = console, noun, jobs
        self._width = len(self._name(jobs - 1))
        self._bar = Bars.on(console, several=True)
        self._all = self._bar.add_task(f"{noun}s".ljust(self._width), total=jobs, completed=finished, figures=best)
        self._running: dict[int, TaskID] = {}
        self._values: dict[int, str] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for task in self._running.values():
            self._bar.remove_task(task)
        self._bar.stop()

    def show(self, event: Event, worker: int = 0) -> None:
        """Show an event.

        Two workers may report the same job: a worker that was wrongly assumed dead, and the worker that runs the job
        again.

        Args:
            event: the reported event.
            worker: number of the worker that reports it.
        """
        if isinstance(event, Began):
            self._values[worker] = event.values
            self._running[worker] = self._bar.add_task(
                self._name(event.job).ljust(self._width), total=None, figures=event.values
            )
        elif isinstance(event, Stepped):
            task = self._running[worker]
            self._bar.update(task, completed=event.step, total=event.steps)
            if event.figures:
                self._bar.update(task, figures=event.figures)
        elif isinstance(event, Released):
            self.drop(worker)
            self.say(f"{self._name(event.job)}  has not ended and can be run again: {event.reason}")
        elif isinstance(event, Ended):
            self.drop(worker)
            self._bar.update(self._all, completed=event.finished, figures=event.best)
            so_far = f"({event.best})" if event.best and not self._console.is_terminal else ""
            parts = (self._name(event.job), self._values.pop(worker, ""), event.outcome, so_far)
            self.say("  ".join(part for part in parts if part))

    def expect(self, jobs: int) -> None:
        """Set the number of jobs in all."""
        if jobs != self._jobs:
            self._jobs = jobs
            self._bar.update(self._all, total=jobs)

    def drop(self, worker: int) -> None:
        """Remove the progress bar of a worker, if it has a job."""
        if worker in self._running:
            self._bar.remove_task(self._running.pop(worker))

    def say(self, sentence: str) -> None:
        """Print a line that stays above the progress bars."""
        say(self._console, sentence)

    def _name(self, job: int) -> str:
        return f"{self._noun} {job + 1} of {self._jobs}"
