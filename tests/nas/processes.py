"""Commands in processes of their own, for tests of signals, exit statuses and imports.

A test waits for an event (a line, a file, the end of a process), never for a number of seconds. `PATIENCE` only keeps a
test that would wait for ever from doing so.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.nas.commands import CALIBRATION_BATCHES, ROOT, Ended

PATIENCE = 30 * 60.0
"""Seconds after which a test fails that waits for an event: far more than the slowest machine needs."""
HALTED = """
import os, time
from pathlib import Path
import nas.jobs.libraries  # as a command imports Lightning, which takes half the time
from nas.jobs.processes import orphaned
from nas.supernet import discretised
from nas.training.module import TrainingModule

discretised.CALIBRATION_BATCHES = {batches}
FOLDER, STEP, DONE, PARENT = Path({folder!r}), {step}, {done}, os.getppid()
training_step, begun = TrainingModule.training_step, []

def halted(self, batch, index):
    begun.extend([self] * (self.global_step == 0))
    if self.global_step == STEP and len(begun) > DONE:
        (FOLDER / f"halted-{{os.getpid()}}").touch()
        while not (FOLDER / "go").exists() and os.getppid() == PARENT and not orphaned():
            time.sleep(0.05)
    return training_step(self, batch, index)

TrainingModule.training_step = halted
if __name__ == "__main__":
    from nas.{command} import main
    main()
"""


def process(*arguments: str) -> "subprocess.Popen[str]":
    """Start Python in a new process, single-threaded as the tests; folders in PYTHONPATH follow the checkout."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Halted:
    """A command in a process whose trainings wait before a step, in this process and in its workers.

    Args:
        folder: an empty folder, for the script and its signs.
        step: before which a training waits until `go`.
        command: name of the command.
        options: of it.
        done: how many trainings each process makes before one waits.
    """

    def __init__(self, folder: Path, step: int, command: str, *options: str, done: int = 0) -> None:
        self._folder = folder
        script = folder / f"{command}.py"
        script.write_text(
            HALTED.format(folder=str(folder), step=step, command=command, done=done, batches=CALIBRATION_BATCHES)
        )
        self.process = process(str(script), *options)

    def waiting(self, count: int) -> list[int]:
        """The ids of the processes whose training waits, oldest first, once there are as many as count."""
        wait_for(lambda: len(self._signs()) >= count, self.process)
        return [int(sign.name.partition("-")[2]) for sign in self._signs()]

    def go(self) -> None:
        """Let every training go on."""
        (self._folder / "go").touch()

    def _signs(self) -> list[Path]:
        return sorted(self._folder.glob("halted-*"), key=lambda sign: sign.stat().st_mtime_ns)


def wait_for(condition: Callable[[], bool], running: "subprocess.Popen[str] | None" = None) -> None:
    """Wait until a condition holds; running: a process that has to run until then."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert running is None or running.poll() is None, running.communicate()
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)


def wait_for_line(running: "subprocess.Popen[str]", start: str) -> str:
    """Read what a process prints up to the first line with this start, which is returned."""
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(start):
            return line
    raise AssertionError(f"it never printed {start!r}: {running.communicate()}")


def wait_for_end(running: "subprocess.Popen[str]") -> Ended:
    """Wait until a process ends."""
    try:
        out, err = running.communicate(timeout=PATIENCE)
    finally:
        running.kill()
    return Ended(running.returncode, out, err)


def forked(act: Callable[[], object]) -> int:
    """Do something in a fork of this process, and return how it ended: minus the signal that killed it, or its status.

    A fork needs no imports, which take seconds; it leaves without what a process does at its end. What draws a page
    must not be done in it: Vega works in threads, which a fork does not have.
    """
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
