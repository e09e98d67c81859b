"""Runs of the toolkit's commands for a study, each an ordinary command; finished runs are not repeated."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TextIO, TypeAlias, TypeVar

import torch

from nas.comparisons.estimate import spoken
from nas.errors import INTERRUPTED, UserError
from nas.jobs.processes import gpu_of
from nas.runs import checkpoints
from nas.runs.folder import CONFIG, METRICS, read_json
from nas.runs.metrics import Metrics, is_finished, read_metrics

T = TypeVar("T")
Work: TypeAlias = Callable[[Path, Mapping[str, str], TextIO, float | None], T]
"""What is done for a folder; see `each_of`."""

SECONDS = "seconds.json"
RATE = 540.0
"""Training steps a second of 18 processes on an H200, for models of 0.8 million parameters at 32 x 512 tokens."""
PATIENCE = 10.0
"""Seconds that a run has to save its checkpoint after the deadline."""


def machine() -> str:
    """Describe the machine of a study, for the end of its table."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"
    return f"{where}, torch {torch.__version__}"


class MadeRun(NamedTuple):
    """A finished run: its metrics, and the wall time of its command in seconds; None if unknown."""

    metrics: Metrics
    wall_seconds: float | None


class RunsFailed(RuntimeError):
    """Some of many runs ended in an error.

    Attributes:
        failed: folders of the failed runs; log.txt in each has the output.
        done: results of the other runs by folder.
    """

    def __init__(self, failed: list[Path], done: Mapping[Path, Any]) -> None:
        super().__init__("some runs failed, see log.txt in each folder: " + ", ".join(map(str, failed)))
        self.failed, self.done = failed, done


class DeadlinePassed(RuntimeError):
    """The deadline of a study has passed before its last run was finished.

    Attributes:
        done: results of the finished runs by folder.
    """

    def __init__(self, message: str = "the deadline has passed", done: Mapping[Path, Any] | None = None) -> None:
        super().__init__(message)
        self.done = done or {}


def deadline_in(minutes: float | None) -> float | None:
    """Return the time of `time.monotonic` in so many minutes; None for no deadline."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def plan(jobs: int, steps: int, rate: float) -> str:
    """Return the number of trainings with their steps and device time, as text.

    Args:
        jobs: number of trainings.
        steps: steps of all trainings together.
        rate: training steps a second, over all processes.

    >>> plan(32, 44800, 228.0)
    '32 trainings, 44,800 steps: about 3 minutes at 228 steps a second'
    """
    return f"{jobs} trainings, {steps:,} steps: about {spoken(steps / rate)} at {rate:g} steps a second"


def execute(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    log: TextIO | None = None,
    deadline: float | None = None,
) -> None:
    """Run a command. At the deadline it is interrupted as by Ctrl-C, so that trainings save a checkpoint.

    Args:
        command: program and arguments.
        environment: environment variables besides those of this process.
        log: file for the command's output; None for this process's output.
        deadline: time of `time.monotonic` after which nothing starts; None for no deadline.

    Raises:
        CalledProcessError: the command failed.
        DeadlinePassed: the deadline has passed.
    """
    left = _left(deadline)
    environ = os.environ | dict(environment or {})
    with subprocess.Popen(command, env=environ, stdout=log, stderr=log) as process:
        try:
            status = process.wait(left)
        except subprocess.TimeoutExpired as error:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            if process.poll() is None:  # it has saved its checkpoint, and measures: a second signal ends that
                process.send_signal(signal.SIGINT)
            if process.wait():
                raise DeadlinePassed from error
            return
    if status:
        raise subprocess.CalledProcessError(status, command)


def _left(deadline: float | None) -> float | None:
    """Return the seconds until the deadline, None for no deadline; raise DeadlinePassed if none are left."""
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise DeadlinePassed
    return left


def run_once(
    folder: Path,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    log: TextIO | None = None,
    deadline: float | None = None,
) -> MadeRun:
    """Run a command and return its run in ``folder``. A finished run is not repeated; a stopped run is resumed.

    Args:
        folder: output folder of this run alone.
        command: module to run, for example nas.search, and its options.
        environment: environment variables of the command.
        log: file for the command's output; None for this process's output.
        deadline: see `execute`.

    Raises:
        CalledProcessError: the command failed or was stopped.
        DeadlinePassed: the deadline passed before the run was finished.
        ValueError: the metrics of the run are damaged or of another version.
    """
    times = folder / SECONDS
    if newest_finished(folder) is None:
        stopped = next((run for run in _newest_first(folder, CONFIG) if checkpoints.begun(run)), None)
        options = [*command[1:], f"output={folder}"] if stopped is None else [f"resume={stopped}"]
        full = [sys.executable, "-m", command[0], *options]
        _left(deadline)
        print("$", "python", *full[1:], flush=True)
        before = 0.0 if stopped is None else read_json(times) or 0.0
        started = time.monotonic()
        try:
            execute(full, environment, log, deadline)
        finally:
            folder.mkdir(parents=True, exist_ok=True)
            times.write_text(json.dumps(before + time.monotonic() - started), encoding="utf-8")
    return MadeRun(
        read_metrics(finished_run(folder)), json.loads(times.read_text(encoding="utf-8")) if times.exists() else None
    )


def finished_run(folder: Path) -> Path:
    """Return the newest finished run below a folder; raise FileNotFoundError without one."""
    if (run := newest_finished(folder)) is not None:
        return run
    raise FileNotFoundError(f"{folder} has no finished run.")


def newest_finished(folder: Path) -> Path | None:
    """Return the newest finished run below a folder; None without one."""
    return next(filter(is_finished, _newest_first(folder, METRICS)), None)


def _newest_first(folder: Path, holding: str) -> list[Path]:
    """List runs below a folder, ``folder/command/date_time_name``, that contain a file; the newest first."""
    return sorted((path.parent for path in folder.glob(f"*/*/{holding}")), reverse=True)


def threads(workers: int) -> dict[str, str]:
    """Return the environment that shares the cores among simultaneous runs, unless OMP_NUM_THREADS is set."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // workers))}


def unfinished(folders: Sequence[Path]) -> int:
    """Return the number of folders without a finished run."""
    return sum(newest_finished(folder) is None for folder in folders)


def run_all(
    commands: Mapping[Path, Sequence[str]],
    workers: int,
    environment: Mapping[str, str] | None = None,
    deadline: float | None = None,
) -> dict[Path, MadeRun]:
    """Run `run_once` for many folders, several at a time; see `each_of`.

    Args:
        commands: commands by folder.
        workers: number of simultaneous runs.
        environment: environment variables of the commands.
        deadline: see `execute`.
    """

    def work(folder: Path, own: Mapping[str, str], log: TextIO, deadline: float | None) -> MadeRun:
        return run_once(folder, commands[folder], own, log, deadline)

    return each_of(list(commands), work, workers, environment, deadline)


def each_of(
    folders: Sequence[Path],
    work: Work[T],
    workers: int,
    environment: Mapping[str, str] | None = None,
    deadline: float | None = None,
) -> dict[Path, T]:
    """Do the work of many folders, several at a time; each command's output goes to log.txt in its folder.

    On a machine with several GPUs, each work has one of them.

    Args:
        folders: one folder for each work.
        work: function of a folder, the environment variables of its commands, the file for their output, and the
            deadline.
        workers: number of simultaneous works.
        environment: environment variables of the commands.
        deadline: see `execute`.

    Raises:
        RunsFailed: some works failed; raised after the last one.
        DeadlinePassed: the deadline passed before all works were finished, and none failed.
    """
    late: list[Path] = []
    done: dict[Path, T] = {}
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(workers):
        free.put(number)

    def one(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = free.get()
        own = {**(environment or {}), **gpu_of(number)}
        with (folder / "log.txt").open("a", encoding="utf-8") as log:
            try:
                done[folder] = work(folder, own, log, deadline)
            except subprocess.CalledProcessError:
                pass
            except DeadlinePassed:
                late.append(folder)
            finally:
                free.put(number)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, folders))
    done = {folder: done[folder] for folder in folders if folder in done}
    if failed := [folder for folder in folders if folder not in done and folder not in late]:
        raise RunsFailed(failed, done)
    if late:
        raise DeadlinePassed(f"the deadline has passed: {len(done)} of {len(folders)} runs are finished", done)
    return done


def status_of(main: Callable[[], int | None]) -> int:
    """Return the exit status of a study; a failure that users can cause prints one line instead of a traceback."""
    try:
        return main() or 0
    except subprocess.CalledProcessError as error:
        print(
            f"python {' '.join(error.cmd[1:3])} ended with status {error.returncode}.", HOW_TO_CONTINUE, file=sys.stderr
        )
        return error.returncode
    except (RunsFailed, DeadlinePassed) as error:
        print(f"{error}.", HOW_TO_CONTINUE, file=sys.stderr)
        return INTERRUPTED if isinstance(error, DeadlinePassed) else 1
    except KeyboardInterrupt:
        print("stopped.", HOW_TO_CONTINUE, file=sys.stderr)
        return INTERRUPTED
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


HOW_TO_CONTINUE = "Finished runs are kept; the same command continues from there."
