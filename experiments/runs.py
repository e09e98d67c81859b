"""Runs of the toolkit's commands for a study, each an ordinary command; finished runs are not repeated."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TextIO

import torch

from nas.errors import INTERRUPTED
from nas.runs import checkpoints
from nas.runs.folder import CONFIG, METRICS, read_json
from nas.runs.metrics import Metrics, is_finished, read_metrics

SECONDS = "seconds.json"


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
        done: the other runs by folder.
    """

    def __init__(self, failed: list[Path], done: dict[Path, MadeRun]) -> None:
        super().__init__("some runs failed, see log.txt in each folder: " + ", ".join(map(str, failed)))
        self.failed, self.done = failed, done


def run_once(
    folder: Path, command: Sequence[str], environment: Mapping[str, str] | None = None, log: TextIO | None = None
) -> MadeRun:
    """Run a command and return its run in ``folder``. A finished run is not repeated; a stopped run is resumed.

    Args:
        folder: output folder of this run alone.
        command: module to run, for example nas.search, and its options.
        environment: environment variables of the command.
        log: file for the command's output; None for this process's output.

    Raises:
        CalledProcessError: the command failed or was stopped.
        ValueError: the metrics of the run are damaged or of another version.
    """
    times = folder / SECONDS
    if not _finished(folder):
        stopped = next((run for run in _newest_first(folder, CONFIG) if checkpoints.newest(run)), None)
        options = [*command[1:], f"output={folder}"] if stopped is None else [f"resume={stopped}"]
        full = [sys.executable, "-m", command[0], *options]
        print("$", "python", *full[1:], flush=True)
        before = 0.0 if stopped is None else read_json(times) or 0.0
        started = time.monotonic()
        try:
            subprocess.run(full, check=True, env=os.environ | dict(environment or {}), stdout=log, stderr=log)
        finally:
            folder.mkdir(parents=True, exist_ok=True)
            times.write_text(json.dumps(before + time.monotonic() - started), encoding="utf-8")
    return MadeRun(
        read_metrics(finished_run(folder)), json.loads(times.read_text(encoding="utf-8")) if times.exists() else None
    )


def finished_run(folder: Path) -> Path:
    """Return the newest finished run below a folder; raise FileNotFoundError without one."""
    if runs := _finished(folder):
        return runs[0]
    raise FileNotFoundError(f"{folder} has no finished run.")


def _finished(folder: Path) -> list[Path]:
    return [run for run in _newest_first(folder, METRICS) if is_finished(run)]


def _newest_first(folder: Path, holding: str) -> list[Path]:
    """List runs below a folder, ``folder/command/date_time_name``, that contain a file; the newest first."""
    return sorted((path.parent for path in folder.glob(f"*/*/{holding}")), reverse=True)


def run_all(
    commands: Mapping[Path, Sequence[str]],
    workers: int,
    environment: Mapping[str, str] | None = None,
    deadline: float | None = None,
) -> dict[Path, MadeRun]:
    """Run `run_once` for many folders, several at a time; each command's output goes to log.txt in its folder.

    Args:
        commands: commands by folder.
        workers: number of simultaneous runs.
        environment: environment variables of the commands.
        deadline: value of `time.monotonic` from which no command starts; None for no deadline. Runs that were not
            made are left out.

    Raises:
        RunsFailed: some runs failed; raised after the last run.
    """
    late: set[Path] = set()

    def one(folder: Path) -> MadeRun | None:
        if deadline is not None and time.monotonic() >= deadline and not _finished(folder):
            late.add(folder)
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("a", encoding="utf-8") as log:
            try:
                return run_once(folder, commands[folder], environment, log)
            except subprocess.CalledProcessError:
                return None

    with ThreadPoolExecutor(workers) as pool:
        ended = dict(zip(commands, pool.map(one, commands), strict=True))
    done = {folder: run for folder, run in ended.items() if run is not None}
    if failed := [folder for folder in ended if folder not in done and folder not in late]:
        raise RunsFailed(failed, done)
    return done


def status_of(main: Callable[[], int | None]) -> int:
    """Return the exit status of a study; a failed command or Ctrl-C prints one line instead of a traceback."""
    try:
        return main() or 0
    except subprocess.CalledProcessError as error:
        print(
            f"python {' '.join(error.cmd[1:3])} ended with status {error.returncode}.", HOW_TO_CONTINUE, file=sys.stderr
        )
        return error.returncode
    except RunsFailed as error:
        print(f"{error}.", HOW_TO_CONTINUE, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped.", HOW_TO_CONTINUE, file=sys.stderr)
        return INTERRUPTED


HOW_TO_CONTINUE = "Finished runs are kept; the same command continues from there."
