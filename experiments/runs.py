"""Runs of the toolkit's commands for a study, each as a user would type it; one that is there is not made again."""

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
from nas.runs.folder import CONFIG, METRICS, Run, read_json
from nas.runs.metrics import Metrics, is_finished, read_metrics

SECONDS = "seconds.json"


def machine() -> str:
    """What a study was measured on, as its table ends with it."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"
    return f"{where}, torch {torch.__version__}"


class MadeRun(NamedTuple):
    """A finished run: its metrics, and the wall time of its command in seconds; None where that is not known."""

    metrics: Metrics
    wall_seconds: float | None


class RunsFailed(RuntimeError):
    """Some of many runs ended in an error.

    Attributes:
        failed: their folders, with what they printed in log.txt.
        done: the others by their folders.
    """

    def __init__(self, failed: list[Path], done: dict[Path, MadeRun]) -> None:
        super().__init__("these runs failed, see log.txt in each folder: " + ", ".join(map(str, failed)))
        self.failed, self.done = failed, done


def run_once(
    folder: Path, command: Sequence[str], environment: Mapping[str, str] | None = None, log: TextIO | None = None
) -> MadeRun:
    """Run a command, and return the one run in ``folder``. A finished run is not made again; a stopped one is resumed.

    Args:
        folder: where the run goes, alone.
        command: the module to run, for example nas.search, and its options.
        environment: variables to set for it.
        log: where what it prints goes; None for where this prints.

    Raises:
        CalledProcessError: the command failed, or was stopped.
        ValueError: the metrics of the run are damaged or of another version.
    """
    times = folder / SECONDS
    if not _finished(folder):
        stopped = next((run for run in _newest_first(folder, CONFIG) if Run(run).newest_checkpoint()), None)
        options = [*command[1:], f"output={folder}"] if stopped is None else [f"resume={stopped}"]
        full = [sys.executable, "-m", command[0], *options]
        print("$", "python", *full[1:], flush=True)
        before = 0.0 if stopped is None else read_json(times) or 0.0
        started = time.monotonic()
        try:
            subprocess.run(full, check=True, env=os.environ | dict(environment or {}), stdout=log, stderr=log)
        finally:
            folder.mkdir(parents=True, exist_ok=True)
            times.write_text(json.dumps(before + time.monotonic() - started))
    return MadeRun(read_metrics(finished_run(folder)), json.loads(times.read_text()) if times.exists() else None)


def finished_run(folder: Path) -> Path:
    """The newest run below a folder that was not stopped before its end; FileNotFoundError where there is none."""
    if runs := _finished(folder):
        return runs[0]
    raise FileNotFoundError(f"{folder} has no finished run.")


def _finished(folder: Path) -> list[Path]:
    return [run for run in _newest_first(folder, METRICS) if is_finished(run)]


def _newest_first(folder: Path, holding: str) -> list[Path]:
    """Runs below a folder, ``folder/command/date_time_name``, that hold a file."""
    return sorted((path.parent for path in folder.glob(f"*/*/{holding}")), reverse=True)


def run_all(
    commands: Mapping[Path, Sequence[str]], workers: int, environment: Mapping[str, str] | None = None
) -> dict[Path, MadeRun]:
    """`run_once` for many runs by their folders, several at a time; what they print goes to a file in their folders.

    Args:
        commands: by folder.
        workers: how many run at a time.
        environment: variables to set for them.

    Raises:
        RunsFailed: after the last one, where some of them ended in an error.
    """

    def one(folder: Path) -> MadeRun | None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("a") as log:
            try:
                return run_once(folder, commands[folder], environment, log)
            except subprocess.CalledProcessError:
                return None

    with ThreadPoolExecutor(workers) as pool:
        ended = dict(zip(commands, pool.map(one, commands), strict=True))
    done = {folder: run for folder, run in ended.items() if run is not None}
    if failed := [folder for folder in ended if folder not in done]:
        raise RunsFailed(failed, done)
    return done


def status_of(main: Callable[[], int | None]) -> int:
    """The exit status of a study: one line, and no traceback, where one of its commands failed or Ctrl-C stopped it."""
    try:
        return main() or 0
    except subprocess.CalledProcessError as error:
        print(f"python {' '.join(error.cmd[1:3])} ended with status {error.returncode}.", GOES_ON, file=sys.stderr)
        return error.returncode
    except RunsFailed as error:
        print(f"{error}.", GOES_ON, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped.", GOES_ON, file=sys.stderr)
        return INTERRUPTED


GOES_ON = "What is done is kept; the same command goes on from there."
