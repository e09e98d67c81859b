"""Runs of the toolkit's commands for a study, each as a user would type it; one that is there is not made again."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import torch

SECONDS = "seconds.json"


def machine() -> str:
    """What a study was measured on, as its table ends with it."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"
    return f"{where}, torch {torch.__version__}"


class RunsFailed(RuntimeError):
    """Some of many runs ended in an error.

    Attributes:
        failed: their folders, with what they printed in log.txt.
        done: metrics of the others by their folders.
    """

    def __init__(self, failed: list[Path], done: dict[Path, dict[str, Any]]) -> None:
        super().__init__("these runs failed, see log.txt in each folder: " + ", ".join(map(str, failed)))
        self.failed, self.done = failed, done


def metrics_of(
    folder: Path, command: Sequence[str], environment: Mapping[str, str] | None = None, log: TextIO | None = None
) -> dict[str, Any]:
    """`metrics.json` of the one run in ``folder``, made now unless it is there, and "wall_seconds" of its command.

    Args:
        folder: where the run goes, alone.
        command: the module to run, for example nas.search, and its options.
        environment: variables to set for it.
        log: where what it prints goes; None for where this prints.
    """
    done = sorted(folder.glob("*/*/metrics.json"))
    if not done:
        full = [sys.executable, "-m", *command, f"output={folder}"]
        print("$", "python", *full[1:], flush=True)
        started = time.monotonic()
        subprocess.run(full, check=True, env=os.environ | dict(environment or {}), stdout=log, stderr=log)
        (folder / SECONDS).write_text(json.dumps(time.monotonic() - started))
        done = sorted(folder.glob("*/*/metrics.json"))
    metrics: dict[str, Any] = json.loads(done[-1].read_text())
    seconds = folder / SECONDS
    return metrics | {"wall_seconds": json.loads(seconds.read_text()) if seconds.exists() else None}


def all_metrics(
    commands: Mapping[Path, Sequence[str]], workers: int, environment: Mapping[str, str] | None = None
) -> dict[Path, dict[str, Any]]:
    """`metrics_of` many runs by their folders, several at a time; what they print goes to a file in their folders.

    Args:
        commands: by folder.
        workers: how many run at a time.
        environment: variables to set for them.

    Raises:
        RunsFailed: after the last one, where some of them ended in an error.
    """

    def one(folder: Path) -> dict[str, Any] | None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("a") as log:
            try:
                return metrics_of(folder, commands[folder], environment, log)
            except subprocess.CalledProcessError:
                return None

    with ThreadPoolExecutor(workers) as pool:
        ended = dict(zip(commands, pool.map(one, commands), strict=True))
    done = {folder: metrics for folder, metrics in ended.items() if metrics is not None}
    if failed := [folder for folder in ended if folder not in done]:
        raise RunsFailed(failed, done)
    return done
