"""Processes of a run end together: one failure is told once, one signal stops all."""

import functools
import itertools
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from nas.distributed import rendezvous
from nas.distributed.rendezvous import FAILED, SECONDS, TIMEOUT, _timeout, connect, report_failure
from nas.errors import UserError
from nas.runs import checkpoints
from tests.nas.distributed.several import (
    KILLED,
    OPTIONS,
    as_by_srun,
    in_trouble,
    searched,
    troubled,
)
from tests.nas.distributed.starts import SRUN, start


def test_a_failure_of_one_process_is_told_once_and_ends_all(tmp_path: Path) -> None:
    failed = in_trouble(tmp_path, 3, 1, 'raise UserError("nothing fits")')
    assert failed.ended.status == 1
    assert "error: process 1 of 2, on " in failed.second
    assert failed.second.endswith(": nothing fits\n")
    assert "error: " not in failed.ended.err
    assert failed.ended.err.count("exitcode  : 1 ") == 2


def test_a_signal_to_one_process_of_a_job_stops_all_after_the_same_step(tmp_path: Path) -> None:
    script = troubled(tmp_path, 6, 1, "os.kill(os.getpid(), signal.SIGTERM)")
    processes = [as_by_srun(rank, script, *OPTIONS, f"output={tmp_path}") for rank in range(2)]
    (out, _), (second, _) = (process.communicate() for process in processes)
    assert [process.returncode for process in processes] == [130, 130]
    assert "Stopped at step 7 of 20; the model at this step is saved." in out
    assert second == ""
    run = searched(tmp_path)
    assert json.loads((run / "metrics.json").read_text())["finished"] is False
    assert checkpoints.paths(run)[0].name == "step=000000007.ckpt"


def test_a_process_that_never_starts_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT, "0.5")
    process = as_by_srun(0, "-m", "nas.search", *OPTIONS, f"output={tmp_path}")
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.startswith("error: process 1 of 2 did not connect within 0.5 s; start all 2 processes")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_other_process_names_the_first_if_that_is_killed(tmp_path: Path) -> None:
    script = troubled(tmp_path, 6, 0, KILLED)
    first, second = (as_by_srun(rank, script, *OPTIONS, f"output={tmp_path}") for rank in range(2))
    out, err = second.communicate()
    first.communicate()
    assert (second.returncode, out) == (1, "")
    assert err.count("error: process 0 of 2 ended or does not respond; continue with resume=FOLDER of this run.\n") == 1
    assert "Traceback" not in err
    assert checkpoints.paths(searched(tmp_path))[0].name == "step=000000005.ckpt"


def test_the_patience_with_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _timeout() == SECONDS
    monkeypatch.setenv(TIMEOUT, "90")
    assert _timeout() == 90
    for wrong in ("0", "-1", "nan", "inf", "soon"):
        monkeypatch.setenv(TIMEOUT, wrong)
        with pytest.raises(UserError, match=f"{TIMEOUT}={wrong} is not allowed"):
            _timeout()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[TCPStore]:
    """The store of two processes, of which this is the first."""
    started = TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
    start(monkeypatch, SRUN | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "2", TIMEOUT: "3600"})
    monkeypatch.setattr(rendezvous, "_store", functools.cache(lambda: started))
    rendezvous._store()
    yield started
    rendezvous._heartbeat().stop()
    rendezvous._heartbeat.cache_clear()
    connect.cache_clear()


def test_many_runs_of_a_command_connect_once(store: TCPStore) -> None:
    store.set("connected 1", "")
    connect()
    connect()


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Undo that a process which fails ignores SIGTERM: processes that later tests start would too."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm")
def test_a_process_says_that_the_first_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(monkeypatch, SRUN | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), TIMEOUT: "0.2"})
    with pytest.raises(UserError, match=f"process 0 of 8 cannot be reached at 127.0.0.1:{port} within 0.2 s .*refused"):
        connect()
    assert report_failure(1) is None, "it prints the error itself"


def test_steps_of_a_job_and_jobs_in_a_row_have_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = []
    for job, step in itertools.product(range(4711, 4721), range(20)):
        for name in ("MASTER_ADDR", "MASTER_PORT"):  # set first, so that what was there comes back in the end
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        start(monkeypatch, SRUN | {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})
        monkeypatch.setenv("SLURM_STEP_NODELIST", "127.0.0.1")
        ports.append(rendezvous._address()[1])
    assert ports[0] == 15000 + 4711
    assert len(set(ports)) == len(ports)
    assert 15000 <= min(ports) <= max(ports) < 25000


def test_one_process_names_those_that_have_ended(
    store: TCPStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    left: list[int] = []
    monkeypatch.setattr(rendezvous, "leave", left.append)
    rendezvous._leave_without([1])
    message = "error: process 1 of 2 ended or does not respond; continue with resume=FOLDER of this run.\n"
    assert (left, capfd.readouterr().err) == ([1], message)
    store.set(FAILED, "1 130")
    for ended in ([], [1]):
        rendezvous._leave_without(ended)
    assert (left, capfd.readouterr().err) == ([1, 130, 130], "")


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs handles of processes, which Linux has")
def test_a_process_of_this_machine_that_does_not_respond_is_ended(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    start(monkeypatch, SRUN | {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS": "3"})
    monkeypatch.setattr(rendezvous, "_processes_here", {})
    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)
    silent = [subprocess.Popen(["sleep", "3600"]) for _ in range(2)]
    try:
        silent[0].send_signal(signal.SIGSTOP)
        rendezvous._note_process(0, f"{silent[0].pid} {rendezvous._machine()}")
        rendezvous._note_process(2, f"{silent[1].pid} another machine")
        rendezvous._end([2])
        rendezvous._leave_without_store()
        assert silent[0].wait() == -signal.SIGKILL
        assert silent[1].poll() is None
    finally:
        for process in silent:
            process.kill()
            process.wait()
    rendezvous._end([0])  # has ended
    message = "error: process 0 of 3 ended or does not respond; continue with resume=FOLDER of this run.\n"
    assert (left, capfd.readouterr().err) == ([1], message)
