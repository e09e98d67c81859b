"""One process at a time writes to a run folder."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.files.lock import LOCK, in_use, locked
from tests.nas.commands import ROOT, contents, refusal

HOLDER = """
import sys
from pathlib import Path
from nas.files.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Start a process that holds the lock of a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_in_use_is_refused_with_its_owner_and_free_once_that_is_killed(finished: Path) -> None:
    process = holder(finished)
    before = contents(finished)
    message = refusal("search", f"resume={finished}")
    assert f"is in use by process {process.pid} on {socket.gethostname()!r} for 0 min" in message
    assert contents(finished) == before
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (finished / LOCK).exists()
    with locked(finished):
        assert json.loads((finished / LOCK).read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not (finished / LOCK).exists()


def test_an_owner_that_has_not_written_its_name_yet(tmp_path: Path) -> None:
    with (tmp_path / LOCK).open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="in use by another process; wait"), locked(tmp_path):
            pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: int) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path):
        pass
    here = {"host": socket.gethostname(), "pid": os.getppid(), "since": 0.0}
    (tmp_path / LOCK).write_text(json.dumps(here), encoding="utf-8")
    with pytest.raises(UserError, match=rf"in use by process {os.getppid()} on"), locked(tmp_path):
        pass
    ended = subprocess.Popen(["true"])
    ended.wait()
    for other in ({"pid": ended.pid}, {"pid": os.getpid()}, {"host": "another"}):
        (tmp_path / LOCK).write_text(json.dumps(here | other), encoding="utf-8")
        with locked(tmp_path):
            pass


def test_only_a_held_lock_means_that_a_folder_is_in_use(tmp_path: Path) -> None:
    assert not in_use(tmp_path)
    (tmp_path / LOCK).write_text("left behind by a killed process")
    assert not in_use(tmp_path)
    with locked(tmp_path):
        assert in_use(tmp_path)
    assert not in_use(tmp_path)
    (tmp_path / LOCK).symlink_to(tmp_path)
    assert not in_use(tmp_path)
